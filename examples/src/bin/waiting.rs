//! Waits up to a minute for the stream `orders`, then prints its records. Ctrl-C or SIGTERM stops
//! it. `examples/compose.yaml` starts it before its stream.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use kinesis_consumer::aws_config;
use kinesis_consumer::config::RetrievalConfig;
use kinesis_consumer::prelude::*;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let aws = aws_config::load_from_env().await;
    let retrieval = RetrievalConfig::default().with_wait_for_stream(Duration::from_mins(1));
    let worker = Worker::builder("waiting")
        .records(KinesisSource::new(&aws, "orders"))
        .leases(DynamoLeaseStore::new(&aws, "waiting").create_if_missing())
        .retrieval_config(retrieval)
        .for_each(|record| async move {
            println!("{}", String::from_utf8_lossy(&record.data));
            Ok(())
        })
        .build()?;
    worker.run().await?;
    Ok(())
}
