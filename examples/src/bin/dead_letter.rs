//! Stores records that fail in a dead letter, and processes the rest of their shard.
//!
//! Prints `processed hello 1`, `processed hello 2` and so on, except for numbers that end in 5.
//! Those records fail twice, the worker bisects their batch, and stores them in the dead letter: a
//! file of JSON lines, which the program prints at its end, after two such records or Ctrl-C.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use kcl_examples::Demo;
use kinesis_consumer::backend::FileDeadLetter;
use kinesis_consumer::config::{DeliveryConfig, FailurePolicy, OnExhausted};
use kinesis_consumer::prelude::*;

struct Greeter;

impl RecordProcessor for Greeter {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let texts = batch.iter().map(|record| String::from_utf8_lossy(&record.data));
        let texts: Vec<_> = texts.collect();
        if let Some(text) = texts.iter().find(|text| text.ends_with('5')) {
            return Err(format!("cannot process {text}").into());
        }
        for text in texts {
            println!("processed {text}");
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let demo = Demo::from_args().await?; // a stream on this machine; with `--aws STREAM`, yours
    let folder = tempfile::tempdir()?;
    let letters = folder.path().join("dead-letters.jsonl");
    let failure = FailurePolicy::attempts(2, OnExhausted::DeadLetter);
    let delivery = DeliveryConfig::default().with_failure(failure);
    let worker = Worker::builder("dead-letter")
        .records(KinesisSource::new(demo.aws(), demo.stream()))
        .leases(DynamoLeaseStore::new(demo.aws(), "dead-letter").create_if_missing())
        .processor(|_| Greeter)
        .delivery_config(delivery)
        // Or `kinesis_consumer::kinesis::KinesisDeadLetter`.
        .dead_letter(FileDeadLetter::new(&letters))
        .build()?;
    let enough = async {
        tokio::select! {
            () = demo.ctrl_c() => {}
            () = lines(&letters, 2) => {}
        }
    };
    worker.run_until(enough).await?;
    print!("{}", std::fs::read_to_string(&letters).unwrap_or_default());
    Ok(())
}

/// Completes when the file has `count` lines.
async fn lines(path: &Path, count: usize) {
    while std::fs::read_to_string(path).map_or(0, |text| text.lines().count()) < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
