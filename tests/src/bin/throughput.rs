//! Measures the cost of a worker against a bare loop of `GetRecords`. The worker, the loop and the
//! stack run in separate processes. Prints one JSON line for each figure; run by
//! `ci/measure.sh throughput`.
#![expect(clippy::print_stdout, reason = "the program prints its results")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_shard_iterator::builders::GetShardIteratorFluentBuilder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use clap::{Parser, ValueEnum};
use kcl_core::ShardContext;
use kcl_core::backend::{ReadFrom, RecordSource as _, ShardFilter};
use kcl_core::config::RetrievalConfig;
use kcl_core::kpl::Aggregator;
use kcl_core::model::{InitialPosition, ShardId};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_kinesis::{Encoding, KinesisSource, KinesisSourceConfig, StreamId};
use kcl_local::LocalStack;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The number of shards of each stream.
const SHARDS: usize = 4;
/// The stream of records of 1 KB, and their number.
const PLAIN: (&str, usize) = ("plain", 40_000);
/// The stream of records of 100 B, and their number.
const SMALL: (&str, usize) = ("small", 200_000);
/// The stream of aggregates of 50 KB, and their number.
const AGGREGATED: (&str, usize) = ("aggregated", 2_400);
/// How much one Kinesis shard returns in a second.
const BYTES_PER_SECOND: f64 = 2.0 * 1024.0 * 1024.0;
/// The minimum interval between reads of one Kinesis shard.
const READ_EVERY: Duration = Duration::from_millis(200);
/// How long a process may take, including under valgrind.
const LIMIT: Duration = Duration::from_mins(2);
/// The size of a user record of an aggregate.
const USER_RECORD_BYTES: usize = 100;

/// Measures throughput for each CPU second.
#[derive(Debug, Parser)]
struct Args {
    /// The role of this process. Without one it starts the others.
    #[arg(long, value_enum)]
    role: Option<Role>,
    #[arg(long, default_value = "")]
    endpoint: String,
    #[arg(long, default_value = "")]
    stream: String,
    /// The number of records to read.
    #[arg(long, default_value_t = 0)]
    count: usize,
    /// The number of trials. The best counts.
    #[arg(long, default_value_t = 3)]
    trials: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Role {
    /// A worker of this library, at its defaults: it reads in CBOR.
    Worker,
    /// A worker that reads in JSON.
    WorkerJson,
    /// A bare loop of the SDK's `GetRecords` for each shard.
    Floor,
    /// A bare loop of this library's reader for each shard, in CBOR.
    FloorCbor,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::WorkerJson => "worker-json",
            Self::Floor => "floor",
            Self::FloorCbor => "floor-cbor",
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.role {
        None => return measure(args.trials).await,
        Some(Role::Worker) => work(&args, Encoding::Cbor).await?,
        Some(Role::WorkerJson) => work(&args, Encoding::Json).await?,
        Some(Role::Floor) => read(&args).await?,
        Some(Role::FloorCbor) => read_in_cbor(&args).await?,
    }
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    println!("{}", spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9);
    Ok(())
}

async fn measure(trials: usize) -> anyhow::Result<()> {
    ensure!(trials > 0, "no trial");
    let stack = LocalStack::start()?;
    let client = Client::new(&stack.sdk_config());
    fill(&client, PLAIN.0, std::iter::repeat_n(vec![b'x'; 1_000], PLAIN.1)).await?;
    fill(&client, SMALL.0, std::iter::repeat_n(vec![b'x'; 100], SMALL.1)).await?;
    let (aggregate, each) = aggregate()?;
    fill(&client, AGGREGATED.0, std::iter::repeat_n(aggregate, AGGREGATED.1)).await?;

    let endpoint = &stack.endpoint_url();
    let reader = |role, (stream, count)| Reader { endpoint, role, stream, count };
    let roles = [Role::Worker, Role::Floor, Role::WorkerJson, Role::FloorCbor];
    let plain = Figures::of(roles.map(|role| reader(role, PLAIN)), trials).await?;
    let what = "CPU of a worker over that of a bare loop in JSON, 1 KB records, 4 shards";
    plain.ratio("throughput", what, (Role::Worker, Role::Floor), 0.50);
    let what = "CPU of a worker that reads in JSON over that of a bare loop in JSON, as above";
    plain.ratio("throughput-json", what, (Role::WorkerJson, Role::Floor), 1.35);
    let what = "CPU of a worker over that of a bare loop in CBOR, as above";
    plain.ratio("throughput-cbor", what, (Role::Worker, Role::FloorCbor), 1.40);

    let roles = [Role::Worker, Role::Floor];
    let small = Figures::of(roles.map(|role| reader(role, SMALL)), trials).await?;
    let what = "CPU of a worker over that of a bare loop in JSON, 100 B records, 4 shards";
    small.ratio("throughput-small", what, (Role::Worker, Role::Floor), 0.50);

    let count = AGGREGATED.1 * each;
    let readers = [reader(Role::Worker, (AGGREGATED.0, count)), reader(Role::Floor, AGGREGATED)];
    let aggregated = Figures::of(readers, trials).await?;
    let rate = count as f64 / aggregated.cpu(Role::Worker);
    println!(
        "{}",
        json!({ "row": "throughput-kpl", "what": "user records of 100 B in aggregates of 50 KB for each CPU second", "floor": 2.3e6, "worst": rate, "holds": rate >= 2.3e6, "more": aggregated.to_json() })
    );
    Ok(())
}

/// What reading a stream costs in each role.
#[derive(Debug, Default)]
struct Figures {
    /// The fewest CPU seconds.
    cpu: BTreeMap<Role, f64>,
    instructions: BTreeMap<Role, Option<u64>>,
}

impl Figures {
    /// Runs the readers in turns, so that changing load on the machine affects all.
    async fn of(
        readers: impl IntoIterator<Item = Reader<'_>>,
        trials: usize,
    ) -> anyhow::Result<Self> {
        let readers: Vec<_> = readers.into_iter().collect();
        let mut figures = Self::default();
        for _ in 0..trials {
            for reader in &readers {
                let best = figures.cpu.entry(reader.role).or_insert(f64::INFINITY);
                *best = best.min(reader.cpu().await?);
            }
        }
        for reader in &readers {
            figures.instructions.insert(reader.role, reader.instructions().await?);
        }
        Ok(figures)
    }

    fn cpu(&self, role: Role) -> f64 {
        self.cpu.get(&role).copied().unwrap_or(f64::NAN)
    }

    /// Prints the row of a worker's CPU over that of a bare loop.
    fn ratio(&self, row: &str, what: &str, (worker, bare): (Role, Role), floor: f64) {
        let ratio = self.cpu(worker) / self.cpu(bare);
        let more = self.to_json();
        println!(
            "{}",
            json!({ "row": row, "what": what, "floor": floor, "worst": ratio, "holds": ratio <= floor, "more": more })
        );
    }

    /// All figures by the names of the roles.
    fn to_json(&self) -> serde_json::Value {
        let of = |role: &Role| json!({ "cpu_s": self.cpu(*role), "instructions": self.instructions.get(role) });
        self.cpu.keys().map(|role| (role.name().to_owned(), of(role))).collect()
    }
}

/// A process that reads a stream.
#[derive(Clone, Copy)]
struct Reader<'a> {
    endpoint: &'a str,
    role: Role,
    stream: &'a str,
    count: usize,
}

impl Reader<'_> {
    /// Returns the CPU seconds the process used.
    async fn cpu(self) -> anyhow::Result<f64> {
        let output = self.run(Command::new(std::env::current_exe()?)).await?;
        let printed = String::from_utf8(output.stdout)?;
        printed.trim().parse().with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Returns the number of instructions, which other load does not change. `None` without
    /// valgrind.
    async fn instructions(self) -> anyhow::Result<Option<u64>> {
        if Command::new("valgrind").arg("--version").output().await.is_err() {
            return Ok(None);
        }
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(std::env::current_exe()?);
        let output = self.run(command).await?;
        let printed = String::from_utf8(output.stderr)?;
        let count = printed
            .lines()
            .rev()
            .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
        ensure!(output.status.success() && count.is_some(), "under valgrind: {printed}");
        Ok(count)
    }

    async fn run(self, mut command: Command) -> anyhow::Result<Output> {
        let Self { endpoint, role, stream, count } = self;
        command.args(["--role", role.name(), "--endpoint", endpoint, "--stream", stream]);
        command.args(["--count", &count.to_string()]).kill_on_drop(true);
        let output = timeout(LIMIT, command.output()).await;
        Ok(output.with_context(|| format!("the {} is not done in {LIMIT:?}", role.name()))??)
    }
}

/// Returns an aggregate of about 50 KB, and its number of user records.
fn aggregate() -> anyhow::Result<(Vec<u8>, usize)> {
    let mut aggregator = Aggregator::new(50_000);
    for number in 0_usize.. {
        let key = format!("customer-{}", number % 100);
        if let Some(full) = aggregator.add(&key, None, &[b'x'; USER_RECORD_BYTES])? {
            return Ok((full.data.to_vec(), full.user_records));
        }
    }
    anyhow::bail!("an aggregate is full some day")
}

/// Creates a stream and puts records evenly over its shards.
async fn fill(
    client: &Client,
    stream: &str,
    records: impl Iterator<Item = Vec<u8>>,
) -> anyhow::Result<()> {
    client.create_stream().stream_name(stream).shard_count(i32::try_from(SHARDS)?).send().await?;
    let mut records = records.enumerate().peekable();
    while records.peek().is_some() {
        let entry = |(number, data): (usize, Vec<u8>)| {
            // The middle of a shard's range.
            let hash_key = u128::MAX / (2 * SHARDS as u128) * (2 * (number % SHARDS) as u128 + 1);
            let entry = PutRecordsRequestEntry::builder().partition_key("key");
            entry.explicit_hash_key(hash_key.to_string()).data(Blob::new(data)).build()
        };
        let entries = records.by_ref().take(80).map(entry).collect::<Result<Vec<_>, _>>()?;
        let put = client.put_records().stream_name(stream).set_records(Some(entries));
        let failed = put.send().await?.failed_record_count.unwrap_or_default();
        ensure!(failed == 0, "{failed} records were refused");
    }
    Ok(())
}

/// Reads all shards of a stream as fast as Kinesis returns records.
async fn read(args: &Args) -> anyhow::Result<()> {
    let client = Client::new(&kcl_local::sdk_config(&args.endpoint));
    let mut readers = JoinSet::new();
    for shard in client.list_shards().stream_name(&args.stream).send().await?.shards() {
        let start = client.get_shard_iterator().stream_name(&args.stream);
        let start =
            start.shard_id(shard.shard_id()).shard_iterator_type(ShardIteratorType::TrimHorizon);
        readers.spawn(read_shard(client.clone(), start));
    }
    let mut count = 0;
    while let Some(read) = readers.join_next().await {
        count += read??;
    }
    ensure!(count == args.count, "{count} records, not {}", args.count);
    Ok(())
}

/// Reads one shard from start to end. Returns its number of records.
async fn read_shard(client: Client, start: GetShardIteratorFluentBuilder) -> anyhow::Result<usize> {
    let (mut count, mut iterator) = (0, start.send().await?.shard_iterator);
    loop {
        let started = Instant::now();
        let read = client.get_records().set_shard_iterator(iterator).limit(10_000);
        let reply = read.send().await?;
        if reply.records().is_empty() {
            return Ok(count);
        }
        count += reply.records().len();
        let bytes: usize = reply.records().iter().map(|record| record.data().as_ref().len()).sum();
        iterator = reply.next_shard_iterator;
        drop(reply.records);
        let pays = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        sleep_until(started + pays.max(READ_EVERY)).await;
    }
}

/// Reads all shards of a stream in CBOR, as fast as Kinesis returns records.
async fn read_in_cbor(args: &Args) -> anyhow::Result<()> {
    let source = source(args, Encoding::Cbor);
    let mut readers = JoinSet::new();
    for shard in source.list_shards(ShardFilter::All).await? {
        let source = source.clone();
        readers.spawn(async move { read_shard_in_cbor(&source, &shard.id).await });
    }
    let mut count = 0;
    while let Some(read) = readers.join_next().await {
        count += read??;
    }
    ensure!(count == args.count, "{count} records, not {}", args.count);
    Ok(())
}

/// Reads one shard from start to end. Returns its number of records.
async fn read_shard_in_cbor(source: &KinesisSource, shard: &ShardId) -> anyhow::Result<usize> {
    let (mut count, mut reader) = (0, source.open(shard, ReadFrom::TrimHorizon).await?);
    loop {
        let started = Instant::now();
        let records = reader.read(10_000).await?.records;
        if records.is_empty() {
            return Ok(count);
        }
        count += records.len();
        let bytes: usize = records.iter().map(|record| record.data.len()).sum();
        drop(records);
        let pays = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        sleep_until(started + pays.max(READ_EVERY)).await;
    }
}

/// The source of the stream.
fn source(args: &Args, encoding: Encoding) -> KinesisSource {
    let stream = StreamId::Name(args.stream.as_str().into());
    // Under valgrind replies take long, and a retried request would count twice.
    let config = KinesisSourceConfig::new(stream).with_attempt_timeout(LIMIT);
    let sdk = kcl_local::sdk_config(&args.endpoint);
    KinesisSource::with_config(&sdk, config.with_encoding(encoding))
}

/// Counts records until all are there.
struct Counter {
    left: Arc<AtomicUsize>,
    is_done: CancellationToken,
}

impl RecordProcessor for Counter {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        if self.left.fetch_sub(batch.len(), Ordering::Relaxed) == batch.len() {
            self.is_done.cancel();
        }
        Ok(())
    }
}

async fn work(args: &Args, encoding: Encoding) -> anyhow::Result<()> {
    let aws = kcl_local::sdk_config(&args.endpoint);
    let (left, is_done) = (Arc::new(AtomicUsize::new(args.count)), CancellationToken::new());
    let done = is_done.clone();
    let mut retrieval = RetrievalConfig::default();
    retrieval.initial_position = InitialPosition::TrimHorizon;
    // Each process has its own table, so that all start from the beginning.
    let table = format!("throughput-{}", std::process::id());
    let worker = Worker::builder("throughput")
        .records(source(args, encoding))
        .leases(DynamoLeaseStore::new(&aws, table.as_str()).create_if_missing())
        .processor(move |_| Counter { left: Arc::clone(&left), is_done: done.clone() })
        .retrieval_config(retrieval)
        .build()?;
    worker.run_until(is_done.cancelled()).await?;
    Ok(())
}
