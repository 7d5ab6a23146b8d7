//! The facts about one session.

use std::collections::VecDeque;
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

/// The most heartbeats that a worker begins within a second: one each 200 ms, by a fast clock.
const BEATS_MAX: usize = 7;

/// The heartbeats that a worker has begun.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    last: Option<u64>,
    begun: VecDeque<Time>,
}

impl Beats {
    /// Notes that the heartbeat with this number is sent, perhaps again. Returns how many were begun
    /// within a second, if these are too many.
    pub(super) fn sent(&mut self, at: Time, number: u64) -> Option<usize> {
        if self.last.replace(number) == Some(number) {
            return None;
        }
        self.begun.push_back(at);
        while self.begun.front().is_some_and(|begun| at - *begun > Duration::from_secs(1)) {
            self.begun.pop_front();
        }
        Some(self.begun.len()).filter(|begun| *begun > BEATS_MAX)
    }
}

impl SessionFacts {
    /// How long a heartbeat lets the worker process, by its own clock.
    pub(super) fn lasts(&self) -> Duration {
        self.expiry * 9 / 10
    }
}
