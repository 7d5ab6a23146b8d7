//! The inputs and effects of the machine of a held lease, and its times.

use std::time::Duration;

use crate::consumer::progress::Done;
use crate::lease::write::LeaseWrite;
use crate::model::{
    Checkpoint, CheckpointPolicy, ChildShard, Conditional, KeptProgress, Lease, LeaseEnd, Moment,
    PendingCheckpoint, Position, WorkerId,
};

/// The times of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldingTimes {
    /// How long others must see the counter unchanged before they may take the lease.
    pub expiry: Duration,
    /// The time from the take to the first renewal. It differs between leases, so that those taken
    /// together are not renewed together.
    pub renew_first: Duration,
    /// The time between renewals.
    pub renew_every: Duration,
    /// The pause before a throttled write is sent again, unless the lease is about to expire.
    pub throttled: Duration,
    /// How long the consumer may drain during a hand-over.
    pub handover: Duration,
    /// When to store progress before the next renewal, or `None` for never.
    pub store_every: Option<StoreEvery>,
    /// How often to store progress in the row of a lease that lives by its worker's session, beside
    /// the session; `None` for only when it moves.
    pub row_every: Option<Duration>,
}

/// When to store progress before the next renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreEvery {
    /// Once this many records are done and not stored,
    pub records: u64,
    /// or once the first of them has been done for this long.
    pub time: Duration,
}

impl StoreEvery {
    /// Returns when `policy` stores progress before the next renewal, or `None` if it never does.
    #[must_use]
    pub fn of(policy: CheckpointPolicy) -> Option<Self> {
        match policy {
            CheckpointPolicy::Every { records, time } => {
                Some(Self { records: u64::try_from(records).unwrap_or(u64::MAX), time })
            }
            CheckpointPolicy::Automatic | CheckpointPolicy::Manual => None,
        }
    }
}

impl HoldingTimes {
    /// Returns until when a write sent at `sent` lets its worker process: nine tenths of an expiry,
    /// so that no other worker has taken the lease by then even if clock speeds differ by 5 %.
    pub(super) fn deadline(&self, sent: Moment) -> Moment {
        sent + self.expiry / 10 * 9
    }
}

/// A lease that was just taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The row as the take left it.
    pub row: Lease,
    /// When the first copy of the take was sent.
    pub sent: Moment,
}

/// A lease that was just taken and lives by the session of its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InSession {
    /// The row as the take left it.
    pub row: Lease,
    /// Until when the session lives. Its own deadline at this moment, and none from the future.
    pub lives_until: Moment,
    /// Now.
    pub now: Moment,
}

/// An input of [`Holding`](super::Holding).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldingInput {
    /// Time passed: at least until [`Holding::wake_at`](super::Holding::wake_at).
    Tick,
    /// The write in flight was answered.
    Answered(Conditional),
    /// The write in flight failed: it may have been applied, or may still be.
    Unanswered,
    /// The write in flight was throttled: the table had no capacity for it.
    Throttled,
    /// A consistent read returned this row.
    Read(Option<Lease>),
    /// A scan hints that another worker asks for the lease, or that this one lost it.
    ChangeHinted,
    /// The consumer made progress, to be stored with the next renewal.
    Progress(Done),
    /// The application asks to store this checkpoint now.
    Checkpoint(Checkpoint),
    /// The application asks to store this prepared checkpoint now. It replaces any earlier one.
    Prepare(PendingCheckpoint),
    /// All records of the shard are done.
    ShardEnded(Vec<ChildShard>),
    /// The leases of the children exist.
    ChildrenCreated,
    /// The consumer drained and ended.
    Drained,
    /// The consumer failed and ended.
    ConsumerFailed,
    /// The worker stops: drain, then release the lease.
    Stop {
        /// When calls of the processor that still run are cancelled.
        until: Moment,
    },
    /// The next owner's heartbeat last moved at this time; `None` if it was never seen.
    NextOwnerMoved(Option<Moment>),
    /// The worker's session lives until this moment. Only for a lease that lives by it.
    SessionLives(Moment),
    /// The session's row contains the progress up to this position.
    SessionStored(Position),
    /// The session has ended, or has stopped letting its holders process.
    SessionOver,
}

/// An effect of [`Holding`](super::Holding), for the caller to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldingEffect {
    /// Send this write, and feed its outcome.
    Write(LeaseWrite),
    /// Store this progress in the worker's session, and feed [`HoldingInput::SessionStored`] once
    /// a heartbeat with it is settled. Only for a lease that lives by the session.
    Keep {
        /// The progress.
        progress: KeptProgress,
        /// Whether to beat at once, instead of with the next heartbeat.
        is_urgent: bool,
    },
    /// Read the row consistently, and feed the result.
    Read,
    /// Let the consumer poll the application's futures until this moment.
    Deadline(Moment),
    /// Let the consumer finish the batch in hand.
    Drain {
        /// When to drop the application's future.
        until: Moment,
    },
    /// Stop the consumer at once.
    Cancel,
    /// Answer the requests for checkpoints up to this one: they are stored.
    Stored(Checkpoint),
    /// Answer all requests to prepare so far: the last one is stored, or done already.
    Prepared,
    /// Answer the request for this checkpoint: it lies before the stored one.
    Refused(Checkpoint),
    /// Create the leases of the children, then feed [`HoldingInput::ChildrenCreated`].
    CreateChildren(Vec<ChildShard>),
    /// Another worker asked for the lease.
    HandoverRequested(WorkerId),
    /// The hand-over ended without moving the lease, for this reason.
    HandoverEnded(&'static str),
    /// The lease is no longer held. No effect follows.
    Ended(LeaseEnd),
}
