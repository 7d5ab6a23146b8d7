//! Clocks: the services', each worker's, and the world's with its agenda.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kcl_core::backend::Clock;
use kcl_core::model::{Moment, Timestamp};
use tokio::time::Instant;

use crate::time::{Time, TimeQueue, millis};

/// The uptime of a machine when a worker starts on it.
const UPTIME: Duration = Duration::from_hours(1);

/// The services' clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<AtomicU64>);

impl ServiceClock {
    fn set(&self, now: Time) {
        self.0.store(now.millis(), Ordering::Relaxed);
    }

    fn time(&self) -> Time {
        Time::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Moment {
        Moment::from_origin(Duration::from_millis(self.time().millis()))
    }

    fn time_of_day(&self) -> Timestamp {
        self.time().time_of_day()
    }
}

/// The world's time, and what happens next.
#[derive(Debug, Default)]
pub(crate) struct WorldClock {
    services: ServiceClock,
    agenda: TimeQueue<Due>,
}

/// Something that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// An attempt of the call of this number arrives at a service under load.
    Arrive(u64),
    /// The call of this number lands.
    Land(u64),
    /// The call of this number is answered.
    Answer(u64),
    /// The producer puts its next record.
    Put,
}

impl WorldClock {
    pub(crate) fn now(&self) -> Time {
        self.services.time()
    }

    pub(crate) fn time_of_day(&self) -> Timestamp {
        self.services.time_of_day()
    }

    pub(crate) fn services(&self) -> ServiceClock {
        self.services.clone()
    }

    pub(crate) fn set(&self, now: Time) {
        self.services.set(now);
    }

    pub(crate) fn schedule(&mut self, at: Time, due: Due) {
        self.agenda.push(at, due);
    }

    /// When the first thing is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.agenda.first()
    }

    /// Removes and returns the first thing, if it is due by `until`.
    pub(crate) fn pop_due(&mut self, until: Time) -> Option<Due> {
        self.agenda.pop(until).map(|(_, due)| due)
    }
}

/// A worker's clock: its paused runtime advances it, and the suspension of its machine makes it
/// jump.
#[derive(Clone, Debug)]
pub(crate) struct WorkerClock {
    began: Instant,
    began_at: Timestamp,
    /// Milliseconds of suspension, set by the world between two steps of the worker.
    suspended: Arc<AtomicU64>,
    /// How many leases the worker has planned over since the world last asked.
    planned: Arc<AtomicU64>,
    /// For how many milliseconds the next task of a held lease stands still that has its turn.
    holder_freeze: Arc<AtomicU64>,
}

impl WorkerClock {
    /// A clock that shows `began_at` at the instant `began` of the worker's runtime.
    pub(crate) fn new(began: Instant, began_at: Timestamp) -> Self {
        Self {
            began,
            began_at,
            suspended: Arc::default(),
            planned: Arc::default(),
            holder_freeze: Arc::default(),
        }
    }

    /// Adds time during which the machine was suspended.
    pub(crate) fn suspend(&self, gap: Duration) {
        self.suspended.fetch_add(millis(gap), Ordering::Relaxed);
    }

    /// Freezes the task of one held lease for this time, once it has its turn.
    pub(crate) fn freeze_holder(&self, time: Duration) {
        self.holder_freeze.store(millis(time), Ordering::Relaxed);
    }

    /// Returns how many leases the worker has planned over since the last call.
    pub(crate) fn take_planned(&self) -> u64 {
        self.planned.swap(0, Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed() + Duration::from_millis(self.suspended.load(Ordering::Relaxed))
    }
}

impl Clock for WorkerClock {
    fn now(&self) -> Moment {
        Moment::from_origin(UPTIME + self.elapsed())
    }

    fn time_of_day(&self) -> Timestamp {
        let millis = i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_epoch_millis(self.began_at.epoch_millis().saturating_add(millis))
    }

    fn planned(&self, leases: usize) {
        self.planned.fetch_add(u64::try_from(leases).unwrap_or(0), Ordering::Relaxed);
    }

    fn holder_freeze(&self) -> Option<Duration> {
        let time = self.holder_freeze.swap(0, Ordering::Relaxed);
        (time > 0).then(|| Duration::from_millis(time))
    }
}
