//! What happens to a held lease, and what is to be done about it.

use std::time::Duration;

use crate::consumer::progress::Done;
use crate::lease::write::LeaseWrite;
use crate::model::{
    Checkpoint, CheckpointPolicy, ChildShard, Conditional, Lease, LeaseEnd, Moment,
    PendingCheckpoint, WorkerId,
};

/// The times that a holder keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldingTimes {
    /// How long others must see the counter unchanged before they may take the lease.
    pub expiry: Duration,
    /// How often the lease is renewed.
    pub renew_every: Duration,
    /// How long a hand-over may take.
    pub hand_over: Duration,
    /// When progress is stored sooner than with the next renewal, if ever.
    pub store_every: Option<StoreEvery>,
}

/// When progress is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreEvery {
    /// Once so many records are done,
    pub records: u64,
    /// or the first of them has been done for so long.
    pub time: Duration,
}

impl StoreEvery {
    /// When `policy` stores progress sooner than with the next renewal, or `None` if it never does.
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
    /// Until when a write sent at `sent` lets its worker process: nine tenths of an expiry, so that
    /// clocks may differ by 5 % and nobody else has taken the lease yet.
    pub(super) fn deadline(&self, sent: Moment) -> Moment {
        sent + self.expiry / 10 * 9
    }
}

/// Something that happened to a held lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldingInput {
    /// Time passed: at least until [`Holding::wake_at`](super::Holding::wake_at).
    Tick,
    /// The write in flight was answered.
    Answered(Conditional),
    /// The write in flight failed: it may have been made or not, or may still be.
    Unanswered,
    /// The row was read, consistently.
    Read(Option<Lease>),
    /// A scan shows that somebody asks for the lease. Only a hint.
    HandOverHinted,
    /// The consumer did this: store it with the next renewal.
    Progress(Done),
    /// The application wants this checkpoint stored now.
    Checkpoint(Checkpoint),
    /// The application wants this prepared now. It takes the place of anything prepared before.
    Prepare(PendingCheckpoint),
    /// All records of the shard are done.
    ShardEnded(Vec<ChildShard>),
    /// The leases of the children exist.
    ChildrenCreated,
    /// The consumer finished what it had in hand, and is gone.
    Drained,
    /// The consumer cannot go on, and is gone.
    GaveUp,
    /// The worker shuts down: let go by then.
    Stop {
        /// When batches in hand are cancelled.
        until: Moment,
    },
    /// When the next owner's presence last moved, if it was ever seen.
    NextOwnerMoved(Option<Moment>),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldingEffect {
    /// Make this write, and say what came of it.
    Write(LeaseWrite),
    /// Read the row, consistently, and say what it is.
    Read,
    /// The consumer may poll the application's futures until then.
    Deadline(Moment),
    /// The consumer shall finish what it has in hand, by then.
    Drain {
        /// When the application's future is dropped.
        until: Moment,
    },
    /// The consumer shall stop at once.
    Cancel,
    /// Checkpoints up to this one are stored: answer who asked for them.
    Stored(Checkpoint),
    /// What was to be prepared last is stored, or done already: answer all who asked so far.
    Prepared,
    /// This checkpoint lies before the stored one: answer who asked for it.
    Refused(Checkpoint),
    /// Create the leases of the children, then say so.
    CreateChildren(Vec<ChildShard>),
    /// Somebody asked for the lease.
    HandOverAsked(WorkerId),
    /// The hand-over ended and the lease stays. The consumer is gone: take the lease anew.
    HandOverEnded(&'static str),
    /// The lease is held no longer. Nothing follows.
    Ended(LeaseEnd),
}
