//! An open hand-over of a held lease to another worker.

use std::time::Duration;

use crate::model::{Moment, WorkerId};

/// The time between reads of a row with an open hand-over.
pub const HANDOVER_READ_EVERY: Duration = Duration::from_millis(250);

/// An open hand-over of this lease to another worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handover {
    next: WorkerId,
    /// When the next owner last gave a sign of life: its request, or a heartbeat that moved.
    next_moved_at: Moment,
    read_at: Moment,
}

impl Handover {
    /// Creates a hand-over that was noticed at `now`.
    pub(super) fn new(next: WorkerId, now: Moment) -> Self {
        Self { next, next_moved_at: now, read_at: now + HANDOVER_READ_EVERY }
    }

    pub(super) const fn next(&self) -> &WorkerId {
        &self.next
    }

    /// Returns when to read the row again.
    pub(super) const fn read_at(&self) -> Moment {
        self.read_at
    }

    /// Records that the next owner's heartbeat last moved at `moved_at`.
    pub(super) fn moved(&mut self, moved_at: Option<Moment>) {
        self.next_moved_at = Some(self.next_moved_at).max(moved_at).unwrap_or_default();
    }

    /// Whether to read the row now. Says so once.
    pub(super) fn is_read_due(&mut self, now: Moment) -> bool {
        let is_due = now >= self.read_at;
        if is_due {
            self.read_at = now + HANDOVER_READ_EVERY;
        }
        is_due
    }

    /// Whether the next owner gave a sign of life within `expiry`.
    pub(super) fn is_next_alive(&self, expiry: Duration, now: Moment) -> bool {
        now.since(self.next_moved_at) <= expiry
    }
}
