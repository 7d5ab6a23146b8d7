//! Whole histories of a stream and its leases, with shard lists of any age: the proof that
//! bootstrap, shard sync, lineage and cleanup fit together.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::model::{
    Checkpoint, HashKeyRange, Lease, LeaseKey, NewLease, SequenceNumber, Shard, ShardId,
    StartPosition, StreamStart, Timestamp,
};
use crate::shards::bootstrap::first_leases;
use crate::shards::cleanup::deletable;
use crate::shards::lineage::workable;
use crate::shards::sync::plan;

#[derive(Clone, Debug)]
enum Step {
    Split(usize),
    Merge(usize),
    Trim,
    Sync { age: usize },
    Work { which: usize, age: usize },
    EndHalf { which: usize },
    Clean,
}

#[derive(Debug)]
struct World {
    lists: Vec<Vec<Shard>>,
    made: u32,
    leases: BTreeMap<LeaseKey, Lease>,
    /// The shards that the application has to process: those not closed before its start.
    owed: BTreeMap<ShardId, Shard>,
    done: BTreeSet<ShardId>,
    start: StreamStart,
}

fn lease(new: NewLease) -> Lease {
    let NewLease { key, checkpoint, start_at, parents, hash_range } = new;
    let hash_range = Some(hash_range);
    Lease { key, checkpoint, start_at, parents, hash_range, ..Lease::sample() }
}

impl World {
    fn new(position: StartPosition) -> Self {
        let start = StreamStart { position, ..StreamStart::sample() };
        Self {
            lists: vec![Vec::new()],
            made: 0,
            leases: BTreeMap::new(),
            owed: BTreeMap::new(),
            done: BTreeSet::new(),
            start,
        }
    }

    fn list(&self, age: usize) -> &[Shard] {
        let index = self.lists.len().saturating_sub(age + 1);
        &self.lists[index]
    }

    /// Closes `parents` and opens a child for each of `ranges`.
    fn reshard(&mut self, parents: &[ShardId], ranges: &[HashKeyRange]) {
        let mut list = self.list(0).to_vec();
        for shard in list.iter_mut().filter(|shard| parents.contains(&shard.id)) {
            shard.ending_sequence = Some(sequence(self.made));
        }
        for &hash_range in ranges {
            self.made += 1;
            let shard = Shard {
                id: format!("shard-{:04}", self.made).into(),
                parents: parents.to_vec(),
                hash_range,
                starting_sequence: sequence(self.made),
                ending_sequence: None,
            };
            self.owed.insert(shard.id.clone(), shard.clone());
            list.push(shard);
        }
        self.lists.push(list);
    }

    fn open(&self) -> Vec<Shard> {
        let mut open: Vec<_> =
            self.list(0).iter().filter(|shard| !shard.is_closed()).cloned().collect();
        open.sort_by_key(|shard| shard.hash_range);
        open
    }

    fn create(&mut self, new: impl IntoIterator<Item = NewLease>) {
        for new in new {
            self.leases.entry(new.key.clone()).or_insert_with(|| lease(new));
        }
    }

    fn split(&mut self, which: usize) {
        let open = self.open();
        let HashKeyRange { start, end } = open[which % open.len()].hash_range;
        let middle = start + (end - start) / 2;
        if open.len() < 8 {
            let halves = [(start, middle), (middle + 1, end)];
            let ranges = halves.map(|(start, end)| HashKeyRange { start, end });
            self.reshard(&[open[which % open.len()].id.clone()], &ranges);
        }
    }

    fn merge(&mut self, which: usize) {
        let open = self.open();
        if let Some([a, b]) = open.windows(2).nth(which % open.len()) {
            let range = HashKeyRange { start: a.hash_range.start, end: b.hash_range.end };
            self.reshard(&[a.id.clone(), b.id.clone()], &[range]);
        }
    }

    /// Trims the oldest shard if it is processed or need not be.
    fn trim(&mut self) {
        let mut list = self.list(0).to_vec();
        let is_over = |shard: &Shard| {
            let is_owed = self.owed.contains_key(&shard.id) && !self.done.contains(&shard.id);
            shard.is_closed() && !is_owed
        };
        if list.first().is_some_and(is_over) {
            list.remove(0);
            self.lists.push(list);
        }
    }

    fn sync(&mut self, age: usize) -> bool {
        let plan = plan(self.list(age), &self.leases, &self.start);
        let is_empty = plan.create.is_empty() && plan.delete_untouched.is_empty();
        assert_eq!((&*plan.holes, &*plan.delete_untouched), (&[][..], &[][..]));
        self.create(plan.create);
        is_empty
    }

    /// Processes a shard: begins it, or ends it if it is closed. Creates leases of at most
    /// `children` children.
    fn work(&mut self, which: usize, age: usize, children: usize) -> bool {
        let workable: Vec<_> = workable(&self.leases, Some(self.list(age))).collect();
        let Some(key) = workable.get(which % workable.len().max(1)).map(|it| it.key.clone()) else {
            return false;
        };
        let shard = self.owed.get(&key.shard()).expect("owed").clone();
        assert!(!self.done.contains(&shard.id), "{} is processed again", shard.id);
        for parent in shard.parents.iter().filter(|parent| self.owed.contains_key(*parent)) {
            assert!(self.done.contains(parent), "{} starts before {parent}", shard.id);
        }
        let offspring: Vec<_> =
            self.owed.values().filter(|child| child.parents.contains(&shard.id)).cloned().collect();
        let lease = self.leases.get_mut(&key).unwrap();
        lease.counter = lease.counter.next();
        let is_begun = lease.checkpoint.has_progressed();
        if !is_begun && children > 0 {
            lease.checkpoint = Checkpoint::after(1);
        } else if !offspring.is_empty() {
            if children >= offspring.len() {
                lease.checkpoint = Checkpoint::ShardEnd;
                lease.children = offspring.iter().map(|child| child.id.clone()).collect();
                self.done.insert(shard.id);
            }
            self.create(offspring.iter().take(children.max(1)).map(|c| NewLease::of(&c.into())));
        }
        !is_begun || !offspring.is_empty()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Split(which) => self.split(which),
            Step::Merge(which) => self.merge(which),
            Step::Trim => self.trim(),
            Step::Sync { age } => {
                self.sync(age);
            }
            Step::Work { which, age } => {
                self.work(which, age, usize::MAX);
            }
            Step::EndHalf { which } => {
                self.work(which, 0, 0);
            }
            Step::Clean => deletable(&self.leases).iter().for_each(|(key, _)| {
                self.leases.remove(key);
            }),
        }
    }
}

fn sequence(number: u32) -> SequenceNumber {
    u128::from(number).into()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..8_usize).prop_map(Step::Split),
        2 => (0..8_usize).prop_map(Step::Merge),
        1 => Just(Step::Trim),
        3 => (0..12_usize).prop_map(|age| Step::Sync { age }),
        9 => (0..16_usize, 0..12_usize).prop_map(|(which, age)| Step::Work { which, age }),
        2 => (0..16_usize).prop_map(|which| Step::EndHalf { which }),
        3 => Just(Step::Clean),
    ]
}

fn run(before: &[Step], position: StartPosition, steps: &[Step]) {
    let mut world = World::new(position);
    world.reshard(&[], &[HashKeyRange::FULL]);
    before.iter().for_each(|step| world.step(step));
    let open = world.open();
    let listed = match position {
        StartPosition::TrimHorizon => world.list(0).to_vec(),
        StartPosition::AtTimestamp(_) => open,
    };
    world.owed = listed.iter().map(|shard| (shard.id.clone(), shard.clone())).collect();
    world.create(first_leases(&world.start, &listed));
    world.lists.drain(..world.lists.len() - 1);
    steps.iter().for_each(|step| world.step(step));
    let mut rounds = 0;
    while !world.sync(0) | (0..16).any(|which| world.work(which, 0, usize::MAX)) {
        rounds += 1;
        assert!(rounds < 1_000, "it does not settle");
    }
    for shard in world.owed.values() {
        let found = world.leases.get(&LeaseKey::from(&shard.id));
        let is_begun = found.is_some_and(|lease| lease.checkpoint.has_progressed());
        assert!(world.done.contains(&shard.id) || is_begun, "{} is never processed", shard.id);
    }
}

fn resharding() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..8_usize, any::<bool>())
        .prop_map(|(which, split)| if split { Step::Split(which) } else { Step::Merge(which) });
    prop::collection::vec(step, 0..8)
}

proptest! {
    #[test]
    fn every_shard_is_processed_once_after_its_parents(
        before in resharding(),
        from_oldest in any::<bool>(),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let position = if from_oldest {
            StartPosition::TrimHorizon
        } else {
            StartPosition::AtTimestamp(Timestamp::from_epoch_seconds(1))
        };
        run(&before, position, &steps);
    }
}

/// Ten thousand shards, each the child of an ended one.
#[test]
fn work_is_linearithmic_in_shards() {
    let width = u128::MAX / 10_000;
    let shard = |number: u32, parents: Vec<ShardId>| {
        let start = u128::from(number % 10_000) * width;
        Shard {
            id: format!("shard-{number:05}").into(),
            parents,
            hash_range: HashKeyRange { start, end: start + width - 1 },
            starting_sequence: sequence(number),
            ending_sequence: (number < 10_000).then(|| sequence(number + 1)),
        }
    };
    let old: Vec<_> = (0..10_000).map(|number| shard(number, Vec::new())).collect();
    let new = (10_000..20_000)
        .map(|number| shard(number, vec![old[number as usize - 10_000].id.clone()]));
    let listed: Vec<_> = old.iter().cloned().chain(new).collect();
    let mut world = World::new(StartPosition::TrimHorizon);
    world.create(first_leases(&world.start, &old));
    let plan = plan(&listed, &world.leases, &world.start);
    assert_eq!(plan.create.len(), 10_000);
    world.create(plan.create);
    assert_eq!(workable(&world.leases, Some(&listed)).count(), 10_000);
    assert_eq!(deletable(&world.leases), []);
}
