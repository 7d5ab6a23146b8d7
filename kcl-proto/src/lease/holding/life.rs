//! What lets a holder process: its own renewals, or its worker's session.

use std::time::Duration;

use super::input::HoldingTimes;
use crate::model::Moment;

/// What lets a holder process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    /// Its own renewals of the lease.
    Counter {
        renewed_at: Moment,
        /// The time from there to the next renewal.
        renew_after: Duration,
    },
    /// The session of its worker.
    Session {
        deadline: Moment,
        /// When the row was last written.
        written_at: Moment,
    },
}

impl Life {
    pub(super) const fn is_session(self) -> bool {
        matches!(self, Self::Session { .. })
    }

    /// Returns until when the holder may process.
    pub(super) fn deadline(self, times: &HoldingTimes) -> Moment {
        match self {
            Self::Counter { renewed_at, .. } => times.deadline(renewed_at),
            Self::Session { deadline, .. } => deadline,
        }
    }

    /// Returns when a row that takes the progress is to be written next.
    pub(super) fn renewal_at(self, times: &HoldingTimes) -> Moment {
        match self {
            Self::Counter { renewed_at, renew_after } => renewed_at + renew_after,
            Self::Session { written_at, .. } => written_at + times.renew_every,
        }
    }

    /// Returns when the progress that the session has is to be written to the row as well, if it
    /// ever is.
    pub(super) fn copy_at(self, times: &HoldingTimes) -> Option<Moment> {
        match self {
            Self::Counter { .. } => None,
            Self::Session { written_at, .. } => Some(written_at + times.row_every?),
        }
    }

    /// Records that a write that was first sent at `sent` was applied. Whether the deadline moves.
    pub(super) const fn written(&mut self, times: &HoldingTimes, sent: Moment) -> bool {
        match self {
            Self::Counter { renewed_at, renew_after } => {
                (*renewed_at, *renew_after) = (sent, times.renew_every);
                true
            }
            Self::Session { written_at, .. } => {
                *written_at = sent;
                false
            }
        }
    }

    /// Records that the worker's session lives until `until`. Whether the deadline moves.
    pub(super) fn lives(&mut self, until: Moment) -> bool {
        match self {
            Self::Session { deadline, .. } if until > *deadline => {
                *deadline = until;
                true
            }
            Self::Session { .. } | Self::Counter { .. } => false,
        }
    }
}
