//! Measures workers whose surroundings stumble: credentials, the log, the network.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::config::WorkerConfig;
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_kinesis::KinesisSource;
use kcl_local::{LocalStack, sdk_config};
use kcl_tests::fleet::{Fleet, until};
use kcl_tests::thin_line;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::lease_watch::LeaseWatch;
use crate::{Args, Row, print};

const SHARDS: i32 = 12;

/// The workers that share the shards.
const WORKERS: [&str; 2] = ["a", "b"];

const LIMIT: Duration = Duration::from_mins(2);

/// How long credentials stumble.
const CREDENTIALS_FOR: Duration = Duration::from_mins(5);

/// How long nobody reads the log.
const BLOCKED_FOR: Duration = Duration::from_mins(1);

/// Half an expiry: with longer pauses, a lease is close to being lost.
const GAP_MAX: f64 = 5.0;

/// The bytes a second of the slow line.
const LINE: u32 = 512 * 1024;

/// Behind the slow line: 10 MiB.
const BACKLOG: usize = 160;
const RECORD_SIZE: usize = 64 * 1024;

/// Prints the selected rows.
pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    if "credentials".contains(&args.only) {
        let (lost, gap) = credentials(args).await?;
        let what = "leases lost and calls failed in 5 min, credentials take 2 s and live 15 s";
        print("credentials", what, 0.0, lost);
        print("credentials-gap", "longest time between renewals meanwhile, s", GAP_MAX, gap);
    }
    if "blocked-stdout".contains(&args.only) {
        let (lost, gap) = blocked_stdout(args).await?;
        print("blocked-stdout", "leases lost while nobody reads the log for 60 s", 0.0, lost);
        print("blocked-stdout-gap", "longest time between renewals meanwhile, s", GAP_MAX, gap);
    }
    for shards in [1, 4] {
        let name = format!("slow-line-{shards}");
        if name.contains(&args.only) {
            let row = slow_line(shards).await?;
            print(&name, "10 MiB are read through a line of 512 KiB/s, s", 60.0, row);
        }
    }
    Ok(())
}

/// Real processes whose credentials take 2 s and expire every 15 s.
async fn credentials(args: &Args) -> anyhow::Result<(Row, Row)> {
    let extra = ["--credentials-take-ms", "2000", "--credentials-live-ms", "15000"];
    let mut fleet = Fleet::start(&args.worker, SHARDS, &extra).await?;
    fleet.set_environment("NO_COLOR", "1");
    for worker in WORKERS {
        fleet.spawn(worker)?;
    }
    fleet.balanced(&WORKERS, 6, LIMIT).await?;
    let count = |text: &str| -> u32 {
        let logs = WORKERS.map(|worker| fleet.errors(worker).matches(text).count());
        u32::try_from(logs.iter().sum::<usize>()).unwrap_or(u32::MAX)
    };
    let texts = ["event=\"lease_ended\"", "event=\"call_failed\"", "credentials loaded"];
    let (before, calls) = (texts.map(count), fleet.stack().calls());
    let producer = fleet.produce(120);
    let watch = LeaseWatch::run(&fleet, CREDENTIALS_FOR).await?;
    let [lost, failed, loads] = texts.map(count);
    let [lost, failed, loads] =
        [(lost, before[0]), (failed, before[1]), (loads, before[2])].map(|(now, then)| now - then);
    let sum = |calls: &BTreeMap<String, u64>| calls.values().sum::<u64>();
    let calls = sum(&fleet.stack().calls()) - sum(&calls);
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let more = json!({ "lost": lost.max(watch.lost), "calls failed": failed, "calls": calls,
        "loads": loads, "records repeated": audit.repeated() });
    let worst = f64::from(lost.max(watch.lost) + failed);
    Ok((Row { worst, more }, gap(&watch)))
}

fn gap(watch: &LeaseWatch) -> Row {
    Row { worst: watch.gap_max.as_secs_f64(), more: json!({}) }
}

/// A real process that logs much to a standard output that nobody reads, beside another one that
/// would take its leases.
async fn blocked_stdout(args: &Args) -> anyhow::Result<(Row, Row)> {
    let extra = ["--log-to-stdout", "--fail-ms", "20"];
    let mut fleet = Fleet::start(&args.worker, SHARDS, &extra).await?;
    fleet.set_environment("NO_COLOR", "1");
    let log = fleet.spawn_into_pipe("a")?;
    fleet.spawn("b")?;
    fleet.balanced(&WORKERS, 6, LIMIT).await?;
    let producer = fleet.produce(120);
    until("every shard has a record", LIMIT, async || Ok(producer.count() > 500)).await?;
    producer.stop().await?;
    let watch = LeaseWatch::run(&fleet, BLOCKED_FOR).await?;
    let (report, reported) = oneshot::channel();
    thread::Builder::new().spawn(move || read(log, report))?;
    let dropped = timeout(LIMIT, reported).await.context("no event was dropped")?;
    let dropped = dropped.context("the log ends without a count")?;
    fleet.signal("a", Signal::TERM)?;
    let more = json!({ "events dropped": dropped, "ended well": fleet.gone("a", LIMIT).await? });
    Ok((Row { worst: f64::from(watch.lost), more }, gap(&watch)))
}

/// Reads a log to its end. Reports how many events it says were dropped.
fn read(log: PipeReader, report: oneshot::Sender<u64>) {
    let mut report = Some(report);
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let count = line.contains("events_dropped").then(|| line.rsplit("count=").next());
        let count = count.flatten().and_then(|count| count.split(' ').next()?.parse().ok());
        if let Some((count, report)) = count.and_then(|count| Some((count, report.take()?))) {
            _ = report.send(count); // The row may have given up.
        }
    }
}

/// Counts the records that are delivered.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

impl RecordProcessor for Counter {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _: &ShardContext,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(batch.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// A worker with default settings, with everything that it calls behind one line.
#[expect(clippy::disallowed_methods, reason = "the row's runtime owns the worker")]
async fn slow_line(shards: usize) -> anyhow::Result<Row> {
    let stack = LocalStack::start()?;
    put_backlog(&stack, shards).await?;
    let server = stack.endpoint_url().trim_start_matches("http://").parse()?;
    let aws = sdk_config(&format!("http://{}", thin_line::to(server, LINE).await?));
    let delivered = Counter::default();
    let counter = delivered.clone();
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    let worker = Worker::builder("slow-line")
        .records(KinesisSource::new(&aws, "orders"))
        .leases(DynamoLeaseStore::new(&aws, "leases").create_if_missing())
        .processor(move |_| counter.clone())
        .config(config)
        .build()?;
    let (handle, began) = (worker.handle(), Instant::now());
    let run = tokio::spawn(worker.run_until(std::future::pending()));
    let all = async || Ok(delivered.0.load(Ordering::Relaxed) >= BACKLOG);
    until("everything is delivered", LIMIT, all).await?;
    let worst = began.elapsed().as_secs_f64();
    handle.shut_down();
    run.await??;
    let read = delivered.0.load(Ordering::Relaxed);
    Ok(Row { worst, more: json!({ "records": BACKLOG, "delivered": read }) })
}

async fn put_backlog(stack: &LocalStack, shards: usize) -> anyhow::Result<()> {
    let kinesis = aws_sdk_kinesis::Client::new(&stack.sdk_config());
    let shard_count = i32::try_from(shards)?;
    kinesis.create_stream().stream_name("orders").shard_count(shard_count).send().await?;
    for record in 0..BACKLOG {
        let hash_key = u128::MAX / u128::try_from(shards)? * u128::try_from(record % shards)? + 1;
        let put = kinesis.put_record().stream_name("orders").partition_key("key");
        let put = put.explicit_hash_key(hash_key.to_string());
        put.data(Blob::new(vec![b'x'; RECORD_SIZE])).send().await?;
    }
    Ok(())
}
