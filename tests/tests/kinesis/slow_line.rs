//! A backlog over a slow line: real time, the real SDK, the embedded server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::backend::{ReadFrom, RecordSource, SourceError};
use kcl_core::config::WorkerConfig;
use kcl_core::model::{InitialPosition, StreamName};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_kinesis::{KinesisSource, KinesisSourceConfig, StreamId};
use kcl_local::{LocalStack, sdk_config};
use kcl_tests::errors::chain;
use kcl_tests::fleet::until;
use kcl_tests::thin_line;

use crate::wire::{Answer, Wire};

const RECORD: usize = 100 * 1024;

/// A megabyte a second: a reply of all records of a shard takes 2.5 s.
const LINE: u32 = 1_000_000;

const RECORDS: usize = 18;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates a stream with a backlog in each shard.
async fn backlog(stack: &LocalStack, shards: u64) {
    let kinesis = aws_sdk_kinesis::Client::new(&stack.sdk_config());
    let shard_count = i32::try_from(shards).unwrap();
    kinesis.create_stream().stream_name("orders").shard_count(shard_count).send().await.unwrap();
    for shard in 0..shards {
        let hash_key = u128::MAX / u128::from(shards) * u128::from(shard) + 1;
        for _ in 0..RECORDS {
            let put = kinesis.put_record().stream_name("orders").partition_key("key");
            let put = put.explicit_hash_key(hash_key.to_string());
            put.data(Blob::new(vec![b'x'; RECORD])).send().await.unwrap();
        }
    }
}

/// The stack, behind a line.
async fn behind_a_line(stack: &LocalStack) -> SdkConfig {
    let server = stack.endpoint_url().trim_start_matches("http://").parse().unwrap();
    sdk_config(&format!("http://{}", thin_line::to(server, LINE).await.unwrap()))
}

fn source(sdk: &SdkConfig, attempt_timeout: Duration) -> KinesisSource {
    let config = KinesisSourceConfig::new(StreamId::Name(StreamName::from("orders")));
    KinesisSource::with_config(sdk, config.with_attempt_timeout(attempt_timeout))
}

#[tokio::test]
async fn reply_that_keeps_arriving_may_take_long() {
    let stack = LocalStack::start().unwrap();
    backlog(&stack, 1).await;
    let source = source(&behind_a_line(&stack).await, ATTEMPT_TIMEOUT);
    let shard =
        source.list_shards(kcl_core::backend::ShardFilter::All).await.unwrap()[0].id.clone();
    let mut reader = source.open(&shard, ReadFrom::TrimHorizon).await.unwrap();
    // More than two attempt timeouts.
    assert_eq!(reader.read(10_000).await.unwrap().records.len(), RECORDS);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "this measures real time")]
async fn reply_that_stops_arriving_names_the_settings() {
    let wire = Wire::answering(|operation, _| match operation {
        "GetShardIterator" => Answer::Reply(200, r#"{"ShardIterator":"first"}"#.to_owned()),
        _ => Answer::Stall,
    })
    .await;
    let source = source(&wire.sdk, ATTEMPT_TIMEOUT);
    let shard = "shardId-000000000000".into();
    let mut reader = source.open(&shard, ReadFrom::TrimHorizon).await.unwrap();
    let started = Instant::now();
    let error = reader.read(10).await.unwrap_err();
    assert!(started.elapsed() < 4 * ATTEMPT_TIMEOUT, "not only once the read takes too long");
    assert!(matches!(error, SourceError::Incomplete { .. }) && error.is_retryable(), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("attempt_timeout"), "{text}");
    assert!(text.contains("retrieval.records_max"), "{text}");
    let reads = wire.operations().iter().filter(|it| *it == "GetRecords").count();
    assert_eq!(reads, 1, "the engine asks for fewer records, the SDK would not");
}

/// Counts the records that are delivered.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<Mutex<usize>>);

impl RecordProcessor for Counter {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _: &ShardContext,
    ) -> Result<(), BoxError> {
        *self.0.lock().unwrap() += batch.len();
        Ok(())
    }
}

/// Three replies that are asked for in full take 7.4 s together, and none may take more than 6 s.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
async fn shards_that_share_a_slow_line_ask_for_less() {
    let stack = LocalStack::start().unwrap();
    backlog(&stack, 3).await;
    let delivered = Counter::default();
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    let (line, counter) = (behind_a_line(&stack).await, delivered.clone());
    let worker = Worker::builder("w")
        .records(source(&line, ATTEMPT_TIMEOUT))
        .leases(DynamoLeaseStore::new(&stack.sdk_config(), "leases").create_if_missing())
        .processor(move |_| counter.clone())
        .config(config)
        .build()
        .unwrap();
    let handle = worker.handle();
    let run = tokio::spawn(worker.run_until(std::future::pending()));
    let all = async || Ok(*delivered.0.lock().unwrap() == 3 * RECORDS);
    until("all records are delivered", Duration::from_mins(1), all).await.unwrap();
    handle.shut_down();
    run.await.unwrap().unwrap();
}
