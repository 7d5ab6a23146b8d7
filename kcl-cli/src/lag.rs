//! `kclctl lag`: a check for scripts.

use std::time::Duration;

use kcl_operate::{FleetReport, ShardReport, ShardState, short_name};
use serde_json::{Value, json};

use crate::args::Lag;
use crate::exit::End;
use crate::table::{self, number, text};
use crate::text::{lag, time, trend};
use crate::view::{View, print, print_json};

pub(crate) async fn run(view: &View, arguments: &Lag) -> anyhow::Result<End> {
    let app = view.application(arguments.target.app.as_deref())?;
    let scene = view.look(&app, &arguments.target.stream, |_| arguments.pause).await?;
    let report = scene.report();
    let end = judge(&report, arguments.max);
    if view.is_json() {
        print_json(&value(&report, arguments.max, end))?;
        return Ok(end);
    }
    let columns = [
        text("SHARD", 0),
        number("LAG", 0),
        number("TREND", 2),
        text("STATE", 1),
        number("TRIMMED IN", 3),
    ];
    let row = |shard: &ShardReport| {
        let kept = report.retention.filter(|_| !shard.lag_is_bound);
        let left = kept.and_then(|kept| Some(kept.saturating_sub(shard.lag?)));
        vec![
            short_name(&shard.shard),
            lag(shard),
            trend(shard.lag_trend),
            shard.state.to_string(),
            left.map_or_else(|| "?".to_owned(), time),
        ]
    };
    let rows = report.open_shards().map(row).collect();
    let mut lines = table::lines(&columns, rows, view.width());
    lines.push(summary(&report, arguments.max));
    print(&(lines.join("\n") + "\n"))?;
    Ok(end)
}

/// Whether a shard is too far behind, or stands still. A lag that may be less does not count.
fn judge(report: &FleetReport, max: Duration) -> End {
    let is_bad = |shard: &ShardReport| {
        let is_late = shard.lag.is_some_and(|lag| lag > max) && !shard.lag_is_bound;
        is_late || shard.state == ShardState::Stuck
    };
    if report.open_shards().any(is_bad) { End::Unhealthy } else { End::Good }
}

/// The shard that is furthest behind, by what is known.
fn worst(report: &FleetReport) -> Option<&ShardReport> {
    let known = report.open_shards().filter(|shard| !shard.lag_is_bound && shard.lag.is_some());
    known.max_by_key(|shard| shard.lag)
}

fn summary(report: &FleetReport, max: Duration) -> String {
    let Some((shard, lag)) = worst(report).and_then(|shard| Some((shard, shard.lag?))) else {
        return "no lag is known: rows of the Java KCL only say how far it may be at most"
            .to_owned();
    };
    let verdict = if lag > max { "over" } else { "within" };
    let name = short_name(&shard.shard);
    format!("maximum {} (shard {name}): {verdict} {}", time(lag), time(max))
}

fn value(report: &FleetReport, max: Duration, end: End) -> Value {
    let shard = |shard: &ShardReport| {
        json!({
            "shard": shard.shard,
            "state": shard.state,
            "lag_seconds": shard.lag.map(|lag| lag.as_secs_f64()),
            "lag_is_bound": shard.lag_is_bound,
            "lag_trend": shard.lag_trend,
        })
    };
    json!({
        "schema": FleetReport::SCHEMA,
        "application": report.application,
        "at": report.at,
        "max_seconds": max.as_secs_f64(),
        "is_good": end == End::Good,
        "lag_max_seconds": report.lag_max.map(|lag| lag.as_secs_f64()),
        "shards": report.open_shards().map(shard).collect::<Vec<_>>(),
    })
}
