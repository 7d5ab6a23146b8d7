//! A stack, a gate in front of it, and whole workers that call through the gate.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::ShardContext;
use kcl_core::backend::{LeaseStore as _, Reading};
use kcl_core::config::WorkerConfig;
use kcl_core::error::RunError;
use kcl_core::event::ShutdownReport;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::{InitialPosition, Lease};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_core::{WorkerBuilder, WorkerHandle};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_kinesis::{KinesisSource, KinesisSourceConfig, StreamId};
use kcl_local::{LocalStack, sdk_config};
use kcl_tests::errors::chain;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::gate::Gate;

/// The stream of every scene.
pub(crate) const STREAM: &str = "orders";

/// The default lease table.
pub(crate) const TABLE: &str = "leases";

/// The lease expiry of all workers.
pub(crate) const EXPIRY: Duration = Duration::from_secs(2);

/// How long a condition may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

const CHECK_EVERY: Duration = Duration::from_millis(20);

/// A stack, and the events and records of the workers on it.
pub(crate) struct Scene {
    pub(crate) stack: LocalStack,
    pub(crate) gate: Gate,
    pub(crate) kinesis: aws_sdk_kinesis::Client,
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    seen: Seen,
}

impl Scene {
    /// Starts a stack without a stream.
    pub(crate) async fn empty() -> Self {
        let stack = LocalStack::start().unwrap();
        let gate = Gate::before(&stack.endpoint_url()).await;
        let aws = stack.sdk_config();
        let (kinesis, dynamo) =
            (aws_sdk_kinesis::Client::new(&aws), aws_sdk_dynamodb::Client::new(&aws));
        Self { stack, gate, kinesis, dynamo, seen: Seen::default() }
    }

    /// Starts a stack with a stream of `shards` shards.
    pub(crate) async fn new(shards: i32) -> Self {
        let scene = Self::empty().await;
        scene.create_stream(STREAM, shards).await;
        scene
    }

    pub(crate) async fn create_stream(&self, name: &str, shards: i32) {
        let create = self.kinesis.create_stream().stream_name(name).shard_count(shards);
        create.send().await.unwrap();
    }

    /// Puts a record into the stream, with the record as its key.
    pub(crate) async fn put(&self, record: &str) {
        self.put_to(STREAM, record).await;
    }

    pub(crate) async fn put_to(&self, stream: &str, record: &str) {
        let put = self.kinesis.put_record().stream_name(stream).partition_key(record);
        put.data(Blob::new(record)).send().await.unwrap();
    }

    /// Returns an SDK configuration whose calls go through the gate.
    pub(crate) fn aws(&self) -> SdkConfig {
        sdk_config(self.gate.endpoint())
    }

    /// Returns the leases of the default table.
    pub(crate) async fn leases(&self) -> Vec<Lease> {
        let store = DynamoLeaseStore::new(&self.stack.sdk_config(), TABLE);
        store.scan(None, Reading::Eventual).await.unwrap().leases
    }

    /// Starts a worker in the default table, which it creates.
    pub(crate) fn start(&self, name: &str) -> Running {
        self.start_in(TABLE, name)
    }

    /// Starts a worker in this table, which it creates.
    pub(crate) fn start_in(&self, table: &str, name: &str) -> Running {
        let leases = DynamoLeaseStore::new(&self.aws(), created(table));
        self.run(name, self.builder(name).leases(leases))
    }

    /// Returns a builder that lacks only the lease store.
    pub(crate) fn builder(&self, name: &str) -> WorkerBuilder {
        let seen = self.seen.clone();
        Worker::builder("orders")
            .worker_name(name)
            .records(records(&self.aws(), STREAM))
            .processor(move |_| Listener(seen.clone()))
            .observer(self.seen.clone())
            .config(settings())
    }

    #[expect(clippy::unused_self, reason = "a worker runs in its scene")]
    pub(crate) fn run(&self, name: &str, builder: WorkerBuilder) -> Running {
        let worker = builder.build().unwrap_or_else(|error| panic!("{name}: {error}"));
        let handle = worker.handle();
        let mut run = JoinSet::new();
        run.spawn(worker.run_until(std::future::pending()));
        Running { handle, run }
    }

    /// Returns the records delivered so far, in order.
    pub(crate) fn delivered(&self) -> Vec<String> {
        self.seen.lock().records.clone()
    }

    /// Returns what `select` chooses of all events so far.
    pub(crate) fn events<T>(&self, select: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.seen.lock().events.iter().filter_map(select).collect()
    }

    /// Returns whether the error of a failed call or read contains all of `words`.
    pub(crate) fn has_reported(&self, words: &[&str]) -> bool {
        let failures = self.events(|event| {
            if let Event::CallFailed { error, .. } | Event::FetchFailed { error, .. } = event {
                Some(error.clone())
            } else {
                None
            }
        });
        failures.iter().any(|error| words.iter().all(|word| error.contains(word)))
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self).await {
            assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}\n{}", self.seen);
            sleep(CHECK_EVERY).await;
        }
    }

    /// Waits until `record` is delivered.
    pub(crate) async fn until_delivered(&self, record: &str) {
        let has = async |scene: &Self| scene.delivered().iter().any(|got| got == record);
        self.until(&format!("{record} is delivered"), has).await;
    }

    /// Waits until the error of a failed call or read contains all of `words`.
    pub(crate) async fn until_reported(&self, words: &[&str]) {
        self.until(&format!("{words:?} are reported"), async |scene| scene.has_reported(words))
            .await;
    }
}

/// Returns the workers' settings: a short expiry, and all records.
pub(crate) fn settings() -> WorkerConfig {
    let mut config = WorkerConfig::default();
    config.lease.expiry = EXPIRY;
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    config.retrieval.poll_every = Duration::from_millis(200);
    config
}

/// Returns the settings of a table that workers create. Timeouts fit the short expiry.
pub(crate) fn created(table: &str) -> DynamoLeaseStoreConfig {
    hasty(table).with_setup(TableSetup::CreateIfMissing(NewTable::default()))
}

/// Returns the settings of a table that must exist.
pub(crate) fn hasty(table: &str) -> DynamoLeaseStoreConfig {
    DynamoLeaseStoreConfig::new(table)
        .with_attempt_timeout(Duration::from_millis(500))
        .with_operation_timeout(Duration::from_millis(600))
}

/// Returns a source with a short timeout.
pub(crate) fn records(aws: &SdkConfig, stream: &str) -> KinesisSource {
    let config = KinesisSourceConfig::new(StreamId::Name(stream.into()));
    KinesisSource::with_config(aws, config.with_attempt_timeout(Duration::from_millis(500)))
}

#[track_caller]
pub(crate) fn check(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
}

/// A running worker. Dropping it is a crash.
pub(crate) struct Running {
    pub(crate) handle: WorkerHandle,
    run: JoinSet<Result<ShutdownReport, RunError>>,
}

impl Running {
    /// Waits until the worker has ended.
    pub(crate) async fn ended(self) -> Result<ShutdownReport, RunError> {
        self.ended_within(LIMIT).await
    }

    async fn ended_within(mut self, limit: Duration) -> Result<ShutdownReport, RunError> {
        let end = timeout(limit, self.run.join_next()).await.expect("the worker ends in time");
        end.expect("the worker was started").expect("the worker does not panic")
    }

    /// Returns the error that ends the worker, with all causes.
    pub(crate) async fn refusal(self) -> String {
        chain(&self.ended().await.expect_err("the worker fails"))
    }

    /// Returns the error that ends a worker that misses something for a minute.
    pub(crate) async fn refusal_after_a_minute(self) -> String {
        let began = Instant::now();
        let end = self.ended_within(LIMIT + Duration::from_mins(2)).await;
        assert!(began.elapsed() >= Duration::from_secs(58), "{:?}", began.elapsed());
        chain(&end.expect_err("the worker fails"))
    }

    /// Shuts the worker down, and waits for its end.
    pub(crate) async fn stop(self) -> ShutdownReport {
        self.handle.shut_down();
        self.ended().await.expect("the worker stops without an error")
    }
}

/// The events and records of all workers. Clones share them.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Observed>>);

#[derive(Debug, Default)]
struct Observed {
    events: Vec<Event>,
    records: Vec<String>,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Seen {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.lock().events.push(event.clone());
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observed = self.lock();
        for event in &observed.events {
            writeln!(f, "{event:?}")?;
        }
        writeln!(f, "{:?}", observed.records)
    }
}

/// Logs its records.
struct Listener(Seen);

impl RecordProcessor for Listener {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _: &ShardContext,
    ) -> Result<(), BoxError> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        self.0.lock().records.extend(batch.iter().map(|record| text(&record.data)));
        Ok(())
    }
}
