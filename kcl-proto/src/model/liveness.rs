//! What proves that the holder of a lease is alive.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// What proves that the holder of a lease is alive. The take that made it the holder decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a row says one or the other")]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Liveness {
    /// The lease's own counter, which the holder moves.
    #[default]
    Counter,
    /// The [session](crate::model::Session) of the holder, whose heartbeat it moves.
    Session,
}

/// The mark of a lease that lives by a session: this less the holder's expiry stands on the row as
/// its expiry. That is as good as for ever, so that a version that does not know sessions never
/// takes such a lease from its holder.
///
/// 2⁵³−1 ms, the greatest whole number that every reader of a table represents exactly.
const MARK: Duration = Duration::from_millis((1 << 53) - 1);

/// From this expiry on a row has the mark: no worker's own expiry comes near it.
const MARK_MIN: Duration = Duration::from_millis(1 << 52);

impl Liveness {
    /// Reads what the row of a lease says by its expiry.
    #[must_use]
    pub fn of(expiry: Option<Duration>) -> Self {
        if expiry >= Some(MARK_MIN) { Self::Session } else { Self::Counter }
    }

    /// Returns the holder's own expiry by what the row says.
    #[must_use]
    pub const fn holder_expiry(self, stored: Duration) -> Duration {
        match self {
            Self::Counter => stored,
            Self::Session => MARK.saturating_sub(stored),
        }
    }

    /// Returns the expiry to store on the row of a worker whose own expiry is `expiry`.
    #[must_use]
    pub const fn stored(self, expiry: Duration) -> Duration {
        match self {
            Self::Counter => expiry,
            Self::Session => MARK.saturating_sub(expiry),
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

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Session => "session",
        })
    }
}

/// Parses `counter` or `session`.
impl FromStr for Liveness {
    type Err = ParseLivenessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "counter" => Ok(Self::Counter),
            "session" => Ok(Self::Session),
            _ => Err(ParseLivenessError { text: text.to_owned() }),
        }
    }
}

/// A text is not a [`Liveness`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} does not say what keeps a lease: use counter or session")]
pub struct ParseLivenessError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of these forms exist: the mark never changes.
    #[test]
    fn mark_is_pinned() {
        let own = Duration::from_secs(10);
        assert_eq!(Liveness::Session.stored(own).as_millis(), 9_007_199_254_730_991);
        assert_eq!(Liveness::Counter.stored(own), own);
        for lives_by in [Liveness::Counter, Liveness::Session] {
            assert_eq!(Liveness::of(Some(lives_by.stored(own))), lives_by);
            assert_eq!(lives_by.holder_expiry(lives_by.stored(own)), own);
            let unmarked = lives_by.unmark(own).unwrap_or_else(|| lives_by.stored(own));
            assert_eq!(Liveness::of(Some(unmarked)), Liveness::Counter);
        }
        assert_eq!(Liveness::of(None), Liveness::Counter);
    }

    #[test]
    fn text_is_read_as_it_is_written() {
        for liveness in [Liveness::Counter, Liveness::Session] {
            assert_eq!(liveness.to_string().parse(), Ok(liveness));
        }
        let error = "sessions".parse::<Liveness>().unwrap_err().to_string();
        assert!(error.contains("\"sessions\"") && error.contains("counter or session"), "{error}");
    }
}
