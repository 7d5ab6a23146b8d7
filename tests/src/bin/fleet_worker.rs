//! A worker process that logs its deliveries, for process tests and measurements.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use kcl_core::ShardContext;
use kcl_core::backend::FileDeadLetter;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::config::{
    DeliveryConfig, FailurePolicy, LeaseConfig, Liveness, OnExhausted, RetrievalConfig,
};
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, Record, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
use kcl_kinesis::KinesisSource;
use kcl_tests::slow_credentials::SlowCredentials;

/// Consumes a stream, and logs a line for each record or batch.
#[derive(Debug, Parser)]
struct Args {
    /// The endpoint of DynamoDB, and of Kinesis unless that is elsewhere.
    #[arg(long)]
    endpoint: String,
    /// The endpoint of Kinesis.
    #[arg(long)]
    kinesis: Option<String>,
    /// The stream.
    #[arg(long)]
    stream: String,
    /// The application: its lease table, created if missing.
    #[arg(long)]
    app: String,
    /// The worker's name.
    #[arg(long)]
    worker: String,
    /// The log file. Lines are appended.
    #[arg(long)]
    log: PathBuf,
    /// The lease expiry, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    failover_ms: u64,
    /// What proves that this worker is alive: counter or session.
    #[arg(long, default_value_t)]
    liveness: Liveness,
    /// How long the processor sleeps for each record, in microseconds.
    #[arg(long, default_value_t = 0)]
    work_us: u64,
    /// Sleep only in shards whose number is a multiple of this.
    #[arg(long, default_value_t = 1)]
    slow_every: u64,
    /// How much memory records may take, in MiB.
    #[arg(long)]
    memory_mib: Option<usize>,
    /// Write a line for each batch, not for each record.
    #[arg(long)]
    count_only: bool,
    /// Fail each batch that has a record of this id.
    #[arg(long)]
    poison: Option<String>,
    /// The dead letter for records that failed twice in a row. By default they are redelivered
    /// indefinitely.
    #[arg(long)]
    dead_letter: Option<PathBuf>,
    /// Fail each batch, and deliver it again after so many milliseconds at most.
    #[arg(long)]
    fail_ms: Option<u64>,
    /// The shortest pause after a failure, in milliseconds.
    #[arg(long, default_value_t = 100)]
    retry_ms: u64,
    /// How long credentials take to load, in milliseconds. By default they need no load.
    #[arg(long)]
    credentials_take_ms: Option<u64>,
    /// How long such credentials live, in milliseconds.
    #[arg(long, default_value_t = 15_000)]
    credentials_live_ms: u64,
    /// Write the log to the standard output.
    #[arg(long)]
    log_to_stdout: bool,
    /// The initial position.
    #[arg(long, value_enum, default_value_t = Initial::TrimHorizon)]
    initial: Initial,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Initial {
    TrimHorizon,
    Latest,
}

/// The file that all shards of this process write to; a lock keeps a batch's lines together.
type Log = Arc<Mutex<File>>;

struct Writer {
    log: Log,
    worker: Arc<str>,
    work: Duration,
    slow_every: u64,
    count_only: bool,
    poison: Option<Arc<str>>,
    fails: bool,
}

impl Writer {
    fn is_poison(&self, record: &Record) -> bool {
        self.poison.as_ref().is_some_and(|poison| id(record) == **poison)
    }
}

/// Returns the text before the first bar.
fn id(record: &Record) -> Cow<'_, str> {
    let id = record.data.split(|byte| *byte == b'|').next().unwrap_or_default();
    String::from_utf8_lossy(id)
}

impl RecordProcessor for Writer {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let number = shard.shard_id().as_str().rsplit('-').next().unwrap_or_default();
        let is_slow = number.parse::<u64>()?.is_multiple_of(self.slow_every);
        if is_slow && !self.work.is_zero() {
            tokio::time::sleep(self.work.saturating_mul(u32::try_from(batch.len())?)).await;
        }
        if batch.iter().any(|record| self.is_poison(record)) {
            return Err("poison".into());
        }
        if self.fails {
            return Err("asked to fail".into());
        }
        let (now, worker) = (SystemClock.time_of_day().epoch_millis(), &self.worker);
        let shard = shard.shard_id();
        let mut lines = Vec::new();
        if self.count_only {
            writeln!(lines, "{now} {worker} {shard} {}", batch.len())?;
        } else {
            for record in &batch {
                let (sequence, id) = (record.position.sequence, id(record));
                writeln!(lines, "{now} {worker} {shard} {sequence} {id}")?;
            }
        }
        let mut log = self.log.lock().map_err(|error| error.to_string())?;
        log.write_all(&lines)?;
        Ok(())
    }
}

/// Prints a line when the worker starts to work.
#[derive(Debug)]
struct Ready;

impl Observer for Ready {
    fn on_event(&self, event: &Event, _: &EventContext) {
        if matches!(event, Event::Started { .. }) {
            let mut out = std::io::stdout().lock();
            // A closed standard output must not stop the worker.
            drop(writeln!(out, "READY").and_then(|()| out.flush()));
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("KCL_LOG");
    let log = tracing_subscriber::fmt().with_env_filter(filter.unwrap_or_else(|_| "info".into()));
    if args.log_to_stdout {
        log.init();
    } else {
        log.with_writer(std::io::stderr).init();
    }
    let mut aws = kcl_local::sdk_config(&args.endpoint);
    let mut kinesis = kcl_local::sdk_config(args.kinesis.as_ref().unwrap_or(&args.endpoint));
    if let Some(takes) = args.credentials_take_ms.map(Duration::from_millis) {
        let lifetime = Duration::from_millis(args.credentials_live_ms);
        let slow = SlowCredentials::new(takes, lifetime);
        (aws, kinesis) = (slow.within(aws), slow.within(kinesis));
    }
    let file = OpenOptions::new().create(true).append(true).open(&args.log);
    let log: Log = Arc::new(Mutex::new(
        file.with_context(|| format!("the log {} cannot be written", args.log.display()))?,
    ));
    let worker: Arc<str> = args.worker.as_str().into();
    let (work, count_only) = (Duration::from_micros(args.work_us), args.count_only);
    let slow_every = args.slow_every;
    let mut lease = LeaseConfig::default();
    lease.expiry = Duration::from_millis(args.failover_ms);
    lease.liveness = args.liveness;
    let table = DynamoLeaseStoreConfig::new(args.app.as_str());
    let operation_timeout = table.operation_timeout.min(lease.expiry / 3);
    let table = table.with_operation_timeout(operation_timeout);
    let mut retrieval = RetrievalConfig::default();
    retrieval.initial_position = match args.initial {
        Initial::TrimHorizon => InitialPosition::TrimHorizon,
        Initial::Latest => InitialPosition::Latest,
    };
    if let Some(mebibytes) = args.memory_mib {
        retrieval.memory_max = mebibytes * 1024 * 1024;
    }
    let mut delivery = DeliveryConfig::default();
    delivery.retry_min = Duration::from_millis(args.retry_ms);
    if let Some(pause) = args.fail_ms {
        delivery.retry_max = Duration::from_millis(pause);
        delivery.retry_min = delivery.retry_min.min(delivery.retry_max);
    }
    if args.dead_letter.is_some() {
        delivery.failure = FailurePolicy::attempts(2, OnExhausted::DeadLetter);
    }
    let fails = args.fail_ms.is_some();
    let poison: Option<Arc<str>> = args.poison.as_deref().map(Into::into);
    let builder = Worker::builder(&args.app)
        .worker_name(&args.worker)
        .records(KinesisSource::new(&kinesis, args.stream.as_str()))
        .leases(DynamoLeaseStore::new(&aws, table).create_if_missing())
        .processor(move |_| Writer {
            log: Arc::clone(&log),
            worker: Arc::clone(&worker),
            work,
            slow_every,
            count_only,
            poison: poison.clone(),
            fails,
        })
        .lease_config(lease)
        .retrieval_config(retrieval)
        .delivery_config(delivery)
        .observer(Ready);
    let worker = match args.dead_letter {
        Some(path) => builder.dead_letter(FileDeadLetter::new(path)).build()?,
        None => builder.build()?,
    };
    worker.run().await?;
    Ok(())
}
