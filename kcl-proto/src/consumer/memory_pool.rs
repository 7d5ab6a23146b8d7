//! How the shards of a process share a bounded amount of memory.
//!
//! A shard may reserve so much that it holds at most what is then left free. So one busy shard gets
//! half of all, and of many each gets the same part; shards at rest take nothing from the others, and
//! there is always something left for one that comes late.
//!
//! A shard that holds nothing never waits: if there is no room, it has a *turn*, one record for which
//! nothing is reserved. What it brings counts from then on. So the bound is the budget and
//! one record for each shard, and a shard whose processor never ends can't keep the others from theirs.

use std::collections::{BTreeMap, VecDeque};

use crate::consumer::read_size::{Grant, Want};

/// What there must be room for to read ahead at all, unless less is wanted: many small reads cost
/// more than one.
const AHEAD_MIN: u64 = 1024 * 1024;

/// One shard among those who share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareId(u64);

/// A bounded amount of memory, and who holds how much of it.
#[derive(Clone, Debug)]
pub struct Pool {
    budget: u64,
    used: u64,
    joined: u64,
    shares: BTreeMap<ShareId, Share>,
    /// Who waits, longest first.
    queue: VecDeque<ShareId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    held: u64,
    /// What it waits for.
    wants: Option<Want>,
}

impl Pool {
    /// So many bytes, of which nobody holds any.
    #[must_use]
    pub const fn new(budget: u64) -> Self {
        Self { budget, used: 0, joined: 0, shares: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// How many bytes there are.
    #[must_use]
    pub const fn budget(&self) -> u64 {
        self.budget
    }

    /// How many bytes are held: by turns, more than there are.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Takes in one more shard.
    pub fn join(&mut self) -> ShareId {
        let id = ShareId(self.joined);
        self.joined += 1;
        self.shares.insert(id, Share::default());
        id
    }

    /// Forgets a shard. Returns who needs not wait any longer.
    pub fn leave(&mut self, id: ShareId) -> Vec<(ShareId, Grant)> {
        self.withdraw(id);
        let granted = self.give_back(id, u64::MAX);
        self.shares.remove(&id);
        granted
    }

    /// A shard wants to read: what it may do, or none if it has to wait.
    pub fn ask(&mut self, id: ShareId, want: Want) -> Option<Grant> {
        self.withdraw(id);
        let grant = self.grant(id, want);
        if grant.is_none()
            && let Some(share) = self.shares.get_mut(&id)
        {
            share.wants = Some(want);
            self.queue.push_back(id);
        }
        grant
    }

    /// A shard waits no longer.
    pub fn withdraw(&mut self, id: ShareId) {
        self.queue.retain(|other| *other != id);
        if let Some(share) = self.shares.get_mut(&id) {
            share.wants = None;
        }
    }

    /// A shard holds so much more, without asking: what it read is there already.
    pub fn add(&mut self, id: ShareId, bytes: u64) {
        if let Some(share) = self.shares.get_mut(&id) {
            share.held = share.held.saturating_add(bytes);
            self.used = self.used.saturating_add(bytes);
        }
    }

    /// A shard gives so much back. Returns who needs not wait any longer.
    pub fn give_back(&mut self, id: ShareId, bytes: u64) -> Vec<(ShareId, Grant)> {
        if let Some(share) = self.shares.get_mut(&id) {
            let bytes = bytes.min(share.held);
            share.held -= bytes;
            self.used -= bytes;
        }
        let mut granted = Vec::new();
        for waiting in std::mem::take(&mut self.queue) {
            let wants = self.shares.get(&waiting).and_then(|share| share.wants);
            match wants.and_then(|want| self.grant(waiting, want)) {
                Some(grant) => {
                    self.withdraw(waiting);
                    granted.push((waiting, grant));
                }
                None => self.queue.push_back(waiting),
            }
        }
        granted
    }

    fn grant(&mut self, id: ShareId, want: Want) -> Option<Grant> {
        let held = self.shares.get(&id)?.held;
        let free = self.budget.saturating_sub(self.used);
        let room = free.saturating_sub(held) / 2;
        let grant = if held == 0 {
            want.within(room).unwrap_or(Grant::TURN)
        } else {
            let worth = want.whole().bytes.min(AHEAD_MIN);
            want.within(room).filter(|grant| grant.bytes >= worth)?
        };
        self.add(id, grant.bytes);
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    /// One record of 1 MiB costs three of them while it is read.
    const WANT: Want = Want { records_max: 10_000, each: MIB, whole_max: 10 * MIB };

    fn pool(mebibytes: u64) -> Pool {
        Pool::new(mebibytes * MIB)
    }

    /// Asks, and then holds what was read: records of 1 MiB.
    fn read(pool: &mut Pool, id: ShareId) -> Option<usize> {
        let grant = pool.ask(id, WANT)?;
        keep(pool, id, grant);
        Some(grant.records.min(10))
    }

    fn keep(pool: &mut Pool, id: ShareId, grant: Grant) {
        pool.add(id, u64::try_from(grant.records.min(10)).unwrap() * MIB);
        assert_eq!(pool.give_back(id, grant.bytes), []);
    }

    #[test]
    fn a_shard_alone_reads_as_much_as_it_wants_and_one_read_ahead() {
        let mut pool = pool(128);
        let id = pool.join();
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(pool.used(), 20 * MIB);
    }

    #[test]
    fn a_shard_never_holds_more_than_it_leaves() {
        let mut pool = pool(60);
        let id = pool.join();
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(read(&mut pool, id), Some(6)); // (50 - 10) / 2 = 20, 18 of them reserved
        assert_eq!(read(&mut pool, id), Some(4));
        assert_eq!(read(&mut pool, id), Some(3));
    }

    #[test]
    fn busy_shards_leave_room_for_one_that_comes_late() {
        let mut pool = pool(128);
        let busy: Vec<_> = (0..8).map(|_| pool.join()).collect();
        for _ in 0..100 {
            for id in &busy {
                let _ = read(&mut pool, *id);
            }
        }
        assert!(pool.used() <= 124 * MIB, "{}", pool.used());
        let late = pool.join();
        assert_eq!(read(&mut pool, late), Some(2));
    }

    #[test]
    fn without_room_each_shard_has_a_turn_and_the_others_wait() {
        let mut pool = pool(1);
        let (one, other) = (pool.join(), pool.join());
        assert_eq!(pool.ask(one, WANT), Some(Grant::TURN));
        keep(&mut pool, one, Grant::TURN);
        assert_eq!(pool.ask(one, WANT), None, "it holds a record");
        assert_eq!(pool.ask(other, WANT), Some(Grant::TURN));
        keep(&mut pool, other, Grant::TURN);
        assert_eq!(pool.used(), 2 * MIB);
        assert_eq!(pool.give_back(other, MIB), [], "that makes no room");
        assert_eq!(pool.give_back(one, MIB), [(one, Grant::TURN)], "it holds nothing any more");
    }

    #[test]
    fn who_waits_longest_goes_first_and_who_withdrew_does_not() {
        let mut pool = pool(12);
        let ids: Vec<_> = (0..4).map(|_| pool.join()).collect();
        for id in &ids {
            pool.add(*id, 3 * MIB);
        }
        assert!(ids.iter().rev().all(|id| pool.ask(*id, WANT).is_none()));
        pool.withdraw(ids[2]);
        let one = |id| (id, Grant { records: 1, bytes: 3 * MIB });
        assert_eq!(pool.give_back(ids[0], 2 * MIB), []);
        let granted = [pool.leave(ids[3]), pool.leave(ids[2]), pool.leave(ids[1])].concat();
        assert_eq!(granted, [one(ids[0])]);
        assert_eq!(pool.used(), 4 * MIB);
    }

    #[test]
    fn a_read_ahead_waits_until_it_is_worth_it() {
        let want = Want { records_max: 10_000, each: 1_000, whole_max: 10 * MIB };
        let mut pool = pool(4);
        let id = pool.join();
        pool.add(id, MIB);
        let other = pool.join();
        pool.add(other, MIB / 2 * 3);
        assert_eq!(pool.ask(id, want), None); // a quarter of a MiB would fit
        assert_eq!(pool.ask(id, Want { records_max: 10, ..want }).unwrap().records, 10);
    }

    /// Something that a shard does.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ask(Want),
        /// The reply comes: so many thousandths of what was asked for.
        Reply(u64),
        /// The batch is done.
        Done,
        Withdraw,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
        let want = (1..10_000_usize, 1..2 * MIB)
            .prop_map(|(records_max, each)| Step::Ask(Want { records_max, each, ..WANT }));
        let step = prop_oneof![
            3 => want,
            3 => (0..=1_000_u64).prop_map(Step::Reply),
            2 => Just(Step::Done),
            1 => Just(Step::Withdraw),
        ];
        prop::collection::vec((0..SHARDS, step), 1..300)
    }

    const SHARDS: usize = 6;
    const RECORD_MAX: u64 = 2 * MIB;

    /// A shard as its consumer sees it.
    #[derive(Clone, Copy, Debug, Default)]
    struct Shard {
        reading: Option<Grant>,
        waits: bool,
        in_hand: u64,
    }

    proptest! {
        #[test]
        fn the_budget_and_one_record_a_shard_are_never_exceeded_and_no_shard_starves(
            budget in 1..64_u64,
            steps in steps(),
        ) {
            let mut pool = pool(budget);
            let ids: Vec<_> = (0..SHARDS).map(|_| pool.join()).collect();
            let mut shards = [Shard::default(); SHARDS];
            for (index, step) in steps {
                let (id, shard) = (ids[index], &mut shards[index]);
                let granted = match step {
                    Step::Ask(want) if shard.reading.is_none() && !shard.waits => {
                        shard.reading = pool.ask(id, want);
                        shard.waits = shard.reading.is_none();
                        Vec::new()
                    }
                    Step::Reply(thousandths) => match shard.reading.take() {
                        Some(Grant::TURN) => {
                            shard.in_hand += RECORD_MAX * thousandths / 1_000;
                            pool.add(id, RECORD_MAX * thousandths / 1_000);
                            Vec::new()
                        }
                        Some(grant) => {
                            let real = grant.bytes / 3 * thousandths / 1_000;
                            shard.in_hand += real;
                            pool.give_back(id, grant.bytes - real)
                        }
                        None => Vec::new(),
                    },
                    Step::Done => pool.give_back(id, std::mem::take(&mut shard.in_hand)),
                    Step::Withdraw => {
                        shard.waits = false;
                        pool.withdraw(id);
                        Vec::new()
                    }
                    Step::Ask(_) => Vec::new(),
                };
                for (granted, grant) in granted {
                    let index = ids.iter().position(|id| *id == granted).unwrap();
                    prop_assert!(std::mem::take(&mut shards[index].waits), "it waited");
                    shards[index].reading = Some(grant);
                }
                let turns = u64::try_from(SHARDS).unwrap() * RECORD_MAX;
                prop_assert!(pool.used() <= pool.budget() + turns);
                let held = |shard: &Shard| shard.in_hand + shard.reading.map_or(0, |it| it.bytes);
                prop_assert_eq!(pool.used(), shards.iter().map(held).sum::<u64>());
                for shard in &shards {
                    prop_assert!(!shard.waits || shard.in_hand > 0, "who holds nothing reads");
                }
            }
        }
    }
}
