//! An open hand-over of a held lease to another worker.

use std::time::Duration;

use crate::model::{Lease, Moment, WorkerId};

/// The time between reads of a row with an open hand-over.
pub const HANDOVER_READ_EVERY: Duration = Duration::from_millis(250);

/// Whether the row says that another worker asked `me` for the lease that it holds.
///
/// Only a request to this worker as the owner makes it the checkpoint owner, and only a withdrawal
/// makes it the owner again, because it never asks for a lease that it holds. So no worker took the
/// lease in between, however many requests came and went.
pub(super) fn is_requested(row: &Lease, me: &WorkerId) -> bool {
    row.checkpoint_owner.as_ref() == Some(me) && row.owner.as_ref() != Some(me) && row.is_ours()
}

/// Whether the row says that another worker withdrew its request for the lease that `me` holds.
pub(super) fn is_withdrawn(row: &Lease, me: &WorkerId) -> bool {
    let writer = row.last_write.as_ref().map(|stamp| &stamp.worker);
    row.owner.as_ref() == Some(me)
        && row.checkpoint_owner.is_none()
        && writer.is_some_and(|writer| writer != me)
        && row.is_ours()
}

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
