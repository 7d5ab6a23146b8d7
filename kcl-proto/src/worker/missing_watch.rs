//! When to believe that something is missing that should be there: a table, a stream, credentials.
//!
//! A service may say "not found" once about what exists: right after its creation, or in a moment
//! of inconsistency. An emulator says so while it restarts.

use std::time::Duration;

use crate::model::Moment;

/// How long something has to be missing until a worker ends because of it.
pub const BELIEVED_AFTER: Duration = Duration::from_mins(1);

/// How long something has to be missing that this worker has never found: its name may be wrong, but
/// one answer is no proof.
pub const DOUBTED_FOR: Duration = Duration::from_secs(1);

/// Since when something has been missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingWatch {
    since: Option<(&'static str, Moment)>,
}

impl MissingWatch {
    /// Notes that `what` is missing, and returns whether it has been for `limit`. Something else
    /// that was missing before no longer counts.
    pub fn is_believed(&mut self, what: &'static str, now: Moment, limit: Duration) -> bool {
        let since = match self.since {
            Some((same, since)) if same == what => since,
            Some(_) | None => now,
        };
        self.since = Some((what, since));
        now.since(since) >= limit
    }

    /// Notes that nothing is missing.
    pub const fn found(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(watch: &mut MissingWatch, what: &'static str, second: u64) -> bool {
        let now = Moment::from_origin(Duration::from_secs(second));
        watch.is_believed(what, now, BELIEVED_AFTER)
    }

    #[test]
    fn only_what_is_missing_for_long_is_believed() {
        let mut watch = MissingWatch::default();
        assert!(!believed(&mut watch, "table", 100));
        assert!(!believed(&mut watch, "table", 159));
        assert!(believed(&mut watch, "table", 160));
    }

    #[test]
    fn what_was_found_between_starts_over() {
        let mut watch = MissingWatch::default();
        assert!(!believed(&mut watch, "table", 100));
        watch.found();
        assert!(!believed(&mut watch, "table", 160));
        assert!(believed(&mut watch, "table", 220));
    }

    #[test]
    fn each_thing_has_its_own_time() {
        let mut watch = MissingWatch::default();
        assert!(!believed(&mut watch, "credentials", 100));
        assert!(!believed(&mut watch, "stream", 160));
        assert!(!believed(&mut watch, "credentials", 161));
    }

    #[test]
    fn what_was_never_found_is_doubted_for_a_second() {
        let mut watch = MissingWatch::default();
        let at = |millis| Moment::from_origin(Duration::from_millis(millis));
        assert!(!watch.is_believed("stream", at(100), DOUBTED_FOR));
        assert!(!watch.is_believed("stream", at(1_099), DOUBTED_FOR));
        assert!(watch.is_believed("stream", at(1_100), DOUBTED_FOR));
    }
}
