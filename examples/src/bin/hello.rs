//! Prints every record of the stream `orders`. Ctrl-C or SIGTERM stops it.

use std::io::Write as _;

use kinesis_consumer::aws_config;
use kinesis_consumer::prelude::*;

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
    let aws = aws_config::load_from_env().await;
    let worker = Worker::builder("hello")
        .records(KinesisSource::new(&aws, "orders"))
        .leases(DynamoLeaseStore::new(&aws, "hello").create_if_missing())
        .processor(|_| Printer)
        .build()?;
    worker.run().await?;
    Ok(())
}
