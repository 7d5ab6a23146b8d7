//! The bounds of one exploration.

use std::time::Duration;

use super::step::Budget;

/// The times of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Times {
    /// How long a tick is. A renewal is due after one.
    pub(super) tick: Duration,
    /// How long a hand-over may take.
    pub(super) handover: Duration,
}

/// The bounds of one exploration.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: &'static str,
    pub(super) times: Times,
    /// Whether one clock may be up to a tick ahead of the other.
    pub(super) is_drifting: bool,
    /// Whether a restarted worker reuses its former id, which is a bug that the check must find.
    pub(super) same_incarnation: bool,
    /// Whether the first worker holds the lease at the start.
    pub(super) is_held: bool,
    pub(super) budget: Budget,
}
