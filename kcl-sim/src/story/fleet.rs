//! [`Story`]: a fleet, its table and its stream, in the hands of a test.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::ProcessorFactory;
use kcl_core::backend::{Conditional, LeaseWrite, WriteKind};
use kcl_core::config::WorkerConfig;
use kcl_core::model::{
    HashKeyRange, Lease, LeaseKey, SequenceNumber, Shard, ShardId, WorkerId, WriteStamp,
};

use crate::error::SimError;
use crate::memory::{MemoryLeaseStore, MemoryStream};
use crate::story::journal::{Journal, shard_number};
use crate::story::member::Member;
use crate::story::notes::Notes;
use crate::story::script::{Act, Call};
use crate::story::stage::{LOOK_EVERY, Stage};
use crate::world::{
    SharedFactory, Simulation, delete_row, expect_user_records, put_aggregate, write_as_stranger,
};

/// A fleet, its table and its stream, in which only what the test says goes wrong.
///
/// Shards have numbers: those of a new stream from 0 on, children the next ones.
#[derive(Debug)]
#[non_exhaustive]
pub struct Story {
    /// What happened.
    pub journal: Journal,
    /// The stream, to set its limits. Put records and reshard through the story, for the oracles to
    /// see.
    pub stream: MemoryStream,
    /// The table, to change rows behind the workers' backs.
    pub table: MemoryLeaseStore,
    stage: Rc<Stage>,
}

impl Story {
    /// A story with a stream of this many shards, an empty table, and no worker.
    #[must_use]
    #[track_caller]
    pub fn new(shards: usize) -> Self {
        let stage = Rc::new(Stage::new(shards));
        let world = stage.world.borrow();
        let (stream, table) = (world.stream.memory().clone(), world.table.store().clone());
        drop(world);
        Self { journal: stage.journal.clone(), stream, table, stage }
    }

    /// Changes the settings of workers that start from now on. By default they start at the trim
    /// horizon.
    pub fn configure(&self, change: impl FnOnce(&mut WorkerConfig)) {
        change(&mut self.stage.config.borrow_mut());
    }

    /// Returns the settings of workers that start from now on.
    #[must_use]
    pub fn config(&self) -> WorkerConfig {
        self.stage.config.borrow().clone()
    }

    /// Starts a worker whose processors follow the script.
    #[track_caller]
    pub fn start(&self, name: &str) -> Member {
        Member::new(self.stage.start_scripted(name), &self.stage)
    }

    /// Starts a worker with processors of the test's own. The oracles know less about these: a
    /// checkpoint may then cover each record that was delivered.
    #[track_caller]
    pub fn start_with(&self, name: &str, factory: impl ProcessorFactory) -> Member {
        self.stage.world.borrow_mut().observed.facts.processors_are_unknown();
        let factory = Arc::new(factory);
        self.start_noting(name, move |_| SharedFactory(Arc::clone(&factory)))
    }

    /// Starts a worker with processors of the test's own, which take notes.
    #[track_caller]
    pub fn start_noting<F: ProcessorFactory>(
        &self,
        name: &str,
        factory: impl Fn(Notes) -> F + Send + Sync + 'static,
    ) -> Member {
        let started = self.stage.start(name, move |journal| factory(Notes::new(journal.clone())));
        Member::new(started, &self.stage)
    }

    /// Makes scripted processors do this in these calls. A later line of the script goes before an
    /// earlier one; without one that includes a call, the call succeeds.
    pub fn on(&self, calls: impl Fn(&Call) -> bool + Send + Sync + 'static, act: Act) {
        self.stage.script.on(calls, act);
    }

    /// Makes scripted processors succeed in all calls.
    pub fn all_succeed(&self) {
        self.stage.script.clear();
    }

    /// Declares a record that no processor can process, before it is put: only such ones may be
    /// skipped or dead-lettered.
    pub fn poison(&self, record: &str) {
        self.stage.poison.borrow_mut().insert(record.to_owned());
    }

    /// Makes the dead letter refuse the next `count` records.
    pub fn fail_dead_letters(&self, count: usize) {
        self.stage.letters.fail_next(count);
    }

    /// Returns the data of the dead-lettered records, in order.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<String> {
        self.stage.letters.stored()
    }

    /// Returns the time since the story began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.stage.elapsed()
    }

    /// Lets time pass.
    #[track_caller]
    pub fn pass(&self, time: Duration) {
        self.stage.act(|world| world.run_for(time));
    }

    /// Lets time pass until `holds`, and fails unless that is `within` this time. `what` says in
    /// the failure which condition did not come to hold.
    #[track_caller]
    pub fn until(&self, what: &str, within: Duration, mut holds: impl FnMut(&Self) -> bool) {
        let end = self.elapsed() + within;
        while !holds(self) {
            if self.elapsed() >= end {
                self.stage.fail(format_args!("not within {within:?}: {what}"));
            }
            self.pass(LOOK_EVERY);
        }
    }

    /// Leaves the fleet as it is at the end: the reason says why it cannot heal.
    pub fn ends_unhealed(&self, _reason: &str) {
        self.stage.is_over.set(true);
    }

    /// Puts records into a shard, and returns the number of the last one.
    #[track_caller]
    pub fn put<'a>(
        &self,
        shard: usize,
        records: impl IntoIterator<Item = &'a str>,
    ) -> SequenceNumber {
        let mut last = SequenceNumber::ZERO;
        for record in records {
            last = self.put_as(shard, "key", record);
        }
        last
    }

    /// Puts a record under a partition key into a shard, and returns its number.
    #[track_caller]
    pub fn put_as(&self, shard: usize, partition_key: &str, record: &str) -> SequenceNumber {
        let hash_key = self.hash_range(shard).start;
        let is_poison = self.stage.poison.borrow().contains(record);
        let data = Bytes::from(record.to_owned());
        let put = |world: &mut Simulation| world.put_at(hash_key, partition_key, data, is_poison);
        self.stage.act(put).sequence
    }

    /// Puts bytes into a shard, and returns their number.
    #[track_caller]
    pub fn put_bytes(&self, shard: usize, data: impl Into<Bytes>) -> SequenceNumber {
        let hash_key = self.hash_range(shard).start;
        self.stage.act(|world| world.put_at(hash_key, "key", data.into(), false)).sequence
    }

    /// Puts an aggregate into a shard, and returns its number. Of its user records, processors get
    /// those at these places.
    #[track_caller]
    pub fn put_aggregate(
        &self,
        shard: usize,
        data: impl Into<Bytes>,
        places: impl IntoIterator<Item = u64>,
    ) -> SequenceNumber {
        let hash_key = self.hash_range(shard).start;
        self.stage.act(|world| put_aggregate(world, hash_key, data.into(), places))
    }

    /// Says that workers which start from now on expand an aggregate: processors then get also its
    /// user records at these places. No record may have been put after it.
    pub fn expands(
        &self,
        shard: usize,
        aggregate: SequenceNumber,
        places: impl IntoIterator<Item = u64>,
    ) {
        let shard = self.shard(shard);
        expect_user_records(&mut self.stage.world.borrow_mut(), &shard, aggregate, places);
    }

    /// Drops the records of a shard before this one.
    pub fn trim_before(&self, shard: usize, sequence: SequenceNumber) {
        self.stage.world.borrow_mut().trim_before(&self.shard(shard), sequence);
    }

    /// Splits a shard in its middle, and returns its children, the lower one first.
    #[track_caller]
    pub fn split(&self, shard: usize) -> [usize; 2] {
        let parent = self.shard(shard);
        self.stage.act(|world| world.split(&parent));
        match *self.children(&parent) {
            [low, high] => [low, high],
            ref other => self.stage.fail(format_args!("{shard} was split into {other:?}")),
        }
    }

    /// Merges a shard with its neighbour above, and returns their child.
    #[track_caller]
    pub fn merge(&self, shard: usize) -> usize {
        let parent = self.shard(shard);
        self.stage.act(|world| world.merge(&parent));
        match *self.children(&parent) {
            [child] => child,
            ref other => self.stage.fail(format_args!("{shard} was merged into {other:?}")),
        }
    }

    fn children(&self, parent: &ShardId) -> Vec<usize> {
        let mut shards = self.stream.shards();
        shards.retain(|shard| shard.parents.contains(parent));
        shards.sort_by_key(|shard| shard.hash_range.start);
        shards.iter().map(|shard| shard_number(shard.id.as_str())).collect()
    }

    /// Deletes the stream.
    pub fn delete_stream(&self) {
        self.stage.world.borrow_mut().delete_stream();
    }

    /// Deletes the stream and creates another one of its name.
    pub fn recreate_stream(&self, shards: usize) {
        self.stage.world.borrow_mut().recreate(shards);
    }

    /// Makes eventual scans show the table as it was this many writes ago.
    pub fn delay_scans(&self, writes: usize) {
        self.stage.world.borrow_mut().net.set_scan_lag(writes);
    }

    /// Returns the id of a shard.
    #[must_use]
    pub fn shard(&self, number: usize) -> ShardId {
        let id = self.described(number).map(|shard| shard.id);
        id.unwrap_or_else(|| ShardId::new(format!("shardId-{number:012}")))
    }

    /// Returns the hash keys of a shard.
    #[must_use]
    pub fn hash_range(&self, shard: usize) -> HashKeyRange {
        self.described(shard).map_or(HashKeyRange::FULL, |shard| shard.hash_range)
    }

    fn described(&self, number: usize) -> Option<Shard> {
        let mut shards = self.stream.shards().into_iter();
        shards.find(|shard| shard_number(shard.id.as_str()) == number)
    }

    /// Returns the lease key of a shard.
    #[must_use]
    pub fn key(&self, shard: usize) -> LeaseKey {
        LeaseKey::from(&self.shard(shard))
    }

    /// Returns the lease of a shard, if there is one.
    #[must_use]
    pub fn find(&self, shard: usize) -> Option<Lease> {
        let key = self.key(shard);
        self.table.leases().into_iter().find(|lease| lease.key == key)
    }

    /// Returns the lease of a shard.
    #[must_use]
    #[track_caller]
    pub fn lease(&self, shard: usize) -> Lease {
        let lease = self.find(shard);
        lease.unwrap_or_else(|| self.stage.fail(format_args!("shard {shard} has no lease")))
    }

    /// Returns how many unended leases `worker` owns; `None` while one of all these leases has no
    /// owner, or is between two.
    #[must_use]
    pub fn owned_by(&self, worker: &str) -> Option<usize> {
        let mut leases = self.table.leases();
        leases.retain(|lease| !lease.is_ended());
        let is_settled = |lease: &Lease| lease.owner.is_some() && lease.checkpoint_owner.is_none();
        let is_owner =
            |lease: &&Lease| lease.owner.as_ref().is_some_and(|owner| owner.name() == worker);
        leases.iter().all(is_settled).then(|| leases.iter().filter(is_owner).count())
    }

    /// Makes a lease another owner's, as a worker that does not run may: its counter is one higher.
    #[track_caller]
    pub fn usurp(&self, shard: usize, owner: &str) {
        let mut lease = self.lease(shard);
        let (worker, counter) = (WorkerId::from(owner), lease.counter.next());
        // Rows of the Java KCL have no stamps.
        let stamp = |_| WriteStamp { counter, worker: worker.clone(), number: 1 };
        lease.last_write = lease.last_write.map(stamp);
        (lease.owner, lease.counter) = (Some(worker.clone()), counter);
        self.table.insert_lease(lease);
    }

    /// Deletes the lease of a shard.
    #[track_caller]
    pub fn delete_lease(&self, shard: usize) {
        let shard = self.shard(shard);
        self.stage.act(|world| delete_row(world, &shard));
    }

    /// Makes a write to the lease of a shard as a worker that does not run.
    #[track_caller]
    pub fn write_as(&self, worker: &str, shard: usize, kind: WriteKind) {
        let write = LeaseWrite { key: self.key(shard), worker: worker.into(), number: 1, kind };
        let outcome = self.stage.act(|world| Ok::<_, SimError>(write_as_stranger(world, &write)));
        if !matches!(outcome, Some(Conditional::Applied(_))) {
            self.stage.fail(format_args!("{write:?}: {outcome:?}"));
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.stage.is_over.get() {
            self.stage.settle();
        }
    }
}
