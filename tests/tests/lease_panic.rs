//! Panics on the lease side of a worker with a session: its leases are free at once. Real threads,
//! backends in memory.

#![cfg(test)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::{
    Conditional, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken, Reading, SystemClock,
    WriteKind,
};
use kcl_core::config::WorkerConfig;
use kcl_core::error::RunError;
use kcl_core::event::{Event, EventContext, Observer, ShutdownReport};
use kcl_core::model::{InitialPosition, Liveness, TakeReason};
use kcl_core::{ShardContext, Worker, WorkerHandle};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use kcl_tests::altered_table::{Alter, AlteredTable};
use kcl_tests::fleet::until;
use kcl_tests::idle::Idle;
use tokio::task::JoinHandle;

const SHARDS: usize = 4;
const LIMIT: Duration = Duration::from_secs(30);

/// What a call of the table does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Panics {
    /// It panics when a holder hands its lease over.
    InHandovers,
    /// It panics when the main loop scans, once it is told to.
    InScans,
}

/// A table in memory with a bug that panics.
#[derive(Clone, Debug)]
struct BuggyTable {
    table: MemoryLeaseStore,
    panics: Panics,
    is_armed: Arc<AtomicBool>,
}

impl BuggyTable {
    fn check(&self, panics: Panics) {
        let fails = self.panics == panics && self.is_armed.load(Ordering::Relaxed);
        assert!(!fails, "a bug of the table");
    }
}

#[async_trait]
impl Alter for BuggyTable {
    fn table(&self) -> &MemoryLeaseStore {
        &self.table
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.check(Panics::InScans);
        self.table.scan(from, reading).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        if matches!(write.kind, WriteKind::CompleteHandover { .. }) {
            self.check(Panics::InHandovers);
        }
        self.table.write(write).await
    }
}

/// The events of a worker. Clones share them.
#[derive(Clone, Debug, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| matches(event)).count()
    }
}

impl Observer for Events {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.0.lock().unwrap().push(event.clone());
    }
}

type Run = JoinHandle<Result<ShutdownReport, RunError>>;

#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
fn start(
    name: &str,
    stream: &MemoryStream,
    table: impl LeaseStore,
    events: &Events,
) -> (WorkerHandle, Run) {
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    config.lease.liveness = Liveness::Session;
    let worker = Worker::builder("orders")
        .worker_name(name)
        .records(stream.clone())
        .leases(table)
        .processor(|_: &ShardContext| Idle)
        .observer(events.clone())
        .config(config)
        .build()
        .unwrap();
    let handle = worker.handle();
    (handle, tokio::spawn(worker.run_until(std::future::pending())))
}

async fn leases_of_a_worker_that_panics_are_free(panics: Panics, task: &str) {
    let table = MemoryLeaseStore::new();
    let stream = MemoryStream::new("orders", SHARDS, Arc::new(SystemClock));
    let (buggy, is_armed) = (table.clone(), Arc::new(AtomicBool::new(false)));
    let buggy = AlteredTable(BuggyTable { table: buggy, panics, is_armed: Arc::clone(&is_armed) });
    let (first, second) = (Events::default(), Events::default());
    let (_, mut broken) = start("a", &stream, buggy, &first);
    let has_taken = |event: &Event| matches!(event, Event::LeaseTaken { .. });
    until("the first worker holds all", LIMIT, async || Ok(first.count(has_taken) == SHARDS))
        .await
        .unwrap();
    is_armed.store(true, Ordering::Relaxed);
    let (handle, healthy) = start("b", &stream, table.clone(), &second);
    let end = tokio::time::timeout(LIMIT, &mut broken).await.unwrap().unwrap();
    let error = end.unwrap_err();
    assert!(matches!(&error, RunError::TaskPanicked { task: of, .. } if *of == task), "{error:?}");
    let was_freed =
        |event: &Event| matches!(event, Event::LeaseTaken { why: TakeReason::HolderDead, .. });
    until("the other holds all", LIMIT, async || Ok(second.count(has_taken) >= SHARDS))
        .await
        .unwrap();
    assert!(second.count(was_freed) > 0);
    let condemned = |event: &Event| matches!(event, Event::WorkerCondemned { .. });
    assert_eq!(second.count(condemned), 0, "it said itself that it is dead");
    handle.shut_down();
    assert_eq!(healthy.await.unwrap().unwrap().shards.len(), SHARDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn holder_that_panics() {
    leases_of_a_worker_that_panics_are_free(Panics::InHandovers, "holder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn main_loop_that_panics() {
    leases_of_a_worker_that_panics_are_free(Panics::InScans, "lease side").await;
}
