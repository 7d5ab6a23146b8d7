//! How far a shard is processed, and how far that is behind.

use std::time::Duration;

use crate::lease::adoption::adopted;
use crate::model::{Checkpoint, Lease, Timestamp};
use crate::operate::look::{Look, Seen};

/// How far a shard is processed, by its row and by the session of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) checkpoint: Checkpoint,
    pub(super) caught_up_at: Option<Timestamp>,
}

impl Done {
    pub(super) fn of(lease: &Lease, look: &Look) -> Self {
        let session = lease.session_holder().and_then(|holder| look.sessions.get(holder));
        let beyond = session.and_then(|session| adopted(lease, &session.progress));
        let beyond = beyond.as_ref();
        Self {
            checkpoint: beyond.and_then(|it| it.checkpoint).unwrap_or(lease.checkpoint),
            caught_up_at: beyond
                .and_then(|it| it.caught_up_at)
                .or_else(|| lease.caught_up_at.filter(|_| lease.is_ours())),
        }
    }

    /// When the newest processed record arrived, to the second, or `None` if the checkpoint does
    /// not say.
    fn processed_up_to(self, lease: &Lease) -> Option<Timestamp> {
        match self.checkpoint {
            Checkpoint::After(position) => position.sequence.stored_at(),
            Checkpoint::AtTimestamp => lease.start_at,
            Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::ShardEnd => None,
        }
    }
}

/// How far a shard's processing is behind the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) behind: Duration,
    /// Whether it may be less, because the rows do not say when the consumer was at the end.
    pub(super) is_bound: bool,
}

impl Lag {
    /// `None` if the shard is finished, or nothing says how far it is.
    pub(super) fn of(lease: &Lease, look: &Look) -> Option<Self> {
        let done = Done::of(lease, look);
        if done.checkpoint.is_shard_end() {
            return None;
        }
        let up_to = done.caught_up_at.max(done.processed_up_to(lease))?;
        // Only a consumer of this library says when it was at the end. One that never was there,
        // and has processed records, is as far behind as the newest of them.
        let is_bound = !lease.is_ours() || !done.checkpoint.has_progressed();
        let is_bound = is_bound && done.caught_up_at.is_none();
        Some(Self { behind: look.at.since(up_to), is_bound })
    }
}

/// Returns how the lag changes, in seconds per second, or `None` if one look cannot tell.
pub(super) fn trend(lease: &Lease, seen: &Seen<'_>) -> Option<f64> {
    let earlier = seen.earlier?;
    let between = seen.between().as_secs_f64();
    let before = Lag::of(earlier.leases.get(&lease.key)?, earlier)?;
    let now = Lag::of(lease, seen.look)?;
    let change = now.behind.as_secs_f64() - before.behind.as_secs_f64();
    (between >= 1.0).then(|| change / between)
}

/// Whether the shard's progress moved since the earlier look; `None` without one.
pub(super) fn has_moved(lease: &Lease, seen: &Seen<'_>) -> Option<bool> {
    let earlier = seen.earlier?;
    let before = earlier.leases.get(&lease.key)?;
    Some(Done::of(before, earlier) != Done::of(lease, seen.look))
}
