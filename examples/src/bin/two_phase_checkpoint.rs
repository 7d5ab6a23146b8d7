//! Writes each batch into a sink once, although its worker crashes at the worst moment.
//!
//! On screen: `wrote …` for each batch. After the third one its worker crashes, before it can store that.
//! Another one takes over some two seconds later, says `found … in the sink`, and goes on with the
//! next batch. It ends by itself after eight, with `no record is there twice`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcl_core::config::{CheckpointPolicy, WorkerConfig};
use kcl_core::context::ShardContext;
use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
use kcl_dynamo::DynamoLeaseStore;
use kcl_examples::Demo;
use kcl_kinesis::KinesisSource;
use tokio::sync::Mutex;

/// A sink that writes a batch under a name, all of it or nothing.
type Sink = Arc<Mutex<BTreeMap<String, RecordBatch>>>;

struct Writer(Sink);

impl RecordProcessor for Writer {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let Some(pending) = shard.pending() else { return Ok(()) };
        let name = String::from_utf8(pending.state.as_deref().unwrap_or_default().to_vec())?;
        let is_written = self.0.lock().await.contains_key(&name);
        if let Some(position) = pending.checkpoint.position().filter(|_| is_written) {
            shard.checkpointer().checkpoint(position).await?;
            println!("found {name} in the sink");
        }
        Ok(()) // what is not there comes again
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        let name = format!("{} from {}", shard.shard_id(), batch[0].position);
        let last = batch.last_position().ok_or("a batch is never empty")?;
        let prepared = shard.checkpointer().prepare(last, name.clone()).await?;
        println!("wrote {name}");
        self.0.lock().await.insert(name, batch);
        if self.0.lock().await.len() == 3 {
            return std::future::pending().await; // until it crashes
        }
        Ok(prepared.commit().await?)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let demo = Demo::from_args().await?; // a stream on this machine; with `--aws STREAM`, yours
    let sink = Sink::default();
    tokio::select! {
        end = worker(&demo, &sink)?.run() => drop(end?),
        () = batches(&sink, 3) => {} // dropped, which is a crash
    }
    worker(&demo, &sink)?.run_until(batches(&sink, 8)).await?;
    let sink = sink.lock().await;
    let records: Vec<_> = sink.values().flatten().map(|record| &record.data).collect();
    let is_once = records.len() == records.iter().collect::<BTreeSet<_>>().len();
    println!("{} record is there twice", if is_once { "no" } else { "a" });
    Ok(())
}

fn worker(demo: &Demo, sink: &Sink) -> Result<Worker, BoxError> {
    let (mut config, sink) = (WorkerConfig::default(), sink.clone());
    config.delivery.checkpoints = CheckpointPolicy::Manual;
    config.lease.expiry = Duration::from_secs(2);
    let leases = DynamoLeaseStore::new(demo.aws(), "two-phase").create_if_missing();
    let worker = Worker::builder("writer").leases(leases).config(config);
    let worker = worker.records(KinesisSource::new(demo.aws(), demo.stream()));
    Ok(worker.processor(move |_: &ShardContext| Writer(sink.clone())).build()?)
}

async fn batches(sink: &Sink, count: usize) {
    while sink.lock().await.len() < count {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
