//! Puts three records into a stream as one, like the Kinesis Producer Library, and a fourth by
//! itself. The worker receives four. Prints:
//!
//! ```text
//! put 3 user records in one record of 90 bytes
//! /0 customer-7: a pound of tea
//! /1 customer-8: a cake
//! /2 customer-7: two cups
//! /0 customer-9: the bill
//! ```
//!
//! The number is the position in the aggregate.

use std::io::Write as _;

use kinesis_consumer::aws_sdk_kinesis::Client;
use kinesis_consumer::aws_sdk_kinesis::primitives::Blob;
use kinesis_consumer::config::RetrievalConfig;
use kinesis_consumer::kpl::Aggregator;
use kinesis_consumer::local::LocalStack;
use kinesis_consumer::model::InitialPosition;
use kinesis_consumer::prelude::*;
use tokio_util::sync::CancellationToken;

struct Printer {
    is_done: CancellationToken,
}

impl RecordProcessor for Printer {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let mut out = std::io::stdout().lock();
        for record in &batch {
            let text = String::from_utf8_lossy(&record.data);
            writeln!(out, "/{} {}: {text}", record.position.sub_sequence, record.partition_key)?;
            if text == "the bill" {
                self.is_done.cancel();
            }
        }
        Ok(())
    }
}

async fn put(client: &Client, key: &str, data: impl Into<Vec<u8>>) -> Result<(), BoxError> {
    let put = client.put_record().stream_name("orders");
    put.partition_key(key).data(Blob::new(data)).send().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let stack = LocalStack::start()?;
    let (aws, is_done) = (stack.sdk_config(), CancellationToken::new());
    let client = Client::new(&aws);
    client.create_stream().stream_name("orders").shard_count(1).send().await?;

    let mut aggregator = Aggregator::new(50_000);
    aggregator.add("customer-7", None, b"a pound of tea")?;
    aggregator.add("customer-8", None, b"a cake")?;
    aggregator.add("customer-7", None, b"two cups")?;
    let all = aggregator.finish().ok_or("three were added")?;
    let bytes = all.data.len();
    writeln!(std::io::stdout(), "put 3 user records in one record of {bytes} bytes")?;
    put(&client, all.partition_key.as_str(), all.data).await?;
    put(&client, "customer-9", "the bill").await?;

    let done = is_done.clone();
    let retrieval = RetrievalConfig::default().with_initial_position(InitialPosition::TrimHorizon);
    let worker = Worker::builder("kpl").records(KinesisSource::new(&aws, "orders"));
    let worker = worker.leases(DynamoLeaseStore::new(&aws, "kpl").create_if_missing());
    let worker = worker.processor(move |_| Printer { is_done: done.clone() });
    worker.retrieval_config(retrieval).build()?.run_until(is_done.cancelled()).await?;
    Ok(())
}
