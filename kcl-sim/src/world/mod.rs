//! The [`World`]: a fleet, its lease table and its stream, in virtual time.
//!
//! Behind it is a [`Simulation`] of five parts: a clock with an agenda, a network, a stream, a
//! table and members. A member runs to its next call; the network draws whether, when and how often
//! that call lands, and what its caller gets.

mod aggregates;
mod call;
mod call_faults;
mod call_rate;
mod capacity;
mod clock;
mod connections;
mod credentials;
mod deleted_rows;
mod deliveries;
mod ends;
mod healing;
mod member;
mod members;
mod net;
mod observations;
mod port;
mod producer;
mod redelivery;
mod service;
mod simulation;
mod storm;
mod stranger;
mod stream;
mod table;
mod tries;
mod weather;
mod worker_spec;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::config::WorkerConfig;
use kcl_core::event::WorkerStatus;
use kcl_core::model::{Lease, Position, Record, Shard, ShardId};
use kcl_core::{ProcessorFactory, RecordProcessor};

pub(crate) use aggregates::{expect_user_records, put_aggregate};
pub use call_faults::{CallFault, Calls};
pub(crate) use capacity::{CapacityPlan, Units};
pub(crate) use credentials::CredentialsPlan;
pub(crate) use deleted_rows::{delete_row, delete_session};
pub use deliveries::Delivery;
pub(crate) use ends::{all_end, end_of};
pub(crate) use healing::{heal, shut_down};
pub use member::End;
pub(crate) use observations::WORLD;
pub(crate) use producer::{Load, Producer};
pub(crate) use service::ServicePlan;
pub(crate) use simulation::Simulation;
pub(crate) use stranger::write_as_stranger;
pub use weather::Weather;
pub(crate) use worker_spec::{SharedFactory, WorkerSpec};

use self::ends::next_end;
use self::redelivery::redeliver;
use self::storm::storm;
use crate::error::SimError;
use crate::fault::Tally;
use crate::memory::LatePage;
use crate::time::Time;
use crate::trace::Trace;

/// A fleet, its lease table and its stream, in virtual time. Everything follows from the seed.
///
/// Time passes in [`run_for`](Self::run_for), and in the methods that say so. Each of them returns
/// the first promise that was broken meanwhile as [`SimError::Broken`].
#[derive(Debug)]
pub struct World {
    sim: Simulation,
}

/// The world and its time.
impl World {
    /// Creates a world with a stream of `shards` shards, without workers and without faults.
    ///
    /// # Errors
    /// None so far.
    pub fn new(seed: u64, shards: usize) -> Result<Self, SimError> {
        Ok(Self { sim: Simulation::new(seed, shards) })
    }

    /// Keeps a line for everything that happens from now on.
    pub fn keep_trace(&mut self) {
        self.sim.observed.trace = Trace::on();
    }

    /// Returns the lines kept so far.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.sim.observed.trace.lines()
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.sim.now()
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), SimError> {
        self.sim.run_for(time)
    }

    /// Lets time pass until `end`.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_until(&mut self, end: Time) -> Result<(), SimError> {
        self.sim.run_until(end)
    }

    /// Expects from now on that no record waits longer than `most`: from its arrival until the
    /// `process_records` call that gets it returns, or, if records are acknowledged one by one,
    /// until its acknowledgement is stored. Records put before this call do not count.
    pub fn expect_within(&mut self, most: Duration) {
        self.sim.observed.facts.limit_waits(self.sim.now(), most, None);
    }

    /// Returns how often each fault occurred.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.sim.observed.tally
    }
}

/// Workers.
impl World {
    /// Starts a worker. Its settings hold as they are: at LATEST, the default initial position, it
    /// skips records put before the first worker started, as
    /// [`InitialPosition`](kcl_core::model::InitialPosition) describes. If a worker of that name
    /// runs already, it is [restarted](Self::restart) with the new settings.
    ///
    /// Processors run in the world's time: they sleep with `tokio::time`, do no I/O and block no
    /// thread. The factory outlives a crash: what it shares with its processors stands for what
    /// lies outside the process, such as a database.
    ///
    /// # Errors
    /// If a setting is out of range; the first promise that was broken.
    pub fn start(
        &mut self,
        name: &str,
        config: WorkerConfig,
        factory: impl ProcessorFactory<Processor: RecordProcessor>,
    ) -> Result<(), SimError> {
        self.start_at_speed(name, 1_000, config, factory)
    }

    /// Starts a worker whose clock runs at `speed` thousandths of the world's.
    ///
    /// # Errors
    /// If a setting is out of range; the first promise that was broken.
    pub fn start_at_speed(
        &mut self,
        name: &str,
        speed: u64,
        config: WorkerConfig,
        factory: impl ProcessorFactory,
    ) -> Result<(), SimError> {
        self.sim.start(name, WorkerSpec::new(speed, config, factory))
    }

    /// Starts a worker again, with its former settings and factory. A worker that was asked to
    /// [stop](Self::stop) ends first, while time passes; any other that still runs is killed.
    ///
    /// # Errors
    /// If no worker of that name was ever started; the first promise that was broken.
    pub fn restart(&mut self, name: &str) -> Result<(), SimError> {
        self.sim.restart(name)
    }

    /// Kills a worker. Its calls on their way still land.
    ///
    /// # Errors
    /// If it does not run.
    pub fn crash(&mut self, name: &str) -> Result<(), SimError> {
        self.sim.crash(name)
    }

    /// Asks a worker to shut down. [`next_end`](Self::next_end) waits for its end and returns the
    /// report on its shards.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&mut self, name: &str) -> Result<(), SimError> {
        self.sim.stop(name)
    }

    /// Stops a worker for `time`, as SIGSTOP and SIGCONT do.
    ///
    /// # Errors
    /// If it does not run, or stands still already.
    pub fn freeze(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        self.sim.freeze(name, time)
    }

    /// Suspends the machine of a worker for `time`.
    ///
    /// # Errors
    /// If it does not run, or stands still already.
    pub fn suspend(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        self.sim.suspend(name, time)
    }

    /// Cuts a worker off from the lease table and from the stream, for a time each. If it does not
    /// run, or ends meanwhile, its successor is cut off.
    ///
    /// # Errors
    /// If no worker of that name was ever started.
    pub fn cut(&mut self, name: &str, leases: Duration, records: Duration) -> Result<(), SimError> {
        self.sim.cut(name, leases, records)
    }

    /// Lets time pass until the worker's processors have finished records that no checkpoint
    /// covers, then kills the worker and starts it again. Returns the number of these records: they
    /// are delivered again, to this worker or to another, once the leases have expired. The world
    /// does not see when a record is finished that is acknowledged by itself (`into_acks`,
    /// `for_each`, `for_stream`): it counts those that were delivered at least 100 ms before.
    ///
    /// # Errors
    /// If the worker does not run; if it has finished no such records within two minutes, as when
    /// no records are put or the worker holds no shard; the first promise that was broken.
    pub fn redeliver(&mut self, name: &str) -> Result<usize, SimError> {
        redeliver(&mut self.sim, name)
    }

    /// Lets time pass until a worker ends, and returns its name and how it ended: because it was
    /// asked to [stop](Self::stop), or by itself, as when its failure policy stops the worker. A
    /// worker that ends by itself outside of this call breaks a promise.
    ///
    /// # Errors
    /// If no worker ends within three minutes; the first promise that was broken.
    pub fn next_end(&mut self) -> Result<(String, End), SimError> {
        next_end(&mut self.sim)
    }

    /// Returns whether a worker was asked to shut down and still runs.
    #[must_use]
    pub fn is_stopping(&self, name: &str) -> bool {
        self.sim.members.is_stopping(name)
    }

    /// Returns the names of the workers that run, in the order of their starts.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.sim.members.names()
    }

    /// Returns the status of each worker that runs.
    #[must_use]
    pub fn statuses(&self) -> Vec<WorkerStatus> {
        self.sim.members.statuses()
    }
}

/// Records.
impl World {
    /// Puts a record. [`deliveries`](Self::deliveries) lists its deliveries.
    ///
    /// # Errors
    /// If the stream was deleted.
    pub fn put(
        &mut self,
        partition_key: &str,
        data: impl Into<Bytes>,
    ) -> Result<Position, SimError> {
        self.sim.put(partition_key, data.into())
    }

    /// Puts records from now on, with random pauses of `pause` on average, until the world
    /// [heals](Self::heal) or [`send_no_more`](Self::send_no_more). `record` makes the partition
    /// key and the data of each record from its number, counted from 0.
    pub fn put_every<K: Into<String>, D: Into<Bytes>>(
        &mut self,
        pause: Duration,
        mut record: impl FnMut(u64) -> (K, D) + Send + 'static,
    ) {
        let make = move |number| {
            let (key, data) = record(number);
            (key.into(), data.into())
        };
        self.sim.produce(pause, Producer::of_users(self.sim.seed, pause, make));
    }

    /// Puts records without meaning at random hash keys from now on, with random pauses of `pause`
    /// on average.
    pub fn send_every(&mut self, pause: Duration) {
        self.sim.produce(pause, Producer::of_load(self.sim.seed, pause, Load::default()));
    }

    /// Stops putting records.
    pub fn send_no_more(&mut self) {
        self.sim.stream.stop_producing();
    }

    /// Returns the records [put](Self::put) so far, by shard, in the order of each shard.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.sim.observed.deliveries.records()
    }

    /// Returns the deliveries of the records that were [put](Self::put), in the order of time.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        self.sim.observed.deliveries.all()
    }

    /// Returns the number of records that were put and for which no processor has returned `Ok`.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.sim.observed.facts.backlog()
    }
}

/// The stream and the lease table.
impl World {
    /// Returns the open shards.
    #[must_use]
    pub fn open_shards(&self) -> Vec<Shard> {
        self.sim.stream.open_shards()
    }

    /// Splits a shard in the middle of its hash keys.
    ///
    /// # Errors
    /// If it is not open, or has too few hash keys.
    pub fn split(&mut self, shard: &ShardId) -> Result<(), SimError> {
        self.sim.split(shard)
    }

    /// Merges a shard with its neighbour above.
    ///
    /// # Errors
    /// If it is not open, or the last one: there is none above it.
    pub fn merge(&mut self, shard: &ShardId) -> Result<(), SimError> {
        self.sim.merge(shard)
    }

    /// Drops the records of a shard before the first one that is not done; if all are done, before
    /// the last one.
    ///
    /// # Errors
    /// If no record was ever put into it.
    pub fn trim(&mut self, shard: &ShardId) -> Result<(), SimError> {
        self.sim.trim(shard)
    }

    /// Removes a closed shard from the shard list, as the stream does once its records have expired.
    /// Nothing happens if it is open or not listed.
    pub fn forget(&mut self, shard: &ShardId) {
        self.sim.forget(shard);
    }

    /// Deletes the stream and creates another one of the same name. No worker may deliver its
    /// records.
    pub fn recreate(&mut self, shards: usize) {
        self.sim.recreate(shards);
    }

    /// Makes shard lists consist of pages of `page_shards` shards, of which the `late` ones show
    /// the stream as it was `lag` ago. The next [`calm`](Self::calm) ends this.
    pub fn list_late(&mut self, lag: Duration, page_shards: usize, late: LatePage) {
        self.sim.list_late(lag, page_shards, late);
    }

    /// Sets the size of each row of the table, which is what scans cost. By default rows have about
    /// 350 bytes.
    pub fn set_row_bytes(&mut self, bytes: usize) {
        self.sim.table.set_row_bytes(bytes);
    }

    /// Returns all leases.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        self.sim.table.leases()
    }

    /// Deletes the row of a lease, as an operator at a console may.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn delete_row(&mut self, shard: &ShardId) -> Result<(), SimError> {
        delete_row(&mut self.sim, shard)
    }
}

/// Faults, and their end.
impl World {
    /// Sets how often calls fail from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.sim.net.set_weather(weather);
    }

    /// Throttles most calls for `time`.
    pub fn throttle(&mut self, time: Duration) {
        self.sim.throttle(time);
    }

    /// Lets `time` pass in a storm: calls fail as in [`Weather::bad`], and every few seconds a
    /// worker crashes, stops, freezes, is suspended or cut off, calls are throttled, a shard is
    /// split or merged, or shard lists are late. Workers that crashed or stopped start again, the
    /// last of them at the end. A storm trims no records, deletes no rows, and does not re-create
    /// the stream.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kcl_core::config::WorkerConfig;
    /// # use kcl_core::model::InitialPosition;
    /// # use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};
    /// # use kcl_sim::{SimError, World};
    /// # struct Mine;
    /// # impl RecordProcessor for Mine {
    /// #     async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// let mut config = WorkerConfig::default();
    /// config.retrieval.initial_position = InitialPosition::TrimHorizon;
    /// for seed in 0..3 {
    ///     let mut world = World::new(seed, 4)?;
    ///     for name in ["ann", "ben", "cid"] {
    ///         world.start(name, config.clone(), |_: &ShardContext| Mine)?;
    ///     }
    ///     world.put_every(Duration::from_millis(200), |number| ("key", format!("{number}")));
    ///     world.storm(Duration::from_mins(5))?;
    ///     world.heal()?;
    ///     assert!(world.deliveries().len() >= world.records().count());
    /// }
    /// # Ok::<(), SimError>(())
    /// ```
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn storm(&mut self, time: Duration) -> Result<(), SimError> {
        storm(&mut self.sim, time)
    }

    /// Ends all faults. Calls on their way keep what was drawn for them.
    pub fn calm(&mut self) {
        self.sim.calm();
    }

    /// Ends all faults, stops putting records, and lets time pass until the fleet is healthy: every
    /// record is processed and its checkpoint stored, and every shard is held. If processors
    /// checkpoint by themselves, any checkpoint will do. Returns how long that took, from the time
    /// at which the last worker that stood still ran again.
    ///
    /// # Errors
    /// If the fleet is not healthy within five minutes; the first promise that was broken.
    pub fn heal(&mut self) -> Result<Duration, SimError> {
        heal(&mut self.sim)
    }

    /// Shuts all workers down, and lets time pass until they have ended.
    ///
    /// # Errors
    /// If one does not end in time, or still owns a lease; the first promise that was broken.
    pub fn shut_down(&mut self) -> Result<(), SimError> {
        shut_down(&mut self.sim)
    }
}

impl fmt::Display for World {
    /// The trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.trace() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
