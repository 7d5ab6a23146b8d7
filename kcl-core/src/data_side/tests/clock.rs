//! The clocks of a consumer under test: fence clock and time of day.

use std::sync::Mutex;
use std::time::Duration;

use kcl_proto::model::{Moment, Timestamp};
use tokio::time::Instant;

use crate::backend::Clock;

pub(super) const MILLI: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The time of day at the start.
const TIME_OF_DAY: i64 = 1_000_000_000_000;

/// A fence clock that follows tokio's clock, plus the time the machine was suspended.
#[derive(Debug)]
pub(super) struct TestClock {
    start: Instant,
    suspended: Mutex<Duration>,
}

impl TestClock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), suspended: Mutex::default() }
    }

    /// Advances the fence clock but not tokio's, like a suspended machine.
    pub(super) fn suspend(&self, time: Duration) {
        *self.suspended.lock().unwrap() += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        let suspended = *self.suspended.lock().unwrap();
        Moment::from_origin(SECOND * 1_000 + self.start.elapsed() + suspended)
    }

    fn time_of_day(&self) -> Timestamp {
        time_of_day(self.now().since(Moment::from_origin(SECOND * 1_000)))
    }
}

/// The time of day, `since` the start.
pub(super) fn time_of_day(since: Duration) -> Timestamp {
    Timestamp::from_epoch_millis(TIME_OF_DAY + i64::try_from(since.as_millis()).unwrap())
}
