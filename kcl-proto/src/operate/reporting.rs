//! What was seen → the report of a fleet.

use crate::model::HashKeyRange;
use crate::operate::finding::{Finding, Severity, Verdict};
use crate::operate::fleet_report::{FleetReport, WrittenBy};
use crate::operate::look::Seen;
use crate::operate::shard_report::{ShardReport, ShardState};
use crate::operate::{findings, state, worker_report};
use crate::shards::coverage::gaps;
use crate::shards::lineage::waiting;

impl FleetReport {
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
