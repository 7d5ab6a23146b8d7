//! Both clocks of a worker, turned by tokio's.

use std::time::Duration;

use kcl_core::backend::Clock;
use kcl_core::model::{Moment, Timestamp};
use tokio::time::Instant;

/// A clock that moves with tokio's, which a paused runtime turns.
#[derive(Clone, Copy, Debug)]
pub struct TestClock {
    began: Instant,
}

impl TestClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::from_origin(Duration::from_hours(1) + self.elapsed())
    }

    fn time_of_day(&self) -> Timestamp {
        let millis = i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_epoch_millis(1_700_000_000_345_i64.saturating_add(millis))
    }
}
