//! `kclctl local`: the local stack, with a stream, a producer and a small fleet.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::create_stream::CreateStreamError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_types::SdkConfig;
use kcl_core::config::RetrievalConfig;
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
use kcl_local::{LocalStack, LocalStackOptions};
use kcl_operate::backends::{DynamoLeaseStore, KinesisSource};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::args::Local;
use crate::exit::End;
use crate::view::print;

/// The most shards of the stream.
const SHARDS_MAX: i32 = 1_000;
/// The most records a second: a stream takes 1,000 for each shard.
const RATE_MAX: u32 = 10_000;
/// The most workers.
const WORKERS_MAX: u32 = 20;
/// The number of partition keys.
const KEYS: u64 = 100;
/// How many times a second records are put, in one call each.
const PUTS_PER_SECOND: u32 = 20;

/// A stream to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewStream {
    name: String,
    shards: i32,
}

impl FromStr for NewStream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("{text:?} is not a stream with up to {SHARDS_MAX} shards: orders:4");
        let (name, shards) = text.split_once(':').ok_or_else(error)?;
        let shards: i32 = shards.parse().map_err(|_error| error())?;
        let is_valid = (1..=SHARDS_MAX).contains(&shards) && !name.is_empty();
        if is_valid { Ok(Self { name: name.to_owned(), shards }) } else { Err(error()) }
    }
}

/// Parses `100/s`.
pub(crate) fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").and_then(|number| number.parse().ok());
    let number = number.filter(|number| *number <= RATE_MAX);
    number.ok_or_else(|| format!("{text:?} is not a rate of up to {RATE_MAX}/s, such as 100/s"))
}

/// A processor that has nothing to do.
struct Sink;

impl RecordProcessor for Sink {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

pub(crate) async fn run(arguments: &Local) -> anyhow::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut options = LocalStackOptions::default().with_port(arguments.port);
    if let Some(folder) = &arguments.data {
        options = options.with_folder(folder);
    }
    let stack = LocalStack::start_with(&options)?;
    let sdk = stack.sdk_config();
    create(&sdk, &arguments.stream).await?;
    let mut tasks = JoinSet::new();
    if arguments.traffic > 0 {
        tasks.spawn(produce(Client::new(&sdk), arguments.stream.name.clone(), arguments.traffic));
    }
    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    for number in 1..=arguments.workers.min(WORKERS_MAX) {
        let worker = worker(&sdk, &arguments.stream.name, number)?;
        let stop = stop.clone();
        workers.spawn(async move {
            worker.run_until(stop.cancelled_owned()).await.map(drop).map_err(anyhow::Error::from)
        });
    }
    announce(&stack, arguments)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        Some(ended) = tasks.join_next() => ended.context("the producer panicked")??,
        Some(ended) = workers.join_next() => ended.context("a worker panicked")??,
    }
    stop.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker panicked")??;
    }
    Ok(End::Good)
}

async fn create(sdk: &SdkConfig, stream: &NewStream) -> anyhow::Result<()> {
    let call = Client::new(sdk).create_stream().stream_name(&stream.name);
    match call.shard_count(stream.shards).send().await {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(CreateStreamError::ResourceInUseException(_)) => Ok(()),
            _ => Err(error).with_context(|| format!("stream {} is not created", stream.name)),
        },
    }
}

fn worker(sdk: &SdkConfig, stream: &str, number: u32) -> anyhow::Result<Worker> {
    let app = format!("{stream}-consumer");
    let mut retrieval = RetrievalConfig::default();
    retrieval.initial_position = InitialPosition::TrimHorizon;
    let worker = Worker::builder(&app)
        .worker_name(format!("worker-{number}"))
        .records(KinesisSource::new(sdk, stream))
        .leases(DynamoLeaseStore::new(sdk, app.as_str()).create_if_missing())
        .processor(|_| Sink)
        .retrieval_config(retrieval)
        .build()?;
    Ok(worker)
}

/// Puts records of many keys, at a steady rate.
async fn produce(client: Client, stream: String, per_second: u32) -> anyhow::Result<()> {
    let mut turns = interval(Duration::from_secs(1) / PUTS_PER_SECOND);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut number, mut owed) = (0_u64, 0);
    loop {
        turns.tick().await;
        owed += per_second;
        let batch = owed / PUTS_PER_SECOND;
        owed %= PUTS_PER_SECOND;
        if batch == 0 {
            continue;
        }
        let mut records = Vec::new();
        for _ in 0..batch {
            number += 1;
            let key = format!("customer-{}", number % KEYS);
            let data = format!("{{\"order\":{number},\"customer\":\"{key}\"}}");
            let entry = PutRecordsRequestEntry::builder().partition_key(key);
            records.push(entry.data(Blob::new(data)).build()?);
        }
        client.put_records().stream_name(&stream).set_records(Some(records)).send().await?;
    }
}

fn announce(stack: &LocalStack, arguments: &Local) -> anyhow::Result<()> {
    let Local { stream: NewStream { name, shards }, traffic, port, .. } = arguments;
    let (url, workers) = (stack.endpoint_url(), arguments.workers.min(WORKERS_MAX));
    let look = if *port == 4567 {
        "kclctl --local".to_owned()
    } else {
        let credentials = "AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test";
        format!("{credentials} kclctl --region us-east-1 --endpoint-url {url}")
    };
    print(&format!(
        "Kinesis and DynamoDB answer on {url}; stream {name}, {shards} shards, {traffic} records/s, \
         {workers} workers.\nAnother terminal: {look} describe {name}-consumer\nCtrl-C \
         stops it.\n"
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_rates_are_checked() {
        let stream: NewStream = "orders:4".parse().unwrap();
        assert_eq!(stream, NewStream { name: "orders".to_owned(), shards: 4 });
        for text in ["orders", "orders:", ":4", "orders:0", "orders:1001", "orders:x"] {
            assert!(text.parse::<NewStream>().unwrap_err().contains("orders:4"), "{text}");
        }
        assert_eq!(rate("100/s"), Ok(100));
        for text in ["100", "-1/s", "10001/s", "x/s", "100/m"] {
            assert!(rate(text).unwrap_err().contains("100/s"), "{text}");
        }
    }
}
