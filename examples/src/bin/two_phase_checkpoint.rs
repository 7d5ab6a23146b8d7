//! Writes each batch into a sink exactly once, although a worker crashes between write and
//! checkpoint.
//!
//! Prints `wrote …` for each batch. The worker crashes after the third one, before its checkpoint.
//! The next worker prints `found … in the sink`, and ends after eight batches:
//! `no record is there twice`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kcl_examples::Demo;
use kinesis_consumer::config::{CheckpointPolicy, WorkerConfig};
use kinesis_consumer::dynamo::DynamoLeaseStoreConfig;
use kinesis_consumer::prelude::*;
use tokio::sync::Mutex;

/// A sink that writes a batch under a name, atomically.
type Sink = Arc<Mutex<BTreeMap<String, RecordBatch>>>;
struct Writer(Sink);

impl RecordProcessor for Writer {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let Some(pending) = shard.pending() else { return Ok(()) };
        let name = String::from_utf8(pending.state.as_deref().unwrap_or_default().to_vec())?;
        let is_written = self.0.lock().await.contains_key(&name);
        let Some(position) = pending.checkpoint.position().filter(|_| is_written) else {
            return Ok(()); // the batch is delivered again
        };
        println!("found {name} in the sink");
        Ok(shard.checkpointer().checkpoint(position).await?)
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let last = batch.last_position().ok_or("a batch is never empty")?;
        let name = format!("{} up to {last}", shard.shard_id());
        let prepared = shard.checkpointer().prepare(last, name.clone()).await?;
        println!("wrote {name}");
        let mut sink = self.0.lock().await;
        sink.insert(name, batch);
        let is_third = sink.len() == 3;
        drop(sink);
        if is_third { std::future::pending().await } else { Ok(prepared.commit().await?) }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let demo = Demo::from_args().await?; // a stream on this machine; with `--aws STREAM`, yours
    let sink = Sink::default();
    tokio::select! {
        end = worker(&demo, &sink)?.run() => drop(end?),
        () = batches(&sink, 3) => {} // a crash
    }
    worker(&demo, &sink)?.run_until(batches(&sink, 8)).await?;
    let (sink, mut seen) = (sink.lock().await, BTreeSet::new());
    let is_once = sink.values().flatten().all(|record| seen.insert(&record.data));
    println!("{} record is there twice", if is_once { "no" } else { "a" });
    Ok(())
}

fn worker(demo: &Demo, sink: &Sink) -> Result<Worker, BoxError> {
    let (mut config, sink) = (WorkerConfig::default(), Arc::clone(sink));
    config.delivery.checkpoints = CheckpointPolicy::Manual;
    config.lease.expiry = std::time::Duration::from_secs(2);
    let table =
        DynamoLeaseStoreConfig::new("two-phase").with_operation_timeout(config.lease.expiry / 3);
    let leases = DynamoLeaseStore::new(demo.aws(), table).create_if_missing();
    let worker = Worker::builder("two-phase").leases(leases).config(config);
    let worker = worker.records(KinesisSource::new(demo.aws(), demo.stream()));
    Ok(worker.processor(move |_| Writer(Arc::clone(&sink))).build()?)
}

async fn batches(sink: &Sink, count: usize) {
    while sink.lock().await.len() < count {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
