//! What time it is: for the services, and for each worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kcl_core::backend::Clock;
use kcl_core::model::{Moment, Timestamp};
use tokio::time::Instant;

use crate::time::Time;

/// How long machines have been up when a worker starts on them.
const UPTIME: Duration = Duration::from_hours(1);

/// The services' clock, which the world turns. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<AtomicU64>);

impl ServiceClock {
    pub(crate) fn set(&self, now: Time) {
        self.0.store(now.millis(), Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Moment {
        Moment::from_origin(Duration::from_millis(self.millis()))
    }

    fn time_of_day(&self) -> Timestamp {
        Time::from_millis(self.millis()).time_of_day()
    }
}

/// A worker's clock: its paused runtime turns it, and a suspended machine makes it jump.
#[derive(Clone, Debug)]
pub(crate) struct WorkerClock {
    began: Instant,
    began_at: Timestamp,
    /// Told by the world between two steps of the worker.
    suspended: Arc<AtomicU64>,
}

impl WorkerClock {
    /// A clock that begins at `began` of the worker's runtime, when the services' clock says
    /// `began_at`.
    pub(crate) fn new(began: Instant, began_at: Timestamp) -> Self {
        Self { began, began_at, suspended: Arc::default() }
    }

    /// Counts time during which the machine was suspended.
    pub(crate) fn suspend(&self, gap: Duration) {
        self.suspended.fetch_add(crate::time::millis(gap), Ordering::Relaxed);
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
}
