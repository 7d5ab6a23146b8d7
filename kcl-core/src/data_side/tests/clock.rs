//! Both clocks of a consumer under test.

use std::sync::Mutex;
use std::time::Duration;

use kcl_proto::model::{Moment, Timestamp};
use tokio::time::Instant;

use crate::backend::Clock;

const SECOND: Duration = Duration::from_secs(1);

const TIME_OF_DAY: i64 = 1_000_000_000_000;

/// The fence clock on tokio's clock, and the times it slept through.
#[derive(Debug)]
pub(super) struct TestClock {
    start: Instant,
    slept: Mutex<Duration>,
}

impl TestClock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), slept: Mutex::default() }
    }

    /// Lets the fence clock jump while tokio's stands still, as in a suspended machine.
    pub(super) fn suspend(&self, time: Duration) {
        *self.slept.lock().unwrap() += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        let slept = *self.slept.lock().unwrap();
        Moment::from_origin(SECOND * 1_000 + self.start.elapsed() + slept)
    }

    fn time_of_day(&self) -> Timestamp {
        let since = self.now().since(Moment::from_origin(SECOND * 1_000));
        Timestamp::from_epoch_millis(TIME_OF_DAY + i64::try_from(since.as_millis()).unwrap())
    }
}

pub(super) fn time_of_day(since: Duration) -> Timestamp {
    Timestamp::from_epoch_millis(TIME_OF_DAY + i64::try_from(since.as_millis()).unwrap())
}
