//! The clock of a runtime whose time is paused.

use kcl_core::backend::Clock;
use kcl_core::model::{Moment, Timestamp};
use tokio::time::Instant;

/// The time of day when the clock starts: 2026-01-01 00:00:30.
const START_MILLIS: i64 = 1_767_225_630_000;

/// The clock of a runtime whose time is paused: it starts at zero, and at a fixed time of day.
#[derive(Clone, Copy, Debug)]
pub struct PausedClock(Instant);

impl PausedClock {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Moment {
        Moment::from_origin(self.0.elapsed())
    }

    fn time_of_day(&self) -> Timestamp {
        let millis = i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_epoch_millis(START_MILLIS.saturating_add(millis))
    }
}
