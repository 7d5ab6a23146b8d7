//! The stream, the table, and the workers on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::WorkerHandle;
use kcl_core::config::{OnExhausted, WorkerConfig};
use kcl_core::error::RunError;
use kcl_core::event::ShutdownReport;
use kcl_core::model::{
    HashKeyRange, InitialPosition, Lease, LeaseKey, SequenceNumber, ShardId, WorkerId,
};
use kcl_core::{ProcessorFactory, Worker};
use kcl_sim::memory::MemoryLeaseStore;
use kcl_sim::memory::MemoryStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::clock::TestClock;
use super::faults::{Faults, FaultySource, FaultyStore};
use super::journal::Journal;
use super::letters::Letters;
use super::script::{Act, Asked, Script, Scripted, number};

/// How often a condition is looked at, in virtual time.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long a worker that is to end may take, in virtual time: without a limit it would pass for ever.
const ENDS_WITHIN: Duration = Duration::from_mins(10);

/// A stream and a lease table in memory.
#[derive(Debug)]
#[non_exhaustive]
pub struct World {
    /// What time it is.
    pub clock: TestClock,
    /// The stream.
    pub stream: MemoryStream,
    /// The table, without faults.
    pub store: MemoryLeaseStore,
    /// What happened.
    pub journal: Journal,
    /// The settings of workers that start from now on. They begin at the trim horizon.
    pub config: WorkerConfig,
    /// Where records go that are given up; used if the settings say so.
    pub letters: Letters,
    script: Script,
    starts: AtomicU64,
}

impl World {
    /// A stream of so many shards, an empty table, no worker.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let clock = TestClock::start();
        let journal = Journal::new(clock);
        let mut config = WorkerConfig::default();
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        Self {
            clock,
            stream: MemoryStream::new("orders", shards, Arc::new(clock)),
            store: MemoryLeaseStore::new(),
            journal,
            config,
            letters: Letters::new(),
            script: Script::default(),
            starts: AtomicU64::new(0),
        }
    }

    /// What processors do from now on.
    pub fn script(&self, plan: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        self.script.replace(plan);
    }

    /// The id of a shard by its number.
    #[must_use]
    pub fn shard(&self, of: usize) -> ShardId {
        let shards = self.stream.shards().into_iter();
        let mut ids = shards.map(|shard| shard.id).filter(|id| number(id.as_str()) == of);
        ids.next().unwrap_or_else(|| ShardId::new(format!("shardId-{of:012}")))
    }

    /// The hash keys of a shard.
    #[must_use]
    pub fn hash_range(&self, of: usize) -> HashKeyRange {
        let shards = self.stream.shards().into_iter();
        let mut found = shards.filter(|shard| number(shard.id.as_str()) == of);
        found.next().map_or(HashKeyRange::FULL, |shard| shard.hash_range)
    }

    /// Puts records into a shard. Returns the number of the last one.
    #[expect(clippy::missing_panics_doc, reason = "a mistake in a test ends the test")]
    pub fn put<'a>(
        &self,
        shard: usize,
        records: impl IntoIterator<Item = &'a str>,
    ) -> SequenceNumber {
        let key = self.hash_range(shard).start;
        let mut last = SequenceNumber::ZERO;
        for record in records {
            let put = self.stream.put_at(key, "key", record.to_owned());
            last = put.expect("an open shard takes the record").1;
        }
        last
    }

    /// Splits a shard in its middle.
    #[expect(clippy::missing_panics_doc, reason = "a mistake in a test ends the test")]
    pub fn split(&self, shard: usize) -> [usize; 2] {
        let HashKeyRange { start, end } = self.hash_range(shard);
        let middle = start + (end - start) / 2;
        let children = self.stream.split(&self.shard(shard), middle);
        children.expect("an open shard is split").map(|id| number(id.as_str()))
    }

    /// Merges two shards.
    #[expect(clippy::missing_panics_doc, reason = "a mistake in a test ends the test")]
    pub fn merge(&self, one: usize, other: usize) -> usize {
        let child = self.stream.merge(&self.shard(one), &self.shard(other));
        number(child.expect("neighbours are merged").as_str())
    }

    /// The lease of a shard, if there is one.
    #[must_use]
    pub fn find(&self, shard: usize) -> Option<Lease> {
        let of = |lease: &Lease| number(lease.key.as_str()) == shard;
        self.store.leases().into_iter().find(of)
    }

    /// The lease of a shard.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a mistake in a test ends the test")]
    pub fn lease(&self, shard: usize) -> Lease {
        self.find(shard).expect("the shard has a lease")
    }

    /// The names of the owners of the unended leases in order, hand-overs being over; none if some
    /// lease has no owner or two.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<String>> {
        let leases = self.store.leases();
        let open = leases.iter().filter(|lease| !lease.is_ended());
        open.map(|lease| match (&lease.owner, &lease.checkpoint_owner) {
            (Some(owner), None) => Some(owner.name().to_owned()),
            (Some(_) | None, _) => None,
        })
        .collect()
    }

    /// How many unended leases `worker` owns, if none is between owners.
    #[must_use]
    pub fn owned_by(&self, worker: &str) -> Option<usize> {
        Some(self.owners()?.iter().filter(|owner| *owner == worker).count())
    }

    /// Another library's or worker's write: the lease is `owner`'s, with a counter one higher.
    pub fn usurp(&self, shard: usize, owner: &str) {
        let mut lease = self.lease(shard);
        lease.owner = Some(WorkerId::from(owner));
        lease.counter = lease.counter.next();
        self.store.insert_lease(lease);
    }

    /// The lease key of a shard.
    #[must_use]
    pub fn key(&self, shard: usize) -> LeaseKey {
        LeaseKey::from(&self.shard(shard))
    }

    /// Starts a worker.
    #[must_use]
    pub fn start(&self, name: &str) -> Member {
        self.start_on(name, self.stream.clone())
    }

    /// Starts a worker on a stream of its own.
    #[must_use]
    pub fn start_on(&self, name: &str, stream: MemoryStream) -> Member {
        let (journal, script, who) = (self.journal.clone(), self.script.clone(), name.to_owned());
        let factory = move |shard: &ShardContext| {
            Scripted::new(journal.clone(), script.clone(), who.clone(), shard)
        };
        self.start_processor(name, stream, factory)
    }

    /// Starts a worker with a processor of the test's own.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a mistake in a test ends the test")]
    pub fn start_processor(
        &self,
        name: &str,
        stream: MemoryStream,
        factory: impl ProcessorFactory,
    ) -> Member {
        let faults = Faults::default();
        let mut builder = Worker::builder("orders").worker_name(name);
        if self.config.delivery.failure.then == OnExhausted::DeadLetter {
            builder = builder.dead_letter(self.letters.clone());
        }
        let worker = builder
            .records(FaultySource::new(stream, faults.clone()))
            .leases(FaultyStore::new(self.store.clone(), faults.clone()))
            .processor_factory(factory)
            .config(self.config.clone())
            .observer(self.journal.observer(name))
            .clock(self.clock)
            .incarnation(self.starts.fetch_add(1, Ordering::Relaxed) + 1)
            .on_one_runtime()
            .build()
            .expect("the settings are in range");
        let (id, handle) = (worker.id().clone(), worker.handle());
        let mut run = JoinSet::new();
        run.spawn(worker.run_until(std::future::pending()));
        Member { id, handle, faults, run }
    }

    /// Waits, in virtual time, until `condition` holds.
    ///
    /// # Panics
    /// If it does not come to hold within `limit`.
    #[track_caller]
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> impl Future<Output = ()> {
        let end = self.clock.elapsed() + limit;
        let place = std::panic::Location::caller();
        async move {
            while !condition(self) {
                assert!(self.clock.elapsed() < end, "{place}: not {what} within {limit:?}\n{self}");
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Lets time pass in which something must not happen.
    pub async fn pass(&self, time: Duration) {
        sleep(time).await;
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for entry in self.journal.entries() {
            writeln!(f, "{:>9.3?} {} {:?}", entry.at, entry.worker, entry.said)?;
        }
        for lease in self.store.leases() {
            writeln!(f, "{lease:?}")?;
        }
        Ok(())
    }
}

/// A worker of the fleet. Dropping it is a crash.
#[derive(Debug)]
#[non_exhaustive]
pub struct Member {
    /// Its id.
    pub id: WorkerId,
    /// Its handle.
    pub handle: WorkerHandle,
    /// How its store and its source fail.
    pub faults: Faults,
    run: JoinSet<Result<ShutdownReport, RunError>>,
}

impl Member {
    /// Waits until the worker has ended, by itself or because it was asked to.
    ///
    /// # Errors
    /// What ended it.
    #[expect(clippy::missing_panics_doc, reason = "a panic of the engine ends the test")]
    pub async fn ended(mut self) -> Result<ShutdownReport, RunError> {
        let end = timeout(ENDS_WITHIN, self.run.join_next()).await.expect("it ends");
        end.expect("it was started").expect("the engine does not panic")
    }

    /// Shuts it down, and waits for that.
    ///
    /// # Errors
    /// What ended it.
    pub async fn stop(self) -> Result<ShutdownReport, RunError> {
        self.handle.shut_down();
        self.ended().await
    }

    /// Ends it between two steps, as a crash does.
    pub fn crash(self) {
        drop(self.run);
    }
}
