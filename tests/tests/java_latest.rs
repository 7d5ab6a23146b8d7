//! Rows that Java left at LATEST: no record is skipped from the first start of this library on.

#![cfg(test)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_core::backend::Clock as _;
use kcl_core::model::{Checkpoint, HashKeyRange, Lease, LeaseCounter};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use kcl_tests::paused_clock::PausedClock;
use tokio::time::{Instant, sleep};

/// Collects its records.
#[derive(Clone, Debug, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl RecordProcessor for Listener {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        _: &ShardContext,
    ) -> Result<(), BoxError> {
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        self.0.lock().unwrap().extend(batch.iter().map(|record| text(&record.data)));
        Ok(())
    }
}

/// Runs a worker until `done`, then stops it.
async fn deploy(
    nth: u64,
    (table, stream, clock): (&MemoryLeaseStore, &MemoryStream, PausedClock),
    listener: &Listener,
    done: impl Fn() -> bool + Send,
) {
    let listener = listener.clone();
    let worker = Worker::builder("orders")
        .worker_name("w")
        .incarnation(nth)
        .records(stream.clone())
        .leases(table.clone())
        .processor(move |_: &ShardContext| listener.clone())
        .clock(clock)
        .on_one_runtime()
        .build()
        .unwrap();
    let began = Instant::now();
    let until = async move {
        while !done() {
            assert!(began.elapsed() < Duration::from_mins(5), "deploy {nth} does not get there");
            sleep(Duration::from_millis(100)).await;
        }
    };
    worker.run_until(until).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn row_that_java_left_at_latest_skips_no_record() {
    let clock = PausedClock::start();
    let stream = MemoryStream::new("orders", 1, Arc::new(clock));
    let table = MemoryLeaseStore::new();
    let mut row = Lease::new("shardId-000000000000".into(), LeaseCounter(5), Checkpoint::Latest);
    row.hash_range = Some(HashKeyRange::FULL);
    table.insert_lease(row);
    stream.put("key", "before the first start").unwrap();
    sleep(Duration::from_secs(10)).await;
    let world = (&table, &stream, clock);
    let listener = Listener::default();
    let lease = || table.leases().swap_remove(0);
    deploy(1, world, &listener, || lease().owner.is_some()).await;
    let stopped = lease();
    assert_eq!((stopped.checkpoint, stopped.owner.is_some()), (Checkpoint::AtTimestamp, false));
    let started_at = stopped.start_at.expect("the take stores a time");
    assert!(started_at.since(clock.time_of_day()).is_zero(), "{started_at}");
    stream.put("key", "while none runs").unwrap();
    let delivered = || listener.0.lock().unwrap().clone();
    deploy(2, world, &listener, || !delivered().is_empty()).await;
    assert_eq!(delivered(), ["while none runs"]);
}
