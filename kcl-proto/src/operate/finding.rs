//! What is wrong with a fleet, and the command that helps.

use std::fmt;

use crate::model::ShardId;

/// How a fleet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Verdict {
    /// Every shard is worked on.
    Healthy,
    /// Something needs a look.
    Degraded,
    /// There is work, and no worker does any of it.
    Down,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Severity {
    /// Worth knowing. The fleet may be healthy.
    Info,
    /// It delays records, or will.
    Warning,
    /// Records are not processed, or are about to be lost.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The kind of a finding, by which its runbook is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum FindingKind {
    /// The table has no lease.
    NoLeases,
    /// There is work, and no worker runs.
    NoWorkers,
    /// Records were trimmed before they were processed.
    Lost,
    /// Records are about to be trimmed.
    AtRisk,
    /// Records wait, and none is done.
    Stuck,
    /// The owner is dead, and no worker has taken its lease yet.
    Expired,
    /// A shard has no owner.
    Unowned,
    /// The lag of a shard grows.
    FallingBehind,
    /// Hash keys have no lease: their records are not read.
    Uncovered,
    /// A row cannot be read.
    UnreadableRow,
    /// Rows of the Java KCL and of this library are mixed.
    JavaRows,
    /// A worker's clock is wrong.
    Clock,
}

impl FindingKind {
    /// All kinds, in the order of their urgency.
    pub const ALL: [Self; 12] = [
        Self::NoWorkers,
        Self::Lost,
        Self::AtRisk,
        Self::Stuck,
        Self::Expired,
        Self::Unowned,
        Self::Uncovered,
        Self::FallingBehind,
        Self::UnreadableRow,
        Self::JavaRows,
        Self::Clock,
        Self::NoLeases,
    ];

    /// Returns its name, such as `at-risk`: the heading of its runbook.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoLeases => "no-leases",
            Self::NoWorkers => "no-workers",
            Self::Lost => "lost",
            Self::AtRisk => "at-risk",
            Self::Stuck => "stuck",
            Self::Expired => "expired",
            Self::Unowned => "unowned",
            Self::FallingBehind => "falling-behind",
            Self::Uncovered => "uncovered",
            Self::UnreadableRow => "unreadable-row",
            Self::JavaRows => "java-rows",
            Self::Clock => "clock",
        }
    }
}

/// One thing that is wrong with a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// The shards that it is about, possibly none.
    pub shards: Vec<ShardId>,
    /// What is wrong, in one line.
    pub text: String,
    /// The command that says more or helps, or `None` if none does.
    pub command: Option<String>,
}
