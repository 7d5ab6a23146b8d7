//! A worker process of the fleet, which logs every delivery.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_types::SdkConfig;
use kcl_core::ShardContext;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::config::{LeaseConfig, RetrievalConfig};
use kcl_core::model::{InitialPosition, Liveness};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_kinesis::KinesisSource;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::Args;
use crate::ledger::{Delivery, log_path};
use crate::sdk;

/// The lease expiry, shorter than the default of 10 s.
pub(crate) const EXPIRY: Duration = Duration::from_secs(3);

/// The interval of polls.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Logs every record of a batch before it acknowledges the batch.
struct DeliveryLog {
    /// The file, which all shards of the worker share. The lock keeps a batch's lines together.
    file: Arc<Mutex<File>>,
    worker: Arc<str>,
}

impl RecordProcessor for DeliveryLog {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let at = SystemClock.now();
        let mut lines = String::new();
        for record in &batch {
            let delivery = Delivery {
                at,
                worker: Arc::clone(&self.worker),
                token: shard.token().get(),
                shard: shard.shard_id().clone(),
                sequence: record.position.sequence,
                number: std::str::from_utf8(&record.data)?.parse()?,
                key: record.partition_key.to_string(),
            };
            lines.push_str(&delivery.line());
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(lines.as_bytes())?)
    }
}

/// Runs until SIGTERM, or until the parent ends.
pub(crate) async fn run(name: &str, args: &Args) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let levels =
        Targets::new().with_default(LevelFilter::INFO).with_target("aws_config", LevelFilter::WARN);
    tracing_subscriber::registry().with(log.with_filter(levels)).init();
    let stream = args.stream.as_deref().context("--stream is missing")?;
    let folder = args.folder.as_deref().context("--folder is missing")?;
    let sdk = match &args.endpoint {
        Some(url) => sdk::local(url),
        None => sdk::account().await?,
    };
    let log = OpenOptions::new().create(true).append(true).open(log_path(folder, name))?;
    let worker = build(name, stream, &sdk, args.liveness, log)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    tokio::select! {
        report = worker.run_until(stop) => report.map(drop).map_err(Into::into),
        () = orphaned() => Ok(()),
    }
}

fn build(
    name: &str,
    stream: &str,
    sdk: &SdkConfig,
    liveness: Liveness,
    log: File,
) -> anyhow::Result<Worker> {
    let file = Arc::new(Mutex::new(log));
    let own_name: Arc<str> = name.into();
    let mut lease = LeaseConfig::default();
    lease.expiry = EXPIRY;
    lease.liveness = liveness;
    let mut retrieval = RetrievalConfig::default();
    retrieval.initial_position = InitialPosition::TrimHorizon;
    retrieval.poll_every = POLL_EVERY;
    let table = DynamoLeaseStoreConfig::new(stream)
        .with_setup(TableSetup::CreateIfMissing(NewTable::default()))
        .with_attempt_timeout(EXPIRY / 6)
        .with_operation_timeout(EXPIRY / 3);
    let worker = Worker::builder(stream)
        .worker_name(name)
        .records(KinesisSource::new(sdk, stream))
        .leases(DynamoLeaseStore::new(sdk, table))
        .processor(move |_| DeliveryLog { file: Arc::clone(&file), worker: Arc::clone(&own_name) })
        .lease_config(lease)
        .retrieval_config(retrieval)
        .build()?;
    Ok(worker)
}

/// Completes when standard input closes: the parent holds its other end.
async fn orphaned() {
    let (closed, wait) = oneshot::channel::<()>();
    // Not a thread of the runtime, which would wait for it.
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        drop(closed);
    });
    drop(wait.await);
}
