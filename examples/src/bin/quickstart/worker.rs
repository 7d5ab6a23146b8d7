//! One worker of the fleet, as a process of its own: it writes down what it delivers.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, SdkConfig};
use kcl_core::ShardContext;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::config::{LeaseConfig, RetrievalConfig};
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig, NewTable, TableSetup};
use kcl_kinesis::KinesisSource;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::Args;
use crate::ledger::{Delivery, book};

/// How long a worker must be silent before the others take its shards. A service has 10 s.
pub(crate) const EXPIRY: Duration = Duration::from_secs(3);

/// How often a shard is asked for new records.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Writes down each record before it says that it is done.
struct Bookkeeper {
    /// All shards of the worker write to one file; the lock keeps a batch's lines together.
    book: Arc<Mutex<File>>,
    worker: Arc<str>,
}

impl RecordProcessor for Bookkeeper {
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
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(book.write_all(lines.as_bytes())?)
    }
}

/// Works until SIGTERM, or until the parent is gone.
pub(crate) async fn run(name: &str, args: &Args) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new("info,aws_config=warn"))
        .init();
    let stream = args.stream.as_deref().context("--stream is missing")?;
    let folder = args.folder.as_deref().context("--folder is missing")?;
    let sdk = match &args.endpoint {
        Some(url) => kcl_local::sdk_config(url),
        None => aws_config::load_defaults(BehaviorVersion::latest()).await,
    };
    let book = OpenOptions::new().create(true).append(true).open(book(folder, name))?;
    let worker = assemble(name, stream, &sdk, book)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    tokio::select! {
        report = worker.run_until(stop) => report.map(drop).map_err(Into::into),
        () = orphaned() => Ok(()),
    }
}

fn assemble(name: &str, stream: &str, sdk: &SdkConfig, book: File) -> anyhow::Result<Worker> {
    let book = Arc::new(Mutex::new(book));
    let me: Arc<str> = name.into();
    let mut lease = LeaseConfig::default();
    lease.expiry = EXPIRY;
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
        .processor(move |_| Bookkeeper { book: Arc::clone(&book), worker: Arc::clone(&me) })
        .lease_config(lease)
        .retrieval_config(retrieval)
        .build()?;
    Ok(worker)
}

/// Ready when standard input closes: the parent holds its other end.
async fn orphaned() {
    let (gone, ready) = oneshot::channel::<()>();
    // A thread of its own, because the runtime would wait for one of its own to end.
    std::thread::spawn(move || {
        let mut nothing = [0];
        while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
        drop(gone);
    });
    drop(ready.await);
}
