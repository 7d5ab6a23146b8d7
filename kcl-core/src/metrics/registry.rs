//! Everything that one worker counts and measures.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kcl_proto::model::{Moment, ShardId, StreamName};
use kcl_proto::worker::health::{Phase, Signs};
use tokio::sync::watch;

use crate::backend::Clock;
use crate::memory::MemoryBudget;
use crate::metrics::catalogue::{self, CATALOGUE};
use crate::metrics::cells::READERS_MAX;
use crate::metrics::definition::Metric;
use crate::metrics::shard_series::{LiveShard, ShardSeries, ShardSigns, number};
use crate::metrics::snapshot::{Origin, Sample, Value};
use crate::metrics::worker_series::WorkerSeries;
use crate::report::event::{WorkerState, WorkerStatus};

/// How many series of shards that moved away wait for readers of periods at most.
const GONE_MAX: usize = 1_024;

/// Everything that one worker counts and measures.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(super) application: String,
    pub(super) worker_name: String,
    pub(super) stream: OnceLock<StreamName>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) series: WorkerSeries,
    memory: MemoryBudget,
    status: watch::Receiver<WorkerStatus>,
    shards: Mutex<Shards>,
    fleet: Mutex<Option<FleetCounts>>,
    /// When the lease thread last showed that it runs, in milliseconds and one; 0 before that.
    pulse: AtomicU64,
    /// What a start waits for.
    waits_for: Mutex<Option<String>>,
}

/// The table as a worker last saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetCounts {
    pub(crate) mine: usize,
    pub(crate) others: usize,
    pub(crate) free: usize,
    pub(crate) ended: usize,
    pub(crate) workers: usize,
}

#[derive(Debug, Default)]
struct Shards {
    ownerships: u64,
    held: BTreeMap<ShardId, Held>,
    /// Those that readers of periods have not read to their end.
    gone: VecDeque<(Held, [bool; READERS_MAX])>,
    readers: [bool; READERS_MAX],
}

/// The series of a held shard.
#[derive(Debug)]
struct Held {
    series: Arc<ShardSeries>,
    live: Box<dyn LiveShard>,
}

/// A shard whose series are shown. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct ShownShard {
    registry: Arc<Registry>,
    series: Arc<ShardSeries>,
}

impl Drop for ShownShard {
    fn drop(&mut self) {
        self.registry.hide(&self.series);
    }
}

impl Registry {
    pub(crate) fn new(
        (application, worker_name): (String, String),
        clock: Arc<dyn Clock>,
        memory: MemoryBudget,
        status: watch::Receiver<WorkerStatus>,
    ) -> Self {
        Self {
            application,
            worker_name,
            stream: OnceLock::new(),
            clock,
            series: WorkerSeries::default(),
            memory,
            status,
            shards: Mutex::default(),
            fleet: Mutex::default(),
            pulse: AtomicU64::new(0),
            waits_for: Mutex::default(),
        }
    }

    /// Adds the stream to later snapshots.
    pub(crate) fn set_stream(&self, stream: &StreamName) {
        self.stream.get_or_init(|| stream.clone());
    }

    /// Returns series for a new ownership of a shard. No snapshot has them before
    /// [`show`](Self::show).
    pub(crate) fn shard(&self, shard: ShardId) -> Arc<ShardSeries> {
        let mut shards = lock(&self.shards);
        shards.ownerships += 1;
        Arc::new(ShardSeries::new(shard, shards.ownerships, Arc::clone(&self.series.common)))
    }

    /// Shows the series of a held shard until the result is dropped.
    pub(crate) fn show(
        self: &Arc<Self>,
        series: Arc<ShardSeries>,
        live: Box<dyn LiveShard>,
    ) -> ShownShard {
        if let Some(shard) = series.origin.shard.clone() {
            let held = Held { series: Arc::clone(&series), live };
            lock(&self.shards).held.insert(shard, held);
        }
        ShownShard { registry: Arc::clone(self), series }
    }

    fn hide(&self, series: &Arc<ShardSeries>) {
        let mut shards = lock(&self.shards);
        let Some(shard) = &series.origin.shard else { return };
        // The shard may be held again.
        if shards.held.get(shard).is_some_and(|held| Arc::ptr_eq(&held.series, series))
            && let Some(held) = shards.held.remove(shard)
            && shards.readers.contains(&true)
        {
            let readers = shards.readers;
            shards.gone.push_back((held, readers));
            if shards.gone.len() > GONE_MAX {
                shards.gone.pop_front();
            }
        }
    }

    /// The series of a held shard.
    pub(super) fn held(&self, shard: &ShardId) -> Option<Arc<ShardSeries>> {
        lock(&self.shards).held.get(shard).map(|held| Arc::clone(&held.series))
    }

    /// Notes that the lease thread runs.
    pub(crate) fn pulse(&self) {
        let since = self.clock.now().since(Moment::from_origin(Duration::ZERO));
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.pulse.store(millis.saturating_add(1), Ordering::Relaxed);
    }

    /// Replaces the counts of the table.
    pub(crate) fn counted(&self, counts: FleetCounts) {
        *lock(&self.fleet) = Some(counts);
    }

    /// Replaces what a start waits for.
    pub(super) fn waits_for(&self, what: String) {
        *lock(&self.waits_for) = Some(what);
    }

    /// How long the lease thread has been silent; `None` before it has started.
    fn silence(&self, now: Moment) -> Option<Duration> {
        let pulse = self.pulse.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.since(Moment::from_origin(Duration::from_millis(pulse))))
    }

    /// What is known about the worker's health.
    pub(super) fn health(&self) -> Signs {
        let now = self.clock.now();
        let status = self.status.borrow().clone();
        let is_over = self.status.has_changed().is_err();
        let slow = status.held.iter().filter_map(|held| held.slow.as_ref());
        Signs {
            phase: phase(status.state),
            is_dropped: is_over && status.state != WorkerState::Stopped,
            silence: self.silence(now),
            knows_fleet: lock(&self.fleet).is_some(),
            waits_for: lock(&self.waits_for).clone(),
            held: status.held.len(),
            slow: slow.clone().count(),
            slowest: slow.map(|slow| slow.taken).max(),
        }
    }

    /// Reserves a place for a reader of periods, if one is free.
    pub(super) fn add_reader(&self) -> Option<usize> {
        let mut shards = lock(&self.shards);
        let (index, is_used) = shards.readers.iter_mut().enumerate().find(|(_, used)| !**used)?;
        *is_used = true;
        Some(index)
    }

    /// Frees the place of a reader of periods.
    pub(super) fn remove_reader(&self, index: usize) {
        let mut shards = lock(&self.shards);
        if let Some(is_used) = shards.readers.get_mut(index) {
            *is_used = false;
        }
        shards.forget(index);
    }

    /// All series, in the order of the catalogue. A `reader` of periods also gets those of shards
    /// that moved away since it read last.
    pub(super) fn read(&self, reader: Option<usize>) -> Vec<Sample> {
        let now = self.clock.now();
        let mut samples = Vec::new();
        self.series.read(reader, &mut samples);
        let signs = self.read_shards(now, reader, &mut samples);
        self.read_gauges(&signs, now, &mut samples);
        let place = |metric| CATALOGUE.iter().position(|it| std::ptr::eq(*it, metric));
        samples.sort_by_cached_key(|sample: &Sample| place(sample.metric));
        samples
    }

    fn read_shards(
        &self,
        now: Moment,
        reader: Option<usize>,
        into: &mut Vec<Sample>,
    ) -> Vec<ShardSigns> {
        let mut shards = lock(&self.shards);
        let mut all = Vec::with_capacity(shards.held.len());
        for Held { series, live } in shards.held.values() {
            let signs = live.signs(now);
            series.read(signs, reader, into);
            all.push(signs);
        }
        if let Some(index) = reader {
            let due = shards.gone.iter().filter(|(_, readers)| readers.get(index) == Some(&true));
            for (Held { series, live }, _) in due {
                series.read(ShardSigns { age: None, ..live.signs(now) }, reader, into);
            }
            shards.forget(index);
        }
        all
    }

    fn read_gauges(&self, held: &[ShardSigns], now: Moment, into: &mut Vec<Sample>) {
        let memory = self.memory.usage();
        let lag_max = held.iter().filter_map(|signs| signs.age).max().unwrap_or_default();
        let slow = held.iter().filter(|signs| signs.is_slow).count();
        let mut put = |metric: &'static Metric, label, value| {
            let (origin, values) = (Origin::WORKER, [label, ""]);
            into.push(Sample { metric, origin, values, value, seen: None });
        };
        put(&catalogue::LAG_MAX_SECONDS, "", seconds(lag_max));
        put(&catalogue::SLOW_CALLS, "", count(slow));
        put(&catalogue::MEMORY_BYTES, "", Value::Count(memory.used));
        put(&catalogue::MEMORY_BUDGET_BYTES, "", Value::Count(memory.budget));
        put(&catalogue::LEASES_HELD, "", count(held.len()));
        if let Some(headroom) = held.iter().map(|signs| signs.headroom).min() {
            put(&catalogue::DEADLINE_HEADROOM_SECONDS, "", seconds(headroom));
        }
        let fleet = *lock(&self.fleet);
        if let Some(FleetCounts { mine, others, free, ended, workers }) = fleet {
            put(&catalogue::LEASES, "mine", count(mine));
            put(&catalogue::LEASES, "others", count(others));
            put(&catalogue::LEASES, "free", count(free));
            put(&catalogue::LEASES, "ended", count(ended));
            put(&catalogue::WORKERS, "", count(workers));
        }
        if let Some(silence) = self.silence(now) {
            put(&catalogue::LEASE_SIDE_SILENCE_SECONDS, "", seconds(silence));
        }
        let state = self.status.borrow().state.to_string();
        for label in catalogue::WORKER_STATE.fixed_labels().flat_map(|label| label.values) {
            put(&catalogue::WORKER_STATE, label, count(usize::from(*label == state)));
        }
        put(&catalogue::BUILD_INFO, env!("CARGO_PKG_VERSION"), Value::Count(1));
    }
}

impl Shards {
    /// Forgets the shards that moved away and that no other reader than this one waits for.
    fn forget(&mut self, index: usize) {
        self.gone.retain_mut(|(_, readers)| {
            if let Some(is_waiting) = readers.get_mut(index) {
                *is_waiting = false;
            }
            readers.contains(&true)
        });
    }
}

const fn phase(state: WorkerState) -> Phase {
    match state {
        WorkerState::Starting => Phase::Starting,
        WorkerState::Running => Phase::Running,
        WorkerState::Stopping => Phase::Stopping,
        WorkerState::Stopped => Phase::Stopped,
    }
}

fn count(count: usize) -> Value {
    Value::Count(number(count))
}

const fn seconds(time: Duration) -> Value {
    Value::Number(time.as_secs_f64())
}

/// A panic while the lock was held leaves counts that are as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
