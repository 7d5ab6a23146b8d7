//! How the shards of a process share a bounded amount of memory.
//!
//! A reservation leaves at least as much free as its shard then holds. A single busy shard gets
//! half of the budget, many busy shards get equal shares, idle shards use nothing, and there is
//! always room for one more shard.
//!
//! A shard that holds nothing never waits: without room, it has a *turn*, one record without a
//! reservation, which counts once it is read. So the bound is the budget and one record for each
//! shard, and a processor that hangs never blocks other shards.

use std::collections::{BTreeMap, VecDeque};

use crate::consumer::read_size::{ReadGrant, ReadRequest};

/// The smallest reservation for reading ahead, unless the request is smaller: many small reads cost
/// more than one.
const AHEAD_MIN: u64 = 1024 * 1024;

/// The id of one shard in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareId(u64);

/// A bounded amount of memory, and the shards that hold it.
#[derive(Clone, Debug)]
pub struct Pool {
    budget: u64,
    used: u64,
    joined: u64,
    shares: BTreeMap<ShareId, Share>,
    /// The shards that wait, longest first.
    queue: VecDeque<ShareId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    held: u64,
    /// The request that waits.
    request: Option<ReadRequest>,
}

impl Pool {
    /// A pool of `budget` bytes without shards.
    #[must_use]
    pub const fn new(budget: u64) -> Self {
        Self { budget, used: 0, joined: 0, shares: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// The size of the pool, in bytes.
    #[must_use]
    pub const fn budget(&self) -> u64 {
        self.budget
    }

    /// The bytes that are held. Turns may exceed the budget.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Adds a shard.
    pub fn join(&mut self) -> ShareId {
        let id = ShareId(self.joined);
        self.joined += 1;
        self.shares.insert(id, Share::default());
        id
    }

    /// Removes a shard. Returns the requests that are granted.
    pub fn leave(&mut self, id: ShareId) -> Vec<(ShareId, ReadGrant)> {
        self.withdraw(id);
        let granted = self.release(id, u64::MAX);
        self.shares.remove(&id);
        granted
    }

    /// Requests memory for a read. Returns `None` if the shard has to wait.
    pub fn request(&mut self, id: ShareId, request: ReadRequest) -> Option<ReadGrant> {
        self.withdraw(id);
        let grant = self.grant(id, request);
        if grant.is_none()
            && let Some(share) = self.shares.get_mut(&id)
        {
            share.request = Some(request);
            self.queue.push_back(id);
        }
        grant
    }

    /// Withdraws the request of a shard that waits.
    pub fn withdraw(&mut self, id: ShareId) {
        self.queue.retain(|other| *other != id);
        if let Some(share) = self.shares.get_mut(&id) {
            share.request = None;
        }
    }

    /// Adds `bytes` to what a shard holds, without a request: the records are already read.
    pub fn add(&mut self, id: ShareId, bytes: u64) {
        if let Some(share) = self.shares.get_mut(&id) {
            share.held = share.held.saturating_add(bytes);
            self.used = self.used.saturating_add(bytes);
        }
    }

    /// Releases `bytes` of what a shard holds. Returns the requests that are granted.
    pub fn release(&mut self, id: ShareId, bytes: u64) -> Vec<(ShareId, ReadGrant)> {
        if let Some(share) = self.shares.get_mut(&id) {
            let bytes = bytes.min(share.held);
            share.held -= bytes;
            self.used -= bytes;
        }
        let mut granted = Vec::new();
        for waiting in std::mem::take(&mut self.queue) {
            let request = self.shares.get(&waiting).and_then(|share| share.request);
            match request.and_then(|request| self.grant(waiting, request)) {
                Some(grant) => {
                    self.withdraw(waiting);
                    granted.push((waiting, grant));
                }
                None => self.queue.push_back(waiting),
            }
        }
        granted
    }

    fn grant(&mut self, id: ShareId, request: ReadRequest) -> Option<ReadGrant> {
        let held = self.shares.get(&id)?.held;
        let free = self.budget.saturating_sub(self.used);
        let room = free.saturating_sub(held) / 2;
        let grant = if held == 0 {
            request.within(room).unwrap_or(ReadGrant::TURN)
        } else {
            let worth = request.whole().bytes.min(AHEAD_MIN);
            request.within(room).filter(|grant| grant.bytes >= worth)?
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
    const REQUEST: ReadRequest =
        ReadRequest { records_max: 10_000, record: MIB, reply_max: 10 * MIB, copies: 3 };

    fn pool(mebibytes: u64) -> Pool {
        Pool::new(mebibytes * MIB)
    }

    /// Requests a read, and then holds its records of 1 MiB.
    fn read(pool: &mut Pool, id: ShareId) -> Option<usize> {
        let grant = pool.request(id, REQUEST)?;
        keep(pool, id, grant);
        Some(grant.records.min(10))
    }

    fn keep(pool: &mut Pool, id: ShareId, grant: ReadGrant) {
        pool.add(id, u64::try_from(grant.records.min(10)).unwrap() * MIB);
        assert_eq!(pool.release(id, grant.bytes), []);
    }

    #[test]
    fn single_shard_reads_in_full_and_ahead() {
        let mut pool = pool(128);
        let id = pool.join();
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(pool.used(), 20 * MIB);
    }

    #[test]
    fn shard_holds_at_most_what_it_leaves() {
        let mut pool = pool(60);
        let id = pool.join();
        assert_eq!(read(&mut pool, id), Some(10));
        assert_eq!(read(&mut pool, id), Some(6)); // (50 - 10) / 2 = 20, 18 of them reserved
        assert_eq!(read(&mut pool, id), Some(4));
        assert_eq!(read(&mut pool, id), Some(3));
    }

    #[test]
    fn busy_shards_leave_room_for_a_late_one() {
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
    fn each_shard_has_a_turn_without_room() {
        let mut pool = pool(1);
        let (one, other) = (pool.join(), pool.join());
        assert_eq!(pool.request(one, REQUEST), Some(ReadGrant::TURN));
        keep(&mut pool, one, ReadGrant::TURN);
        assert_eq!(pool.request(one, REQUEST), None, "it holds a record");
        assert_eq!(pool.request(other, REQUEST), Some(ReadGrant::TURN));
        keep(&mut pool, other, ReadGrant::TURN);
        assert_eq!(pool.used(), 2 * MIB);
        assert_eq!(pool.release(other, MIB), [], "that makes no room");
        assert_eq!(pool.release(one, MIB), [(one, ReadGrant::TURN)], "it holds nothing");
    }

    #[test]
    fn longest_wait_is_granted_first() {
        let mut pool = pool(12);
        let ids: Vec<_> = (0..4).map(|_| pool.join()).collect();
        for id in &ids {
            pool.add(*id, 3 * MIB);
        }
        assert!(ids.iter().rev().all(|id| pool.request(*id, REQUEST).is_none()));
        pool.withdraw(ids[2]);
        let one = |id| (id, ReadGrant { records: 1, bytes: 3 * MIB });
        assert_eq!(pool.release(ids[0], 2 * MIB), []);
        let granted = [pool.leave(ids[3]), pool.leave(ids[2]), pool.leave(ids[1])].concat();
        assert_eq!(granted, [one(ids[0])]);
        assert_eq!(pool.used(), 4 * MIB);
    }

    #[test]
    fn small_read_ahead_waits() {
        let request = ReadRequest { record: 1_000, ..REQUEST };
        let mut pool = pool(4);
        let id = pool.join();
        pool.add(id, MIB);
        let other = pool.join();
        pool.add(other, MIB / 2 * 3);
        assert_eq!(pool.request(id, request), None); // a quarter of a MiB would fit
        assert_eq!(
            pool.request(id, ReadRequest { records_max: 10, ..request }).unwrap().records,
            10
        );
    }

    /// A step of a shard.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ask(ReadRequest),
        /// The reply arrives, with this many thousandths of the request.
        Reply(u64),
        /// The batch is done.
        Done,
        Withdraw,
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
        let request = (1..10_000_usize, 1..2 * MIB).prop_map(|(records_max, record)| {
            Step::Ask(ReadRequest { records_max, record, ..REQUEST })
        });
        let step = prop_oneof![
            3 => request,
            3 => (0..=1_000_u64).prop_map(Step::Reply),
            2 => Just(Step::Done),
            1 => Just(Step::Withdraw),
        ];
        prop::collection::vec((0..SHARDS, step), 1..300)
    }

    const SHARDS: usize = 6;
    const RECORD_MAX: u64 = 2 * MIB;

    /// The state of a shard's consumer.
    #[derive(Clone, Copy, Debug, Default)]
    struct Shard {
        reading: Option<ReadGrant>,
        waits: bool,
        in_hand: u64,
    }

    proptest! {
        #[test]
        fn budget_holds_and_no_shard_starves(
            budget in 1..64_u64,
            steps in steps(),
        ) {
            let mut pool = pool(budget);
            let ids: Vec<_> = (0..SHARDS).map(|_| pool.join()).collect();
            let mut shards = [Shard::default(); SHARDS];
            for (index, step) in steps {
                let (id, shard) = (ids[index], &mut shards[index]);
                let granted = match step {
                    Step::Ask(request) if shard.reading.is_none() && !shard.waits => {
                        shard.reading = pool.request(id, request);
                        shard.waits = shard.reading.is_none();
                        Vec::new()
                    }
                    Step::Reply(thousandths) => match shard.reading.take() {
                        Some(ReadGrant::TURN) => {
                            shard.in_hand += RECORD_MAX * thousandths / 1_000;
                            pool.add(id, RECORD_MAX * thousandths / 1_000);
                            Vec::new()
                        }
                        Some(grant) => {
                            let real = grant.bytes / 3 * thousandths / 1_000;
                            shard.in_hand += real;
                            pool.release(id, grant.bytes - real)
                        }
                        None => Vec::new(),
                    },
                    Step::Done => pool.release(id, std::mem::take(&mut shard.in_hand)),
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
                    prop_assert!(!shard.waits || shard.in_hand > 0, "a shard that holds nothing reads");
                }
            }
        }
    }
}
