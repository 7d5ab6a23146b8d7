//! Prints every record of a stream: what a first service looks like. Ctrl-C stops it.

use std::io::Write as _;

use kcl_core::ShardContext;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_examples::Demo;
use kcl_kinesis::KinesisSource;

struct Printer;

impl RecordProcessor for Printer {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let mut out = std::io::stdout().lock();
        for record in &batch {
            writeln!(out, "{} {}", shard.shard_id(), String::from_utf8_lossy(&record.data))?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let demo = Demo::from_args().await?; // a stream on this machine; with `--aws STREAM`, yours
    let worker = Worker::builder("hello")
        .records(KinesisSource::new(demo.aws(), demo.stream()))
        .leases(DynamoLeaseStore::new(demo.aws(), "hello").create_if_missing())
        .processor(|_: &ShardContext| Printer)
        .build()?;
    worker.run_until(demo.ctrl_c()).await?;
    Ok(())
}
