//! A table whose fleet has crashed, made complete for readers that do not know sessions. Virtual
//! time, backends in memory.

#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kcl_core::backend::{LeaseStore as _, Reading};
use kcl_core::config::WorkerConfig;
use kcl_core::error::{RunError, SettleError};
use kcl_core::event::{SettleReport, ShutdownReport};
use kcl_core::model::{
    Checkpoint, InitialPosition, LeaseKey, Liveness, Position, SequenceNumber, Session,
};
use kcl_core::{ShardContext, Worker, settle};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use kcl_tests::idle::Idle;
use kcl_tests::paused_clock::PausedClock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const SHARDS: usize = 3;
const RECORDS: usize = 30;
const LIMIT: Duration = Duration::from_mins(2);

type Run = JoinHandle<Result<ShutdownReport, RunError>>;

/// Starts a worker with a session, and waits until its row has the progress of every shard up to
/// the last record. Returns the worker's run, and the last record of each shard.
#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
async fn worker_at_the_end(
    table: &MemoryLeaseStore,
    name: &str,
) -> (Run, BTreeMap<LeaseKey, SequenceNumber>) {
    let clock = PausedClock::start();
    let stream = MemoryStream::new("orders", SHARDS, Arc::new(clock));
    let mut last = BTreeMap::new();
    for nth in 0..RECORDS {
        let (shard, sequence) = stream.put(&nth.to_string(), "data").unwrap();
        last.insert(LeaseKey::from(shard.as_str()), sequence);
    }
    assert_eq!(last.len(), SHARDS);
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    config.lease.liveness = Liveness::Session;
    let worker = Worker::builder("orders")
        .worker_name(name)
        .records(stream)
        .leases(table.clone())
        .processor(|_: &ShardContext| Idle)
        .clock(clock)
        .on_one_runtime()
        .config(config)
        .build()
        .unwrap();
    let run = tokio::spawn(worker.run_until(std::future::pending()));
    let is_kept = async {
        while sessions(table).await.iter().all(|row| row.progress.0.len() < SHARDS) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, is_kept).await.unwrap();
    (run, last)
}

async fn sessions(table: &MemoryLeaseStore) -> Vec<Session> {
    table.scan(None, Reading::Consistent).await.unwrap().sessions
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_crashed_fleet_get_what_its_sessions_kept() {
    let table = MemoryLeaseStore::new();
    let (run, last) = worker_at_the_end(&table, "a").await;
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let kept = || {
        let rows = table.leases().into_iter();
        rows.filter(|row| row.checkpoint == Checkpoint::After(Position::of(last[&row.key]))).count()
    };
    assert_eq!(kept(), 0, "only the session has it");
    let crashed: Vec<_> = sessions(&table).await.into_iter().map(|row| row.worker).collect();
    let report = timeout(LIMIT, settle(&table)).await.unwrap().unwrap();
    assert_eq!(report.condemned, crashed);
    assert_eq!(report.leases.len(), SHARDS);
    assert_eq!(kept(), SHARDS);
    for row in table.leases() {
        assert_eq!((row.owner.as_ref(), row.lives_by()), (None, Liveness::Counter), "{row:?}");
    }
    assert_eq!(sessions(&table).await, []);
    let began = Instant::now();
    assert_eq!(settle(&table).await.unwrap(), SettleReport::default(), "nothing is left to do");
    assert!(began.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn table_of_a_live_worker_is_left_alone() {
    let table = MemoryLeaseStore::new();
    let (run, _) = worker_at_the_end(&table, "a").await;
    let error = timeout(LIMIT, settle(&table)).await.unwrap().unwrap_err();
    assert!(matches!(&error, SettleError::WorkerAlive { worker } if worker.name() == "a"));
    assert!(!run.is_finished());
    let owners: Vec<_> = table.leases().into_iter().filter_map(|row| row.owner).collect();
    assert_eq!(owners.len(), SHARDS);
}
