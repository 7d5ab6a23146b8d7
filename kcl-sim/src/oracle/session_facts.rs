//! The facts about one session.

use std::time::Duration;

use crate::time::Time;

/// The facts about one session.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    pub(super) expiry: Duration,
    /// When its last heartbeat landed.
    pub(super) beat_at: Time,
    /// Until when it lets its worker process.
    pub(super) until: Time,
    pub(super) is_dead: bool,
    /// Since when it has no row.
    pub(super) gone_at: Option<Time>,
}

impl SessionFacts {
    /// How long a heartbeat lets the worker process, by its own clock.
    pub(super) fn lasts(&self) -> Duration {
        self.expiry * 9 / 10
    }
}
