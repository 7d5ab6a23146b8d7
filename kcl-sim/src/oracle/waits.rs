//! How long records may wait.

use std::time::Duration;

use kcl_core::model::Timestamp;

use crate::time::Time;

/// The longest time that a record may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitLimit {
    /// Records put before do not count.
    since: Time,
    most: Duration,
}

impl WaitLimit {
    pub(super) const fn new(since: Time, most: Duration) -> Self {
        Self { since, most }
    }

    /// Returns how many milliseconds a record has waited, if that is too long.
    pub(super) fn exceeded(self, put: Timestamp, now: Time) -> Option<u128> {
        let waited = now.time_of_day().epoch_millis() - put.epoch_millis();
        let waited = u128::try_from(waited).unwrap_or_default();
        (put >= self.since.time_of_day() && waited > self.most.as_millis()).then_some(waited)
    }
}
