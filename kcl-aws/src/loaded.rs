//! Loaded credentials: how long they are used, and when the next ones are loaded.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use kcl_core::model::Timestamp;

/// How long before their expiry the next credentials are loaded. EC2 offers new ones five minutes
/// before the old ones expire.
const AHEAD_MAX: Duration = Duration::from_mins(5);

/// Credentials that live for less than 15 minutes are replaced after this part of their lifetime.
const AHEAD_PART: u32 = 3;

/// When credentials without an expiry are loaded again: a file may have been rewritten.
const RELOAD_UNLIMITED: Duration = Duration::from_mins(15);

/// The shortest pause between two loads.
const RELOAD_PAUSE_MIN: Duration = Duration::from_secs(1);

/// How long credentials are used that seem to have expired before they were loaded: then this
/// machine's clock is wrong, and the service decides.
const USE_EXPIRED: Duration = Duration::from_mins(1);

/// Credentials, and until when they are used.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) credentials: Credentials,
    /// `None` without a limit.
    until: Option<Timestamp>,
}

impl Loaded {
    /// Credentials that were loaded at `now`.
    pub(crate) fn new(credentials: Credentials, now: Timestamp) -> Self {
        let until = credentials.expiry().map(|expiry| {
            let expiry = timestamp(expiry);
            if expiry > now { expiry } else { after(now, USE_EXPIRED) }
        });
        Self { credentials, until }
    }

    /// Whether the credentials are used at `now`.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Returns how long after `now` the next credentials are loaded.
    pub(crate) fn reload_in(&self, now: Timestamp) -> Duration {
        let Some(until) = self.until else { return RELOAD_UNLIMITED };
        let left = until.since(now);
        left.saturating_sub(AHEAD_MAX.min(left / AHEAD_PART)).max(RELOAD_PAUSE_MIN)
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_epoch_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn after(time: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_epoch_millis(time.epoch_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch_millis(1_767_225_630_000);

    fn loaded(seconds: i64) -> Loaded {
        let expiry = NOW.epoch_millis() + seconds * 1_000;
        let expiry = UNIX_EPOCH + Duration::from_millis(u64::try_from(expiry).unwrap());
        Loaded::new(Credentials::new("key", "secret", None, Some(expiry), "test"), NOW)
    }

    #[track_caller]
    fn check(lifetime: i64, reload_in: u64, used_for: u64) {
        let loaded = loaded(lifetime);
        assert_eq!(loaded.reload_in(NOW), Duration::from_secs(reload_in));
        let end = after(NOW, Duration::from_secs(used_for));
        assert!(loaded.is_usable(end.before(Duration::from_millis(1))) && !loaded.is_usable(end));
    }

    #[test]
    fn credentials_are_replaced_before_they_expire() {
        check(3_600, 3_300, 3_600);
        check(900, 600, 900);
        check(15, 10, 15);
        check(1, 1, 1);
    }

    #[test]
    fn credentials_that_seem_expired_are_tried() {
        check(0, 40, 60);
        check(-3_600, 40, 60);
    }

    #[test]
    fn credentials_without_an_expiry_are_reread_and_stay_usable() {
        let loaded = Loaded::new(Credentials::new("key", "secret", None, None, "test"), NOW);
        assert_eq!(loaded.reload_in(NOW), RELOAD_UNLIMITED);
        assert!(loaded.is_usable(after(NOW, Duration::from_hours(1_000))));
    }
}
