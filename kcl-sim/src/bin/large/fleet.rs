//! A fleet of workers in this process, each with a lease thread of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::config::WorkerConfig;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::{InitialPosition, LeaseEnd, Moment};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker, WorkerHandle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stream::Stream;
use crate::table::{Speed, Table};

/// The longest time that a row waits for anything.
const LIMIT: Duration = Duration::from_mins(3);

/// Some workers, their table and their stream.
pub(crate) struct Fleet {
    pub(crate) table: Table,
    pub(crate) config: WorkerConfig,
    pub(crate) events: Counts,
    stream: Stream,
    workers: Vec<Member>,
    /// How many workers were ever started.
    started: usize,
    runs: JoinSet<()>,
    pub(crate) began: Moment,
}

struct Member {
    table: Table,
    handle: WorkerHandle,
}

/// How often each event occurred.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Observer for Counts {
    fn on_event(&self, event: &Event, _: &EventContext) {
        let is_expiry = matches!(event, Event::LeaseEnded { how: LeaseEnd::Expired, .. });
        let name = if is_expiry { "expired" } else { event.name() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }
}

impl Counts {
    pub(crate) fn of(&self, name: &str) -> usize {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(name).copied().unwrap_or(0)
    }
}

struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

impl Member {
    fn kill(self) -> usize {
        self.table.kill();
        self.handle.status().held.len()
    }
}

impl Fleet {
    pub(crate) fn new(shards: u32, speed: Speed, config: WorkerConfig) -> Self {
        let (table, events) = (Table::new(speed), Counts::default());
        let mut config = config;
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        Self {
            table,
            config,
            events,
            stream: Stream { shards, trickle: None },
            started: 0,
            workers: Vec::new(),
            runs: JoinSet::new(),
            began: SystemClock.now(),
        }
    }

    /// Starts so many more workers.
    pub(crate) fn start(&mut self, workers: usize) -> Result<(), BoxError> {
        for _ in 0..workers {
            let table = self.table.handle();
            let worker = Worker::builder("large")
                .worker_name(format!("w{:04}", self.started))
                .records(self.stream)
                .leases(table.clone())
                .processor(|_| Idle)
                .config(self.config.clone())
                .observer(self.events.clone())
                .build()?;
            self.workers.push(Member { table, handle: worker.handle() });
            self.started += 1;
            self.runs.spawn(async move {
                drop(worker.run_until(std::future::pending()).await);
            });
        }
        Ok(())
    }

    /// Puts a record into each shard whenever this time has passed, or none.
    pub(crate) const fn trickle(&mut self, pause: Option<Duration>) {
        self.stream.trickle = pause;
    }

    /// Ends the worker that started last as SIGKILL does. Returns how many leases it held.
    pub(crate) fn kill_last(&mut self) -> usize {
        self.workers.pop().map_or(0, Member::kill)
    }

    /// Ends the worker that started first, which is first in line. Returns as
    /// [`kill_last`](Self::kill_last).
    pub(crate) fn kill_first(&mut self) -> usize {
        if self.workers.is_empty() { 0 } else { self.workers.remove(0).kill() }
    }

    /// How many leases each worker holds that was not killed.
    pub(crate) fn held(&self) -> Vec<usize> {
        let held = self.table.held();
        let of = |member: &Member| held.get(&member.handle.status().worker).copied().unwrap_or(0);
        self.workers.iter().map(of).collect()
    }

    /// Waits until all leases are held, and the workers' counts differ by at most one. Returns the
    /// seconds since `since`, or `None` if it takes too long.
    pub(crate) async fn balanced(&self, since: Moment) -> Option<f64> {
        self.until(since, |held, shards| {
            let most = held.iter().max().copied().unwrap_or(0);
            held.iter().sum::<usize>() == shards && held.iter().all(|count| count + 1 >= most)
        })
        .await
    }

    /// Waits until all leases are held. Returns as [`balanced`](Self::balanced).
    pub(crate) async fn all_held(&self, since: Moment) -> Option<f64> {
        self.until(since, |held, shards| held.iter().sum::<usize>() == shards).await
    }

    /// Waits until the workers' counts fulfil a condition. Returns as [`balanced`](Self::balanced).
    pub(crate) async fn until(
        &self,
        since: Moment,
        is_done: impl Fn(&[usize], usize) -> bool,
    ) -> Option<f64> {
        let shards = usize::try_from(self.stream.shards).unwrap_or(usize::MAX);
        loop {
            let passed = SystemClock.now().since(since);
            if is_done(&self.held(), shards) {
                return Some(passed.as_secs_f64());
            }
            if passed > LIMIT {
                return None;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
