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
    /// The fleet's expiry, if workers may fail.
    expiry: Option<Duration>,
}

impl WaitLimit {
    pub(super) const fn new(since: Time, most: Duration, expiry: Option<Duration>) -> Self {
        Self { since, most, expiry }
    }

    /// Returns how many milliseconds a record put at `put` has waited at `now`, if that is too long.
    ///
    /// `expired` is when an owner of the shard last lost the lease by its own clock. An owner that
    /// stalls may renew the lease in its last moment and lose it all the same: other workers then
    /// wait for another expiry, from that renewal on.
    pub(super) fn exceeded(self, put: Timestamp, expired: Option<Time>, now: Time) -> Option<u128> {
        let renewed = expired.map(Time::time_of_day).filter(|expired| {
            self.expiry.is_some_and(|expiry| put <= *expired && expired.since(put) <= expiry)
        });
        let waited = now.time_of_day().since(renewed.unwrap_or(put)).as_millis();
        (put >= self.since.time_of_day() && waited > self.most.as_millis()).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1_000)
    }

    #[track_caller]
    fn check(expiry: Option<Duration>, expired: Option<u64>, is_exceeded: bool) {
        let limit = WaitLimit::new(at(5), SECOND * 15, expiry);
        let waited = limit.exceeded(at(10).time_of_day(), expired.map(at), at(26));
        assert_eq!(waited.is_some(), is_exceeded);
    }

    #[test]
    fn late_renewal_begins_another_expiry() {
        let expiry = Some(SECOND * 10);
        check(expiry, None, true);
        check(expiry, Some(9), true);
        check(expiry, Some(12), false);
        check(expiry, Some(21), true);
        check(None, Some(12), true);
    }
}
