//! What proves that the holder of a lease is alive.

use std::time::Duration;

/// What proves that the holder of a lease is alive. The take that made it the holder decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum LivesBy {
    /// The lease's own counter, which the holder moves.
    #[default]
    Counter,
    /// The [session](crate::model::Session) of the holder, whose heartbeat it moves.
    Session,
}

/// The expiry on the row of a lease that lives by a session: as good as for ever, so that a version
/// that does not know sessions never takes such a lease from its holder.
///
/// 2⁵³−1 ms, the greatest whole number that every reader of a table represents exactly.
const MARK: Duration = Duration::from_millis((1 << 53) - 1);

impl LivesBy {
    /// Reads what the row of a lease says by its expiry.
    #[must_use]
    pub fn of(expiry: Option<Duration>) -> Self {
        if expiry == Some(MARK) { Self::Session } else { Self::Counter }
    }

    /// Returns the expiry to store on the row of a worker whose own expiry is `expiry`.
    #[must_use]
    pub const fn stored(self, expiry: Duration) -> Duration {
        match self {
            Self::Counter => expiry,
            Self::Session => MARK,
        }
    }

    /// Returns the expiry that replaces the mark when the holder writes that it is gone, or `None`
    /// if the row has no mark. From then on the counter judges whoever is to take the lease.
    #[must_use]
    pub const fn unmark(self, expiry: Duration) -> Option<Duration> {
        match self {
            Self::Counter => None,
            Self::Session => Some(expiry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of these forms exist: the mark never changes.
    #[test]
    fn mark_is_pinned() {
        let own = Duration::from_secs(10);
        assert_eq!(LivesBy::Session.stored(own).as_millis(), 9_007_199_254_740_991);
        assert_eq!(LivesBy::Counter.stored(own), own);
        for lives_by in [LivesBy::Counter, LivesBy::Session] {
            assert_eq!(LivesBy::of(Some(lives_by.stored(own))), lives_by);
            let unmarked = lives_by.unmark(own).unwrap_or_else(|| lives_by.stored(own));
            assert_eq!(LivesBy::of(Some(unmarked)), LivesBy::Counter);
        }
        assert_eq!(LivesBy::of(None), LivesBy::Counter);
    }
}
