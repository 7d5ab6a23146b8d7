//! One shard in a report: its state, its owner, and how far it is.

use std::fmt;
use std::time::Duration;

use crate::model::{
    Checkpoint, FencingToken, HashKeyRange, HoldUp, LeaseCounter, ShardId, WorkerId,
};

/// What state a shard is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum ShardState {
    /// All records are processed, and the shard takes no more.
    Ended,
    /// It waits until a parent is finished.
    Blocked,
    /// No worker holds it, and one may.
    Unowned,
    /// Its owner is dead or silent.
    Expired,
    /// A hand-over to another worker is open.
    Moving,
    /// A worker holds it. The rows do not say how far behind it is, or whether the worker lives.
    Held,
    /// Less than about 5 s behind.
    CaughtUp,
    /// Behind, and the lag shrinks.
    CatchingUp,
    /// Behind, and the lag neither shrinks nor grows, as far as is known.
    Behind,
    /// Behind, and the lag grows.
    FallingBehind,
    /// Records wait, and none was done for a while.
    Stuck,
}

impl ShardState {
    /// All states, for tables.
    pub const ALL: [Self; 11] = [
        Self::Ended,
        Self::Blocked,
        Self::Unowned,
        Self::Expired,
        Self::Moving,
        Self::Held,
        Self::CaughtUp,
        Self::CatchingUp,
        Self::Behind,
        Self::FallingBehind,
        Self::Stuck,
    ];
}

impl fmt::Display for ShardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ended => "ended",
            Self::Blocked => "blocked",
            Self::Unowned => "unowned",
            Self::Expired => "expired",
            Self::Moving => "moving",
            Self::Held => "held",
            Self::CaughtUp => "caught-up",
            Self::CatchingUp => "catching-up",
            Self::Behind => "behind",
            Self::FallingBehind => "falling-behind",
            Self::Stuck => "stuck",
        })
    }
}

/// A shard with its lease.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ShardReport {
    /// The shard.
    pub shard: ShardId,
    /// Its state.
    pub state: ShardState,
    /// The worker that processes it, or processed it last.
    pub owner: Option<WorkerId>,
    /// During a hand-over, the worker that is to have it.
    pub next: Option<WorkerId>,
    /// The parent that a [blocked](ShardState::Blocked) shard waits for.
    pub waits_for: Option<ShardId>,
    /// How far its processing is behind, to about a third of the owner's expiry; `None` if the rows
    /// do not say.
    #[cfg_attr(feature = "serde", serde(rename = "lag_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub lag: Option<Duration>,
    /// Whether the lag may be less: rows of Java do not say when a shard was caught up.
    pub lag_is_bound: bool,
    /// How the lag changes, in seconds per second; `None` after one look.
    pub lag_trend: Option<f64>,
    /// How far it is processed.
    pub checkpoint: Checkpoint,
    /// The token of the last take, or `None` if it was not this library's.
    pub token: Option<FencingToken>,
    /// The lease's counter.
    pub counter: LeaseCounter,
    /// Its hash keys, or `None` on rows of old Java versions.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::range"))]
    pub hash_range: Option<HashKeyRange>,
    /// Its parents.
    pub parents: Vec<ShardId>,
    /// Its children, once it ended.
    pub children: Vec<ShardId>,
    /// Whether this library wrote the row last, rather than the Java KCL.
    pub is_ours: bool,
    /// What holds it up, as its owner posts.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::note"))]
    pub hold_up: Option<HoldUp>,
}

impl ShardReport {
    /// Whether a worker is to work on it now.
    #[must_use]
    pub const fn is_workable(&self) -> bool {
        !matches!(self.state, ShardState::Ended | ShardState::Blocked)
    }
}

/// Returns the short name of a shard: its number, such as `2` for `shardId-000000000002`.
#[must_use]
pub fn short_name(shard: &ShardId) -> String {
    shard.number().map_or_else(|| shard.to_string(), |number| number.to_string())
}

/// Returns what an owner posts, for people, such as `process_records 41 s`.
#[must_use]
pub fn note(hold_up: &HoldUp) -> String {
    use crate::model::HoldUpKind::{Call, Failing, Reads, Table};
    let HoldUp { kind, number, text } = hold_up;
    match kind {
        Call => format!("{text} {number} s"),
        Failing => format!("failing {number}: {text}"),
        Reads => format!("reads failing {number}: {text}"),
        Table => format!("table failing {number}: {text}"),
    }
}
