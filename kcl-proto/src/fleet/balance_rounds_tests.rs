//! Whole fleets that plan in rounds: from any start they come to rest, evenly.

use proptest::prelude::*;

use super::*;

/// A fleet that plans in rounds over one table. Hand-overs are completed between rounds.
#[derive(Debug)]
struct World {
    rows: BTreeMap<LeaseKey, Lease>,
    live: Vec<WorkerId>,
    leases_max: Vec<Option<usize>>,
    hand_overs_max: usize,
    /// What each live worker holds and asks for, and what it saw free in its last round.
    held: Vec<BTreeSet<LeaseKey>>,
    asked: Vec<BTreeSet<LeaseKey>>,
    free: Vec<BTreeSet<LeaseKey>>,
    round: usize,
}

/// When the leases of the dead expire.
const EXPIRY_ROUND: usize = 3;

impl World {
    /// Each row has an owner and an outgoing owner: 0 for none, then the live, then three dead.
    fn new(leases_max: Vec<Option<usize>>, hand_overs_max: usize, rows: &[(usize, usize)]) -> Self {
        let size = leases_max.len();
        let worker = |number: usize| WorkerId::new(format!("worker-{number}"));
        let name = |choice: usize| Some(worker((choice % (size + 4)).checked_sub(1)?));
        let row = |(number, (owner, outgoing)): (usize, &(usize, usize))| {
            let mut row = lease(&format!("shard-{number}"), None, None);
            row.owner = name(*owner);
            row.checkpoint_owner = name(*outgoing)
                .filter(|outgoing| row.owner.as_ref().is_some_and(|owner| owner != outgoing));
            (row.key.clone(), row)
        };
        let rows: BTreeMap<_, _> = rows.iter().enumerate().map(row).collect();
        let live: Vec<_> = (0..size).map(worker).collect();
        let holds = |worker: &WorkerId| {
            let held = rows.values().filter(|row| row.holder() == Some(worker));
            held.map(|row| row.key.clone()).collect()
        };
        let held = live.iter().map(holds).collect();
        let none = vec![BTreeSet::new(); size];
        Self {
            rows,
            live,
            leases_max,
            hand_overs_max,
            held,
            asked: none.clone(),
            free: none,
            round: 0,
        }
    }

    fn is_live(&self, worker: Option<&WorkerId>) -> bool {
        worker.is_some_and(|worker| self.live.contains(worker))
    }

    fn plan_of(&mut self, number: usize, rows: &BTreeMap<LeaseKey, Lease>) -> BalancePlan {
        let is_dead = |row: &&Lease| row.owner.is_some() && !self.is_live(row.holder());
        let is_late = self.round >= EXPIRY_ROUND;
        let expired: BTreeMap<_, _> = rows
            .values()
            .filter(is_dead)
            .filter(|_| is_late)
            .map(|row| (row.key.clone(), SILENT))
            .collect();
        let unowned = rows.values().filter(|row| row.owner.is_none()).map(|row| row.key.clone());
        let free: BTreeSet<_> = unowned.chain(expired.keys().cloned()).collect();
        let leftover = &free & &self.free[number];
        let view = View {
            me: self.live[number].clone(),
            workable: rows.keys().cloned().collect(),
            expired,
            present: self.live.iter().cloned().collect(),
            held: self.held[number].clone(),
            blocked: BTreeSet::new(),
            refused: BTreeSet::new(),
            asked: self.asked[number].clone(),
            leftover,
            leases: rows.clone(),
        };
        self.free[number] = free;
        view.plan(self.leases_max[number], self.hand_overs_max)
    }

    /// Returns how many of a plan's writes were made.
    fn carry_out(&mut self, number: usize, plan: BalancePlan) -> usize {
        let me = self.live[number].clone();
        let (wanted, mut made) = (plan.take.len(), 0);
        for take in plan.take.into_iter().chain(plan.spare) {
            let row = self.rows.get_mut(&take.key).unwrap();
            if made < wanted && row.counter == take.counter {
                assert!(!self.held.iter().any(|held| held.contains(&take.key)), "robbed");
                row.owner = Some(me.clone());
                row.checkpoint_owner = None;
                row.counter = row.counter.next();
                self.held[number].insert(take.key.clone());
                self.asked[number].remove(&take.key);
                made += 1;
            }
        }
        for ask in plan.ask {
            let row = self.rows.get_mut(&ask.key).unwrap();
            if row.owner.as_ref() == Some(&ask.owner) && row.checkpoint_owner.is_none() {
                row.checkpoint_owner = row.owner.replace(me.clone());
                self.asked[number].insert(ask.key);
                made += 1;
            }
        }
        made
    }

    /// All plan, each on the table as it is or all on the one of before. Returns how many writes.
    fn round(&mut self, is_at_once: bool) -> usize {
        let before = self.rows.clone();
        let mut made = 0;
        for turn in 0..self.live.len() {
            let number = (turn + self.round) % self.live.len();
            let rows = if is_at_once { before.clone() } else { self.rows.clone() };
            let plan = self.plan_of(number, &rows);
            made += self.carry_out(number, plan);
        }
        self.hand_over();
        self.round += 1;
        made
    }

    fn hand_over(&mut self) {
        let live = &self.live;
        let place = |worker: Option<&WorkerId>| live.iter().position(|live| Some(live) == worker);
        for row in self.rows.values_mut() {
            let Some(victim) = place(row.checkpoint_owner.as_ref()) else { continue };
            match place(row.owner.as_ref()) {
                Some(_) => drop(self.held[victim].remove(&row.key)),
                None => row.owner.clone_from(&row.checkpoint_owner),
            }
            row.checkpoint_owner = None;
            row.counter = row.counter.next();
        }
        // A request has ended when its row no longer shows it: its owner may just have taken it.
        let rows = &self.rows;
        let is_open = |key: &LeaseKey| rows[key].checkpoint_owner.is_some();
        self.asked.iter_mut().for_each(|asked| asked.retain(is_open));
    }

    /// How many leases each live worker holds, once nothing moves any more.
    #[track_caller]
    fn settle(&mut self, is_at_once: bool) -> Vec<usize> {
        let rounds_max = EXPIRY_ROUND + 8 + 2 * self.rows.len() / self.hand_overs_max;
        let mut still = 0;
        while still < 3 {
            assert!(self.round < rounds_max, "not at rest: {self:?}");
            let made = self.round(is_at_once);
            still = if made == 0 && self.round > EXPIRY_ROUND { still + 1 } else { 0 };
        }
        assert!(self.asked.iter().all(BTreeSet::is_empty), "{self:?}");
        self.held.iter().map(BTreeSet::len).collect()
    }
}

fn rows() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let outgoing = prop_oneof![3 => Just(0), 1 => 0_usize..12];
    proptest::collection::vec((0_usize..12, outgoing), 0..40)
}

fn are_level(counts: &[usize]) -> bool {
    counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
}

proptest! {
    #[test]
    fn a_fleet_comes_to_rest_with_counts_that_differ_by_at_most_one(
        (workers, hand_overs_max) in (1_usize..9, 1_usize..6),
        rows in rows(),
        is_at_once: bool,
    ) {
        let mut world = World::new(vec![None; workers], hand_overs_max, &rows);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), rows.len());
        prop_assert!(are_level(&counts), "{:?}", counts);
    }

    #[test]
    fn a_fleet_with_one_maximum_takes_what_it_may(
        (workers, leases_max) in (1_usize..9, 1_usize..9),
        (leases, is_at_once) in (0_usize..40, any::<bool>()),
    ) {
        let mut world = World::new(vec![Some(leases_max); workers], 3, &vec![(0, 0); leases]);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), leases.min(workers * leases_max));
        prop_assert!(are_level(&counts), "{:?}", counts);
    }

    #[test]
    fn a_maximum_of_one_worker_leaves_nothing_untaken(
        maxima in proptest::collection::vec(proptest::option::of(0_usize..6), 1..9),
        rows in rows(),
        is_at_once: bool,
    ) {
        // All start with nothing; the last one has no maximum.
        let dead = maxima.len() + 2;
        let rows: Vec<_> = rows.iter().map(|(owner, _)| (owner % 2 * dead, 0)).collect();
        let maxima: Vec<_> = maxima.into_iter().chain([None]).collect();
        let floor = rows.len() / maxima.len();
        let mut world = World::new(maxima.clone(), 3, &rows);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), rows.len());
        for (count, leases_max) in counts.iter().zip(maxima) {
            prop_assert!(*count <= leases_max.unwrap_or(usize::MAX));
            prop_assert!(*count >= floor.min(leases_max.unwrap_or(usize::MAX)), "{:?}", counts);
        }
    }
}
