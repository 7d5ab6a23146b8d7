//! What can go wrong, how often, and how often it did.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;

/// How long a client waits for an answer before it gives up.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(2_500);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A call is answered late, but within the client's patience.
    SlowReply,
    /// A call never arrives.
    LostRequest,
    /// A call is carried out, and its answer is lost.
    LostReply,
    /// A call is carried out after its caller has given up on it.
    LateLanding,
    /// A client sends a call twice, and both copies are carried out.
    Duplicate,
    /// A call is refused because there are too many.
    Throttled,
    /// A scan shows the table as it was some writes ago.
    StaleScan,
    /// The pages of a scan show the table at different times, between which it changed.
    TornScan,
    /// A reader's iterator is too old.
    ExpiredIterator,
    /// A worker does not reach the lease table.
    LeasesCut,
    /// A worker does not reach the stream.
    RecordsCut,
    /// A worker is killed.
    Crash,
    /// A worker is stopped and continued, as by SIGSTOP and SIGCONT.
    Freeze,
    /// A worker's machine sleeps.
    Suspend,
    /// A worker's clock runs at another speed.
    Drift,
    /// A worker is asked to shut down.
    CleanStop,
    /// A worker starts with another expiry than its predecessor.
    ChangedExpiry,
    /// A batch takes long.
    SlowBatch,
    /// A batch fails.
    FailedBatch,
    /// A processor panics.
    Panic,
    /// A processor hangs.
    Hang,
    /// A record comes that no processor can process.
    Poison,
    /// The dead letter fails to store a record.
    FailedDeadLetter,
    /// An acknowledgement is dropped, or says that its record failed.
    LostAck,
    /// A shard is split.
    Split,
    /// Two shards are merged.
    Merge,
    /// Records are trimmed.
    Trim,
    /// A lease's row is deleted by hand.
    DeletedRow,
    /// The list of shards is late, or torn between two pages.
    StaleList,
    /// A shard that has ended is not listed any more.
    VanishedShard,
    /// The stream is deleted and created again.
    Recreated,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 31] = [
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
        Self::StaleList,
        Self::VanishedShard,
        Self::Recreated,
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
            Self::StaleList => "stale shard list",
            Self::VanishedShard => "vanished shard",
            Self::Recreated => "re-created stream",
        };
        f.pad(name)
    }
}

/// How often each fault came to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(std::collections::BTreeMap<Fault, u64>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often this one came to pass.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}

/// How often calls go wrong: probabilities for each call, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub struct Weather {
    /// Of [`Fault::SlowReply`].
    pub slow: f64,
    /// Of [`Fault::LostRequest`].
    pub lost_request: f64,
    /// Of [`Fault::LostReply`].
    pub lost_reply: f64,
    /// Of [`Fault::LateLanding`].
    pub late: f64,
    /// Of [`Fault::Duplicate`].
    pub duplicate: f64,
    /// Of [`Fault::Throttled`].
    pub throttled: f64,
    /// Of [`Fault::StaleScan`].
    pub stale_scan: f64,
    /// Of [`Fault::ExpiredIterator`].
    pub expired: f64,
}

/// What becomes of one call. Times count from when it was made, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// When it is carried out: once, never, or twice.
    pub(crate) landings: [Option<u64>; 2],
    /// When the caller hears of it.
    pub(crate) answered: u64,
    /// What the caller hears.
    pub(crate) answer: Answer,
    /// What went wrong.
    pub(crate) fault: Option<Fault>,
}

/// What a caller hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What the last landing came to.
    Result,
    /// Nothing, until it gives up.
    Unavailable,
    /// That there are too many calls.
    Throttled,
    /// That its iterator is too old.
    Expired,
    /// That it has no permission.
    Denied,
}

impl Fate {
    /// The fate of a call that finds its way blocked.
    pub(crate) fn cut(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::silent([None, None]) }
    }

    /// The fate of a call that takes as little time as the world can tell.
    pub(crate) const fn quick() -> Self {
        Self { landings: [Some(1), None], answered: 2, answer: Answer::Result, fault: None }
    }

    fn silent(landings: [Option<u64>; 2]) -> Self {
        let answered = crate::time::millis(TIMEOUT);
        Self { landings, answered, answer: Answer::Unavailable, fault: None }
    }

    fn told(reply: u64, answer: Answer) -> Self {
        Self { landings: [None, None], answered: reply, answer, fault: None }
    }
}

impl Weather {
    /// Of all that can go wrong with calls, some.
    #[must_use]
    pub const fn bad() -> Self {
        Self {
            slow: 0.05,
            lost_request: 0.01,
            lost_reply: 0.01,
            late: 0.01,
            duplicate: 0.02,
            throttled: 0.02,
            stale_scan: 0.2,
            expired: 0.01,
        }
    }

    /// Draws the fate of a call. `expires` says whether it uses an iterator.
    pub(crate) fn fate(&self, chance: &mut Chance, expires: bool) -> Fate {
        let timeout = crate::time::millis(TIMEOUT);
        let (request, reply) = (chance.between(1, 12), chance.between(1, 12));
        let with = |fault, fate: Fate| Fate { fault: Some(fault), ..fate };
        let well = Fate {
            landings: [Some(request), None],
            answered: request + reply,
            answer: Answer::Result,
            fault: None,
        };
        if chance.hits(self.slow) {
            let request = chance.between(1, timeout / 2);
            let answered = request + chance.between(1, timeout / 2);
            return with(
                Fault::SlowReply,
                Fate { landings: [Some(request), None], answered, ..well },
            );
        }
        if chance.hits(self.lost_request) {
            return with(Fault::LostRequest, Fate::silent([None, None]));
        }
        if chance.hits(self.lost_reply) {
            return with(Fault::LostReply, Fate::silent([Some(request), None]));
        }
        if chance.hits(self.late) {
            let landing = timeout + chance.between(0, 12_000);
            return with(Fault::LateLanding, Fate::silent([Some(landing), None]));
        }
        if chance.hits(self.duplicate) {
            let again = request + chance.between(1, 1_500);
            let answered = chance.between(request + 1, again + 20);
            return with(
                Fault::Duplicate,
                Fate { landings: [Some(request), Some(again)], answered, ..well },
            );
        }
        if chance.hits(self.throttled) {
            return with(Fault::Throttled, Fate::told(request + reply, Answer::Throttled));
        }
        if expires && chance.hits(self.expired) {
            return with(Fault::ExpiredIterator, Fate::told(request + reply, Answer::Expired));
        }
        well
    }
}
