//! A service on the embedded stack receives user records, and resumes inside an aggregate.

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::ShardContext;
use kcl_core::config::{CheckpointPolicy, WorkerConfig};
use kcl_core::kpl::Aggregator;
use kcl_core::model::InitialPosition;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker, WorkerHandle};
use kcl_dynamo::DynamoLeaseStore;
use kcl_kinesis::KinesisSource;
use kcl_local::LocalStack;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sends each record to the test, and checkpoints the record that it stops at.
struct Forwarder {
    records: mpsc::UnboundedSender<String>,
    stop_at: &'static str,
    worker: WorkerHandle,
}

impl RecordProcessor for Forwarder {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        for record in &batch {
            let text = String::from_utf8(record.data.to_vec())?;
            let is_last = text == self.stop_at;
            self.records.send(text)?;
            if is_last {
                shard.checkpointer().checkpoint(record.position).await?;
                self.worker.shut_down();
                break;
            }
        }
        Ok(())
    }
}

/// Runs a worker until it has checkpointed `stop_at`. Returns its records.
async fn run_until(stack: &LocalStack, stop_at: &'static str) -> anyhow::Result<Vec<String>> {
    let aws = stack.sdk_config();
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    config.retrieval.poll_every = Duration::from_millis(200);
    config.delivery.checkpoints = CheckpointPolicy::Manual;
    let (records, mut received) = mpsc::unbounded_channel();
    let (handle, handles) = std::sync::mpsc::channel::<WorkerHandle>();
    let handles = std::sync::Mutex::new(handles);
    let worker = Worker::builder("aggregated")
        .records(KinesisSource::new(&aws, "orders"))
        .leases(DynamoLeaseStore::new(&aws, "aggregated").create_if_missing())
        .processor(move |_| {
            let worker = handles.lock().expect("not poisoned").recv().expect("a handle");
            Forwarder { records: records.clone(), stop_at, worker }
        })
        .config(config)
        .build()?;
    handle.send(worker.handle())?;
    timeout(Duration::from_secs(30), worker.run_until(std::future::pending()))
        .await
        .context("the worker did not end")??;
    let mut all = Vec::new();
    while let Ok(text) = received.try_recv() {
        all.push(text);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn service_resumes_inside_an_aggregate() -> anyhow::Result<()> {
    let stack = LocalStack::start()?;
    let aws = stack.sdk_config();
    let kinesis = Client::new(&aws);
    kinesis.create_stream().stream_name("orders").shard_count(1).send().await?;
    let mut aggregator = Aggregator::new(50_000);
    for text in ["a", "b", "c", "d"] {
        aggregator.add(text, None, text.as_bytes())?;
    }
    let aggregate = aggregator.finish().context("four user records")?;
    for data in [aggregate.data.to_vec(), b"e".to_vec()] {
        let put = kinesis.put_record().stream_name("orders").partition_key("a");
        put.data(Blob::new(data)).send().await?;
    }

    assert_eq!(run_until(&stack, "b").await?, ["a", "b"]);
    let rows = aws_sdk_dynamodb::Client::new(&aws).scan().table_name("aggregated").send().await?;
    let stored = rows.items().iter().find_map(|item| item.get("checkpointSubSequenceNumber"));
    assert_eq!(stored, Some(&AttributeValue::N("1".to_owned())));
    assert_eq!(run_until(&stack, "e").await?, ["c", "d", "e"]);
    Ok(())
}
