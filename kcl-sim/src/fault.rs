//! What can go wrong in a world, and how often each of it did.

use std::collections::BTreeMap;
use std::fmt;

use crate::memory::PushCounts;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The answer to a call is late, but within the client's timeout.
    SlowReply,
    /// A call never arrives.
    LostRequest,
    /// A call lands, and its answer is lost.
    LostReply,
    /// A call lands after its caller has timed out.
    LateLanding,
    /// A client sends a call twice, and both copies land.
    Duplicate,
    /// The service throttles a call.
    Throttled,
    /// A scan returns the table as it was some writes ago.
    StaleScan,
    /// The table changes between two pages of a scan.
    TornScan,
    /// A reader's iterator has expired.
    ExpiredIterator,
    /// A worker cannot reach the lease table.
    LeasesCut,
    /// A worker cannot reach the stream.
    RecordsCut,
    /// A worker crashes.
    Crash,
    /// A worker is stopped and continued, as by SIGSTOP and SIGCONT.
    Freeze,
    /// The task of one held lease stands still.
    FrozenHolder,
    /// A worker's machine is suspended.
    Suspend,
    /// A worker's clock runs too fast or too slow.
    Drift,
    /// A worker is asked to shut down.
    CleanStop,
    /// A worker starts with another lease expiry than its predecessor had.
    ChangedExpiry,
    /// A processor is slow.
    SlowBatch,
    /// A processor returns an error.
    FailedBatch,
    /// A processor panics.
    Panic,
    /// A processor hangs.
    Hang,
    /// A record is put that no processor can process.
    Poison,
    /// The dead letter store fails to store a record.
    FailedDeadLetter,
    /// A processor drops an acknowledgement.
    LostAck,
    /// A shard is split.
    Split,
    /// Two shards are merged.
    Merge,
    /// Records are trimmed.
    Trim,
    /// A lease row is deleted by hand.
    DeletedRow,
    /// The row of a worker's session is deleted by hand.
    DeletedSession,
    /// A shard list is stale, or torn between two pages.
    StaleList,
    /// A closed shard disappears from the shard list.
    VanishedShard,
    /// The stream is deleted and created again.
    Recreated,
    /// The table lets no more calls through.
    Saturated,
    /// A client opens a connection for a call.
    NewConnection,
    /// A call waits for new credentials, or fails without them.
    LateCredentials,
    /// A service answers once that what is there does not exist.
    NotFound,
    /// A subscription lasted for its lifetime and ends.
    EndedPush,
    /// A subscription brings nothing.
    LostPush,
    /// An event does not arrive in full.
    TornPush,
    /// An event with records is late.
    LatePush,
    /// The stream refuses subscriptions: readers poll.
    RefusedPush,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 42] = [
        Self::SlowReply,
        Self::LostRequest,
        Self::LostReply,
        Self::LateLanding,
        Self::Duplicate,
        Self::Throttled,
        Self::StaleScan,
        Self::TornScan,
        Self::ExpiredIterator,
        Self::LeasesCut,
        Self::RecordsCut,
        Self::Crash,
        Self::Freeze,
        Self::FrozenHolder,
        Self::Suspend,
        Self::Drift,
        Self::CleanStop,
        Self::ChangedExpiry,
        Self::SlowBatch,
        Self::FailedBatch,
        Self::Panic,
        Self::Hang,
        Self::Poison,
        Self::FailedDeadLetter,
        Self::LostAck,
        Self::Split,
        Self::Merge,
        Self::Trim,
        Self::DeletedRow,
        Self::DeletedSession,
        Self::StaleList,
        Self::VanishedShard,
        Self::Recreated,
        Self::Saturated,
        Self::NewConnection,
        Self::LateCredentials,
        Self::NotFound,
        Self::EndedPush,
        Self::LostPush,
        Self::TornPush,
        Self::LatePush,
        Self::RefusedPush,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::SlowReply => "slow reply",
            Self::LostRequest => "lost request",
            Self::LostReply => "lost reply",
            Self::LateLanding => "late landing",
            Self::Duplicate => "duplicate call",
            Self::Throttled => "throttled call",
            Self::StaleScan => "stale scan",
            Self::TornScan => "torn scan",
            Self::ExpiredIterator => "expired iterator",
            Self::LeasesCut => "call cut off from leases",
            Self::RecordsCut => "call cut off from records",
            Self::Crash => "crash",
            Self::Freeze => "freeze",
            Self::FrozenHolder => "frozen holder",
            Self::Suspend => "suspend",
            Self::Drift => "drifting clock",
            Self::CleanStop => "clean stop",
            Self::ChangedExpiry => "changed expiry",
            Self::SlowBatch => "slow batch",
            Self::FailedBatch => "failed batch",
            Self::Panic => "panic",
            Self::Hang => "hang",
            Self::Poison => "poison record",
            Self::FailedDeadLetter => "failed dead letter",
            Self::LostAck => "lost acknowledgement",
            Self::Split => "split",
            Self::Merge => "merge",
            Self::Trim => "trim",
            Self::DeletedRow => "deleted row",
            Self::DeletedSession => "deleted session",
            Self::StaleList => "stale shard list",
            Self::VanishedShard => "vanished shard",
            Self::Recreated => "re-created stream",
            Self::Saturated => "saturated table",
            Self::NewConnection => "new connection",
            Self::LateCredentials => "late credentials",
            Self::NotFound => "not found",
            Self::EndedPush => "ended subscription",
            Self::LostPush => "lost subscription",
            Self::TornPush => "torn event",
            Self::LatePush => "late event",
            Self::RefusedPush => "refused subscription",
        };
        f.pad(name)
    }
}

/// Counts of faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Fault, u64>);

impl Tally {
    /// Counts a fault.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Counts what became of subscriptions.
    pub(crate) fn count_pushes(&mut self, counts: PushCounts) {
        let faults = [
            (Fault::EndedPush, counts.ended),
            (Fault::LostPush, counts.lost),
            (Fault::TornPush, counts.torn),
            (Fault::LatePush, counts.late),
        ];
        for (fault, count) in faults.into_iter().filter(|(_, count)| *count > 0) {
            *self.0.entry(fault).or_default() += count;
        }
    }

    /// Returns how often `fault` occurred.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}
