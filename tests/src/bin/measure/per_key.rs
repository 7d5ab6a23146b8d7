//! Measures records of 64 keys with 5 ms of work each: one at a time, and concurrently within the
//! shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl_core::config::WorkerConfig;
use kcl_core::model::InitialPosition;
use kcl_core::{Worker, for_each};
use kcl_dynamo::DynamoLeaseStore;
use kcl_kinesis::KinesisSource;
use kcl_local::LocalStack;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{Args, Row, print_at_least};

const KEYS: usize = 64;
const WORK: Duration = Duration::from_millis(5);

/// The concurrency and number of records of each run. Runs take about the same time.
const ONE_AT_A_TIME: (usize, usize) = (1, 500);
const CONCURRENTLY: (usize, usize) = (KEYS, 16_000);

/// The maximum number of records of one `PutRecords` call.
const PUT_MAX: usize = 500;

pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    let mut trials = Vec::new();
    for _ in 0..args.trials {
        let one = records_a_second(ONE_AT_A_TIME).await?;
        let many = records_a_second(CONCURRENTLY).await?;
        trials.push((one, many));
    }
    let worst = trials.iter().map(|(one, many)| many / one).fold(f64::INFINITY, f64::min);
    let more = json!({ "records a second, one at a time and concurrently": trials });
    let what = "records a second of 64 keys with 5 ms of work each, times one at a time";
    print_at_least("per-key", what, 10.0, Row { worst, more });
    Ok(())
}

async fn records_a_second((concurrency, records): (usize, usize)) -> anyhow::Result<f64> {
    let stack = LocalStack::start()?;
    let aws = stack.sdk_config();
    let client = Client::new(&aws);
    client.create_stream().stream_name("orders").shard_count(1).send().await?;
    put(&client, records).await?;
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let processor = for_each(move |_record| {
        let counted = Arc::clone(&counted);
        async move {
            sleep(WORK).await;
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    });
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    let worker = Worker::builder("measure")
        .records(KinesisSource::new(&aws, "orders"))
        .leases(DynamoLeaseStore::new(&aws, "leases").create_if_missing())
        .processor_factory(processor.concurrency(concurrency))
        .config(config)
        .build()?;
    let mut seconds = 0.0;
    let watch = async {
        let reached = async |count: usize| {
            while done.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        reached(1).await;
        let begun = Instant::now();
        reached(records).await;
        seconds = begun.elapsed().as_secs_f64();
    };
    worker.run_until(watch).await?;
    Ok(f64::from(u32::try_from(records)?) / seconds)
}

async fn put(client: &Client, records: usize) -> anyhow::Result<()> {
    let entry = |number: usize| {
        let key = format!("key {}", number % KEYS);
        PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new([b'x'; 100])).build()
    };
    let numbers: Vec<_> = (0..records).collect();
    for chunk in numbers.chunks(PUT_MAX) {
        let entries = chunk.iter().copied().map(entry).collect::<Result<Vec<_>, _>>()?;
        client.put_records().stream_name("orders").set_records(Some(entries)).send().await?;
    }
    Ok(())
}
