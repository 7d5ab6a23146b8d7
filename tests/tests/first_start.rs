//! The first start of an application on a table that is slow, throttled or failing, in virtual
//! time.

#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use kcl_core::backend::{
    Conditional, LeaseStore as _, LeaseStoreError, LeaseWrite, Page, PageToken, Reading, WriteKind,
};
use kcl_core::config::WorkerConfig;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::{InitialPosition, StreamName, StreamStart};
use kcl_core::{ShardContext, Worker};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use kcl_tests::altered_table::{Alter, AlteredTable};
use kcl_tests::idle::Idle;
use kcl_tests::paused_clock::PausedClock;
use tokio::time::{Instant, sleep, timeout};

/// How many writes a table takes.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    per_second: f64,
    saved_max: f64,
}

/// How a table answers.
#[derive(Clone, Copy, Debug)]
struct Speed {
    write: Duration,
    capacity: Option<Capacity>,
    /// Each how many creations fail; 0 for none.
    fail_each: usize,
}

/// What a table has seen.
#[derive(Debug, Default)]
struct Seen {
    /// How many creations were paid for.
    creations: usize,
    /// How many of these found an existing row.
    in_vain: usize,
    in_flight: usize,
    in_flight_max: usize,
    attempts: usize,
    saved: f64,
    saved_at: Option<Instant>,
    bootstrapped: bool,
    reports: Vec<(usize, usize)>,
}

/// A table in memory whose writes take time and capacity.
#[derive(Clone, Debug)]
struct SlowTable {
    table: MemoryLeaseStore,
    speed: Speed,
    seen: Arc<Mutex<Seen>>,
}

impl SlowTable {
    fn new(speed: Speed) -> Self {
        Self { table: MemoryLeaseStore::new(), speed, seen: Arc::default() }
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }

    /// Takes the time and the capacity of a write.
    async fn pay(&self) -> Result<(), LeaseStoreError> {
        self.seen(|seen| {
            seen.in_flight += 1;
            seen.in_flight_max = seen.in_flight_max.max(seen.in_flight);
        });
        sleep(self.speed.write).await;
        let is_paid = self.seen(|seen| {
            seen.in_flight -= 1;
            let Some(capacity) = self.speed.capacity else { return true };
            let now = Instant::now();
            let since = seen.saved_at.replace(now).map_or(Duration::ZERO, |at| now - at);
            let earned = since.as_secs_f64() * capacity.per_second;
            seen.saved = (seen.saved + earned).min(capacity.saved_max);
            let is_paid = seen.saved >= 1.0;
            seen.saved -= if is_paid { 1.0 } else { 0.0 };
            is_paid
        });
        let throttled =
            || LeaseStoreError::Throttled { table: "slow".into(), source: "too many".into() };
        if is_paid { Ok(()) } else { Err(throttled()) }
    }
}

#[async_trait]
impl Alter for SlowTable {
    fn table(&self) -> &MemoryLeaseStore {
        &self.table
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        sleep(Duration::from_millis(100)).await;
        self.table.scan(from, reading).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        if !matches!(write.kind, WriteKind::Create(_)) {
            return self.table.write(write).await;
        }
        let nth = self.seen(|seen| {
            seen.attempts += 1;
            seen.attempts
        });
        self.pay().await?;
        if self.speed.fail_each > 0 && nth.is_multiple_of(self.speed.fail_each) {
            let (table, source) = ("slow".into(), "a broken connection".into());
            return Err(LeaseStoreError::Unavailable { table, source });
        }
        let end = self.table.write(write).await?;
        self.seen(|seen| {
            seen.creations += 1;
            seen.in_vain += usize::from(matches!(end, Conditional::Lost { .. }));
        });
        Ok(end)
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.pay().await?;
        self.table.create_stream_start(start).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.pay().await?;
        self.table.mark_bootstrapped(stream).await?;
        self.seen(|seen| seen.bootstrapped = true);
        Ok(())
    }
}

impl Observer for SlowTable {
    fn on_event(&self, event: &Event, _: &EventContext) {
        if let Event::CreatingLeases { existing, total } = event {
            self.seen(|seen| seen.reports.push((*existing, *total)));
        }
    }
}

/// Starts workers at the same time on a new stream, until all first leases exist. Returns how long
/// that takes.
async fn first_start(table: &SlowTable, shards: usize, workers: u64) -> Duration {
    let clock = PausedClock::start();
    let stream = MemoryStream::new("orders", shards, Arc::new(clock));
    let mut config = WorkerConfig::default();
    config.retrieval.initial_position = InitialPosition::TrimHorizon;
    config.lease.leases_max = Some(1);
    let began = Instant::now();
    let runs = join_all((0..workers).map(|nth| {
        let worker = Worker::builder("orders")
            .worker_name(format!("w{nth}"))
            .incarnation(nth)
            .records(stream.clone())
            .leases(AlteredTable(table.clone()))
            .processor(|_: &ShardContext| Idle)
            .observer(table.clone())
            .clock(clock)
            .on_one_runtime()
            .config(config.clone())
            .build()
            .unwrap();
        worker.run_until(std::future::pending())
    }));
    let done = async {
        while !table.seen(|seen| seen.bootstrapped) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let started = async {
        tokio::select! {
            ends = runs => panic!("a worker ended: {ends:?}"),
            () = done => {}
        }
    };
    let limit = Duration::from_mins(10);
    timeout(limit, started).await.unwrap_or_else(|_| {
        let seen = table.seen(|seen| (seen.creations, seen.in_vain));
        panic!("not within {limit:?}: {} leases, {seen:?}", table.table.leases().len())
    });
    let keys: BTreeSet<_> = table.table.leases().into_iter().map(|lease| lease.key).collect();
    assert_eq!(keys.len(), shards);
    began.elapsed()
}

const fn slow(millis: u64) -> Speed {
    Speed { write: Duration::from_millis(millis), capacity: None, fail_each: 0 }
}

#[tokio::test(start_paused = true)]
async fn slow_table_gets_all_its_leases() {
    let table = SlowTable::new(slow(100));
    let took = first_start(&table, 6_000, 1).await;
    assert!(took <= Duration::from_mins(1), "{took:?}");
    let (in_vain, in_flight, reports) =
        table.seen(|seen| (seen.in_vain, seen.in_flight_max, seen.reports.clone()));
    assert_eq!(in_vain, 0, "what exists is not written again");
    assert!((16..=64).contains(&in_flight), "{in_flight}");
    assert!(!reports.is_empty() && reports.is_sorted(), "{reports:?}");
    assert!(reports.iter().all(|(_, total)| *total == 6_000), "{reports:?}");
}

/// Each list of shards is too old after 30 s.
#[tokio::test(start_paused = true)]
async fn start_that_outlives_its_list_of_shards_lists_again() {
    let table = SlowTable::new(slow(1_000));
    let took = first_start(&table, 2_000, 1).await;
    assert!(took > Duration::from_secs(35), "the case is another one: {took:?}");
    assert!(took <= Duration::from_secs(100), "{took:?}");
    assert_eq!(table.seen(|seen| seen.in_vain), 0);
}

#[tokio::test(start_paused = true)]
async fn throttled_table_gets_all_its_leases_as_fast_as_it_takes_them() {
    let capacity = Some(Capacity { per_second: 100.0, saved_max: 100.0 });
    let table = SlowTable::new(Speed { capacity, ..slow(10) });
    let took = first_start(&table, 2_000, 1).await;
    assert!(took <= Duration::from_secs(25), "{took:?}");
    let (attempts, in_vain) = table.seen(|seen| (seen.attempts, seen.in_vain));
    assert_eq!(in_vain, 0);
    assert!(attempts < 4_000, "{attempts} attempts for 2,000 leases");
}

#[tokio::test(start_paused = true)]
async fn nearly_no_capacity_only_takes_longer() {
    let capacity = Some(Capacity { per_second: 5.0, saved_max: 1_500.0 });
    let table = SlowTable::new(Speed { capacity, ..slow(5) });
    let took = first_start(&table, 100, 1).await;
    assert!(took <= Duration::from_secs(30), "{took:?}");
    assert_eq!(table.seen(|seen| seen.in_vain), 0);
}

#[tokio::test(start_paused = true)]
async fn error_costs_only_its_own_write() {
    let table = SlowTable::new(Speed { fail_each: 20, ..slow(10) });
    let took = first_start(&table, 2_000, 1).await;
    assert!(took <= Duration::from_secs(25), "{took:?}");
    let (attempts, in_vain) = table.seen(|seen| (seen.attempts, seen.in_vain));
    assert_eq!(in_vain, 0);
    assert!(attempts < 2_200, "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn workers_that_start_together_share_the_work() {
    let capacity = Some(Capacity { per_second: 100.0, saved_max: 100.0 });
    let table = SlowTable::new(Speed { capacity, ..slow(10) });
    let took = first_start(&table, 2_000, 5).await;
    assert!(took <= Duration::from_secs(35), "{took:?}");
    let (creations, in_vain) = table.seen(|seen| (seen.creations, seen.in_vain));
    assert!(in_vain * 4 < creations, "{in_vain} of {creations} in vain");
}
