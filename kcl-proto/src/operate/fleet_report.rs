//! A fleet, as its table shows it.

use std::time::Duration;

use crate::model::{HashKeyRange, StreamArn, StreamName, Timestamp};
use crate::operate::finding::{Finding, Severity, Verdict};
use crate::operate::findings;
use crate::operate::look::Seen;
use crate::operate::shard_report::{ShardReport, ShardState};
use crate::operate::state;
use crate::operate::worker_report::{self, WorkerReport};
use crate::shards::coverage::gaps;
use crate::shards::lineage::waiting;

/// Which library writes the leases of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum WrittenBy {
    /// There is no lease.
    Empty,
    /// This library.
    Ours,
    /// The Java KCL 2.x, or 1.x.
    Java2,
    /// The Java KCL 3.x.
    Java3,
    /// Both, at least by the last writes to their rows.
    Both,
}

/// A fleet at one moment, made of the rows of its table. In JSON fields are only added.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FleetReport {
    /// The version of its JSON.
    pub schema: u32,
    /// The application.
    pub application: String,
    /// The stream, or `None` if nothing says it.
    pub stream: Option<StreamName>,
    /// The stream's ARN, as the table says it.
    pub stream_arn: Option<StreamArn>,
    /// When the table was read.
    pub at: Timestamp,
    /// How the fleet is.
    pub verdict: Verdict,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
    /// Which library writes its leases.
    pub written_by: WrittenBy,
    /// The greatest lag of a shard, or `None` if no lag is known.
    #[cfg_attr(feature = "serde", serde(rename = "lag_max_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub lag_max: Option<Duration>,
    /// How long the stream keeps records, or `None` if the stream was not read.
    #[cfg_attr(feature = "serde", serde(rename = "retention_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub retention: Option<Duration>,
    /// The shards that have leases, in the order of their ids.
    pub shards: Vec<ShardReport>,
    /// The workers, in the order of their ids.
    pub workers: Vec<WorkerReport>,
    /// The hash keys that no lease covers; `None` if a lease does not say which ones it has.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::ranges"))]
    pub uncovered: Option<Vec<HashKeyRange>>,
}

impl FleetReport {
    /// The version of its JSON.
    pub const SCHEMA: u32 = 1;

    /// Makes the report of what was seen.
    #[must_use]
    pub fn of(seen: &Seen<'_>) -> Self {
        let look = seen.look;
        let listed = seen.stream.map(|stream| &*stream.shards);
        let waiting = waiting(&look.leases, listed);
        let shards: Vec<_> =
            look.leases.values().map(|lease| state::report(lease, &waiting, seen)).collect();
        let workers = worker_report::reports(seen);
        let start = look.stream();
        let stream = seen.stream.map(|stream| stream.name.clone());
        let open = shards.iter().filter(|shard| shard.state != ShardState::Ended);
        let known = open.clone().filter(|shard| !shard.lag_is_bound);
        let mut report = Self {
            schema: Self::SCHEMA,
            application: seen.application.to_owned(),
            stream: stream.or_else(|| start.map(|start| start.stream.clone())),
            stream_arn: start.map(|start| start.arn.clone()),
            at: look.at,
            verdict: Verdict::Healthy,
            findings: Vec::new(),
            written_by: written_by(seen, &shards),
            lag_max: known.filter_map(|shard| shard.lag).max(),
            retention: seen.stream.map(|stream| stream.retention),
            uncovered: uncovered(&shards),
            shards,
            workers,
        };
        report.findings = findings::of(&report, seen);
        report.verdict = report.judge();
        report
    }

    /// Returns the shards that are not finished.
    pub fn open_shards(&self) -> impl Iterator<Item = &ShardReport> {
        self.shards.iter().filter(|shard| shard.state != ShardState::Ended)
    }

    /// Returns how many workers run, or may.
    #[must_use]
    pub fn workers_alive(&self) -> usize {
        self.workers.iter().filter(|worker| worker.may_work()).count()
    }

    fn judge(&self) -> Verdict {
        let mut workable = self.open_shards().filter(|shard| shard.is_workable()).peekable();
        let is_idle = |shard: &ShardReport| {
            matches!(shard.state, ShardState::Stuck | ShardState::Unowned | ShardState::Expired)
        };
        if workable.peek().is_some() && workable.all(is_idle) {
            return Verdict::Down;
        }
        let is_bad = |finding: &Finding| finding.severity > Severity::Info;
        if self.findings.iter().any(is_bad) { Verdict::Degraded } else { Verdict::Healthy }
    }
}

fn written_by(seen: &Seen<'_>, shards: &[ShardReport]) -> WrittenBy {
    let ours = shards.iter().any(|shard| shard.is_ours);
    // A lease that no worker took yet is no sign of Java in a table that is ours.
    let has_start = ours || seen.look.stream().is_some();
    let is_java = |shard: &&ShardReport| {
        !shard.is_ours && (shard.owner.is_some() || shard.counter.0 > 0 || !has_start)
    };
    let java = shards.iter().any(|shard| is_java(&shard));
    match (ours || (has_start && !java && !shards.is_empty()), java) {
        (false, false) => WrittenBy::Empty,
        (true, false) => WrittenBy::Ours,
        (true, true) => WrittenBy::Both,
        (false, true) if seen.look.java.is_empty() => WrittenBy::Java2,
        (false, true) => WrittenBy::Java3,
    }
}

/// The hash keys without a lease that will be worked on. A finished shard's keys belong to its
/// children.
fn uncovered(shards: &[ShardReport]) -> Option<Vec<HashKeyRange>> {
    let open = shards.iter().filter(|shard| shard.state != ShardState::Ended);
    let ranges: Option<Vec<_>> = open.map(|shard| shard.hash_range).collect();
    ranges.map(|ranges| gaps(HashKeyRange::FULL, ranges))
}
