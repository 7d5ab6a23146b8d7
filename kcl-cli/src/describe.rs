//! `kclctl describe`: shards, workers, findings.

use kcl_operate::{Finding, FleetReport, ShardReport, WorkerReport, WrittenBy, note, short_name};

use crate::args::{Describe, Output};
use crate::exit::End;
use crate::paint::Paint;
use crate::table::{self, number, text};
use crate::text::{checkpoint, count, lag, time, trend};
use crate::view::{View, print, print_json};

pub(crate) async fn run(view: &View, arguments: &Describe) -> anyhow::Result<End> {
    let app = view.application(arguments.target.app.as_deref())?;
    let scene = view.look(&app, &arguments.target.stream, |_| arguments.pause).await?;
    let report = scene.report();
    if view.is_json() {
        print_json(&report)?;
        return Ok(End::from(report.verdict));
    }
    let mut lines = vec![headline(&report, Paint(view.is_coloured()))];
    let (is_wide, width) = (view.output() == Output::Wide, view.width());
    if !arguments.workers {
        lines.extend(shards(&report, is_wide, arguments.ended, width));
    }
    if !arguments.shards && !report.workers.is_empty() {
        lines.extend(workers(&report.workers, is_wide, width));
    }
    lines.extend(findings(&report.findings, Paint(view.is_coloured())));
    if is_wide {
        let (units, rows) = (scene.looked.read_units, report.shards.len() + report.workers.len());
        lines.push(format!("cost: {units} read units for {rows} rows"));
    }
    print(&(lines.join("\n") + "\n"))?;
    Ok(End::from(report.verdict))
}

/// Which library writes a table.
pub(crate) const fn library(written_by: WrittenBy) -> &'static str {
    match written_by {
        WrittenBy::Empty => "–",
        WrittenBy::Ours => "ours",
        WrittenBy::Java2 => "Java 2.x",
        WrittenBy::Java3 => "Java 3.x",
        WrittenBy::Both => "ours and Java",
    }
}

fn headline(report: &FleetReport, paint: Paint) -> String {
    let mut parts = vec![report.application.clone()];
    if let Some(stream) = &report.stream {
        let kept = report.retention.map(|kept| format!(", kept {}", time(kept)));
        parts.push(format!("stream {stream}{}", kept.unwrap_or_default()));
    }
    parts.push(count(report.open_shards().count(), "shard"));
    parts.push(count(report.workers_alive(), "worker"));
    if report.written_by != WrittenBy::Ours {
        parts.push(format!("written by {}", library(report.written_by)));
    }
    parts.push(paint.verdict(report.verdict));
    parts.join("   ")
}

fn shards(
    report: &FleetReport,
    is_wide: bool,
    with_ended: bool,
    width: Option<usize>,
) -> Vec<String> {
    let mut columns = vec![
        text("SHARD", 0),
        text("STATE", 0),
        text("OWNER", 2),
        number("LAG", 0),
        number("TREND", 4),
        text("CHECKPOINT", 5),
        text("NOTE", 3),
    ];
    if is_wide {
        columns.extend([number("COUNTER", 9), number("TOKEN", 9)]);
        columns.extend([text("PARENTS", 9), text("HASH KEYS", 9)]);
    }
    let shown = |shard: &&ShardReport| with_ended || shard.state != kcl_operate::ShardState::Ended;
    let rows: Vec<_> =
        report.shards.iter().filter(shown).map(|shard| row(shard, is_wide)).collect();
    let hidden = report.shards.len() - rows.len();
    let mut lines = Vec::new();
    if !rows.is_empty() {
        // Without a second look no trend is known.
        let has_trend = report.shards.iter().any(|shard| shard.lag_trend.is_some());
        let (columns, rows) = without(columns, rows, 4, has_trend);
        lines.extend(table::lines(&columns, rows, width));
    }
    if hidden > 0 {
        let shards = count(hidden, "finished shard");
        lines.push(format!("{shards} left out: --ended shows them"));
    }
    lines
}

/// Leaves a column out that would be empty.
fn without(
    mut columns: Vec<table::Column>,
    mut rows: Vec<Vec<String>>,
    column: usize,
    is_kept: bool,
) -> (Vec<table::Column>, Vec<Vec<String>>) {
    if !is_kept {
        columns.remove(column);
        rows.iter_mut().for_each(|row| drop(row.remove(column)));
    }
    (columns, rows)
}

fn row(shard: &ShardReport, is_wide: bool) -> Vec<String> {
    let owner = shard.owner.as_ref();
    let owner = owner.map(|owner| if is_wide { owner.as_str() } else { owner.name() });
    let is_ended = shard.state == kcl_operate::ShardState::Ended;
    let mut cells = vec![
        short_name(&shard.shard),
        shard.state.to_string(),
        owner.filter(|_| !is_ended).unwrap_or("–").to_owned(),
        if is_ended { "–".to_owned() } else { lag(shard) },
        if is_ended { String::new() } else { trend(shard.lag_trend) },
        checkpoint(shard.checkpoint, is_wide),
        remark(shard),
    ];
    if is_wide {
        let parents: Vec<_> = shard.parents.iter().map(short_name).collect();
        cells.push(shard.counter.to_string());
        cells.push(shard.token.map_or_else(String::new, |token| token.to_string()));
        cells.push(parents.join(" "));
        cells.push(shard.hash_range.map_or_else(String::new, |range| range.to_string()));
    }
    cells
}

/// What is worth a word about a shard.
fn remark(shard: &ShardReport) -> String {
    if let Some(next) = &shard.next {
        return format!("to {}", next.name());
    }
    if let Some(parent) = &shard.waits_for {
        return format!("waits for shard {}", short_name(parent));
    }
    shard.hold_up.as_ref().map(note).unwrap_or_default()
}

fn workers(workers: &[WorkerReport], is_wide: bool, width: Option<usize>) -> Vec<String> {
    let mut columns = vec![
        text("WORKER", 0),
        text("STATE", 0),
        number("SHARDS", 0),
        number("WROTE", 1),
        number("EXPIRY", 2),
        text("LIVENESS", 3),
    ];
    if is_wide {
        columns.push(text("INCARNATION", 9));
    }
    let row = |worker: &WorkerReport| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let mut cells = vec![
            worker.name.clone(),
            worker.state.to_string(),
            worker.leases.to_string(),
            or_none(worker.wrote_ago.map(|ago| format!("{} ago", time(ago)))),
            or_none(worker.expiry.map(time)),
            or_none(worker.liveness.map(|it| it.to_string())),
        ];
        if is_wide {
            cells.push(worker.worker.to_string());
        }
        cells
    };
    table::lines(&columns, workers.iter().map(row).collect(), width)
}

/// The findings, each with its command.
pub(crate) fn findings(findings: &[Finding], paint: Paint) -> Vec<String> {
    let line = |finding: &Finding| {
        let command = finding.command.as_ref().map(|command| format!("   → {command}"));
        let (severity, text) = (paint.severity(finding.severity), &finding.text);
        format!("{severity} {text}{}", command.unwrap_or_default())
    };
    findings.iter().map(line).collect()
}
