//! A report → what is wrong: one finding for each kind of trouble, the worst first.

use std::time::Duration;

use crate::model::ShardId;
use crate::operate::finding::{Finding, FindingKind, Severity};
use crate::operate::fleet_report::{FleetReport, WrittenBy};
use crate::operate::look::Seen;
use crate::operate::shard_report::{ShardReport, ShardState, note, short_name};

/// How many shards a finding names.
const NAMED_MAX: usize = 3;

/// From which clock difference on, in seconds, a worker's signature is refused by AWS.
const CLOCK_REFUSED: i64 = 300;

/// Returns the findings of a report whose own are still empty.
pub(super) fn of(report: &FleetReport, seen: &Seen<'_>) -> Vec<Finding> {
    let of_kind = |kind| match kind {
        FindingKind::NoLeases => no_leases(report),
        FindingKind::NoWorkers => no_workers(report),
        FindingKind::Lost => at_risk(report, kind, Severity::Error, 1),
        FindingKind::AtRisk => at_risk(report, kind, Severity::Warning, 2),
        FindingKind::Stuck => {
            let rest = ("stands still while records wait", "stand still while records wait");
            of_state(report, kind, ShardState::Stuck, Severity::Error, rest)
        }
        FindingKind::Expired => {
            let rest = ("has an owner that is dead", "have owners that are dead");
            of_state(report, kind, ShardState::Expired, Severity::Warning, rest)
        }
        FindingKind::Unowned => {
            let rest = ("has no owner", "have no owner");
            of_state(report, kind, ShardState::Unowned, Severity::Warning, rest)
        }
        FindingKind::FallingBehind => {
            let rest = ("falls further behind", "fall further behind");
            of_state(report, kind, ShardState::FallingBehind, Severity::Warning, rest)
        }
        FindingKind::Uncovered => uncovered(report),
        FindingKind::UnreadableRow => unreadable(seen),
        FindingKind::JavaRows => java_rows(report, seen),
        FindingKind::Clock => clock(report),
    };
    let mut findings: Vec<_> = FindingKind::ALL.into_iter().filter_map(of_kind).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn finding(kind: FindingKind, severity: Severity, text: String) -> Finding {
    Finding { kind, severity, shards: Vec::new(), text, command: None }
}

/// Returns a finding about these shards. Its text begins with their names; `rest` says what is the
/// matter with one, and with several.
fn of_shards(
    report: &FleetReport,
    (kind, severity): (FindingKind, Severity),
    shards: &[&ShardReport],
    rest: (&str, &str),
) -> Option<Finding> {
    let first = shards.first()?;
    let names = names(shards.iter().map(|shard| &shard.shard));
    let rest = if shards.len() == 1 { rest.0 } else { rest.1 };
    let mut finding = finding(kind, severity, format!("{names} {rest}"));
    finding.shards = shards.iter().map(|shard| shard.shard.clone()).collect();
    let name = short_name(&first.shard);
    finding.command = Some(format!("kclctl why {} {name}", report.application));
    Some(finding)
}

/// Returns the names of shards for people: `shard 2`, or `shards 0, 1, 2 and 7 more`.
fn names<'a>(shards: impl ExactSizeIterator<Item = &'a ShardId>) -> String {
    let count = shards.len();
    let noun = if count == 1 { "shard" } else { "shards" };
    let named: Vec<_> = shards.take(NAMED_MAX).map(short_name).collect();
    let more = count.saturating_sub(named.len());
    match named.split_last() {
        Some((last, first)) if more == 0 && !first.is_empty() => {
            format!("{noun} {} and {last}", first.join(", "))
        }
        _ if more == 0 => format!("{noun} {}", named.join(", ")),
        _ => format!("{noun} {} and {more} more", named.join(", ")),
    }
}

fn of_state(
    report: &FleetReport,
    kind: FindingKind,
    state: ShardState,
    severity: Severity,
    rest: (&str, &str),
) -> Option<Finding> {
    let shards: Vec<_> = report.shards.iter().filter(|shard| shard.state == state).collect();
    let mut finding = of_shards(report, (kind, severity), &shards, rest)?;
    if let [shard] = &*shards
        && let Some(hold_up) = &shard.hold_up
    {
        finding.text = format!("{}: {}", finding.text, note(hold_up));
    }
    Some(finding)
}

/// Shards whose records are trimmed before they are processed, or are about to: behind by the
/// retention, or by half of it.
fn at_risk(
    report: &FleetReport,
    kind: FindingKind,
    severity: Severity,
    part: u32,
) -> Option<Finding> {
    let retention = report.retention?;
    let is_lost = |lag: Duration| lag >= retention;
    let is_meant = |lag: Duration| {
        if part == 1 { is_lost(lag) } else { !is_lost(lag) && lag >= retention / part }
    };
    let known = report.open_shards().filter(|shard| !shard.lag_is_bound);
    let shards: Vec<_> = known.filter(|shard| shard.lag.is_some_and(is_meant)).collect();
    let rest = if part == 1 {
        ("is behind by more than the stream keeps", "are behind by more than the stream keeps")
    } else {
        ("is behind by over half of what the stream keeps", "are behind by over half of that")
    };
    of_shards(report, (kind, severity), &shards, rest)
}

fn no_leases(report: &FleetReport) -> Option<Finding> {
    let text = "the table has no lease: no worker has finished its first start".to_owned();
    let kind = FindingKind::NoLeases;
    report.shards.is_empty().then(|| finding(kind, Severity::Info, text))
}

fn no_workers(report: &FleetReport) -> Option<Finding> {
    let has_work = report.open_shards().next().is_some();
    let text = "no worker runs, and there is work".to_owned();
    let is_empty = has_work && report.workers_alive() == 0;
    is_empty.then(|| finding(FindingKind::NoWorkers, Severity::Error, text))
}

fn uncovered(report: &FleetReport) -> Option<Finding> {
    let holes = report.uncovered.as_ref().filter(|_| !report.shards.is_empty())?;
    let first = holes.first()?;
    let more = match holes.len() {
        1 => String::new(),
        count => format!(" and {} more ranges", count - 1),
    };
    let text = format!("hash keys {first}{more} have no lease: their records are not read");
    let mut finding = finding(FindingKind::Uncovered, Severity::Error, text);
    finding.command = Some(format!("kclctl describe {} -o wide", report.application));
    Some(finding)
}

fn unreadable(seen: &Seen<'_>) -> Option<Finding> {
    let rows = &seen.look.unreadable;
    let first = rows.first()?;
    let text = match rows.len() {
        1 => format!("row {:?} is unreadable: {}", first.key, first.problem),
        count => format!("{count} rows are unreadable, such as {:?}: {}", first.key, first.problem),
    };
    Some(finding(FindingKind::UnreadableRow, Severity::Warning, text))
}

fn java_rows(report: &FleetReport, seen: &Seen<'_>) -> Option<Finding> {
    let has_ours = !seen.look.sessions.is_empty() || seen.look.stream().is_some();
    let java = &seen.look.java;
    let text = match report.written_by {
        WrittenBy::Both => "leases of this library and of the Java KCL are mixed: workers of one \
                            of them take leases from the other"
            .to_owned(),
        WrittenBy::Ours if !java.is_empty() => format!(
            "{} of the Java KCL are left, such as {:?}: each start waits until they have stood \
             still for 90 s",
            count(java.len(), "row", "rows"),
            java.first()?.key
        ),
        WrittenBy::Java2 | WrittenBy::Java3 if has_ours => {
            "the leases are the Java KCL's: workers of this library wait until they have stood \
             still for 90 s"
                .to_owned()
        }
        WrittenBy::Empty | WrittenBy::Ours | WrittenBy::Java2 | WrittenBy::Java3 => return None,
    };
    let is_mixed = report.written_by == WrittenBy::Both;
    let severity = if is_mixed { Severity::Warning } else { Severity::Info };
    Some(finding(FindingKind::JavaRows, severity, text))
}

fn count(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn clock(report: &FleetReport) -> Option<Finding> {
    let off = report.workers.iter().filter_map(|worker| Some((worker, worker.clock_ahead?)));
    let (worker, ahead) = off.max_by_key(|(_, ahead)| ahead.abs())?;
    let direction = if ahead > 0 { "ahead" } else { "behind" };
    let seconds = ahead.abs();
    let text = format!("the clock of {} is about {seconds} s {direction}", worker.name);
    let is_refused = seconds >= CLOCK_REFUSED;
    let text = if is_refused {
        format!("{text}: AWS refuses signatures that are 5 minutes off")
    } else {
        text
    };
    Some(finding(FindingKind::Clock, Severity::Warning, text))
}
