//! Processes the records of a shard concurrently, in order within each partition key.
//!
//! Prints `key 0: hello 8`, `key 1: hello 1` and so on. Records of `key 3` take a second each and
//! fall behind without blocking the other keys; the numbers of each key ascend. The program ends
//! after 40 records, or with Ctrl-C.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kcl_examples::Demo;
use kinesis_consumer::prelude::*;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let demo = Demo::from_args().await?; // a stream on this machine; with `--aws STREAM`, yours
    let processed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&processed);
    let worker = Worker::builder("per-key")
        .records(KinesisSource::new(demo.aws(), demo.stream()))
        .leases(DynamoLeaseStore::new(demo.aws(), "per-key").create_if_missing())
        .for_each(move |record| {
            let counter = Arc::clone(&counter);
            async move {
                let is_slow = record.partition_key == "key 3";
                sleep(Duration::from_millis(if is_slow { 1_000 } else { 5 })).await;
                println!("{}: {}", record.partition_key, String::from_utf8_lossy(&record.data));
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        })
        .build()?;
    let enough = async {
        tokio::select! {
            () = demo.ctrl_c() => {}
            () = reached(&processed, 40) => {}
        }
    };
    worker.run_until(enough).await?;
    Ok(())
}

/// Completes when `count` records are processed.
async fn reached(processed: &AtomicUsize, count: usize) {
    while processed.load(Ordering::Relaxed) < count {
        sleep(Duration::from_millis(50)).await;
    }
}
