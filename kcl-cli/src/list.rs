//! `kclctl list`: the fleets of an account.

use kcl_operate::{FleetReport, OperateError, Seen, Verdict, lease_tables};
use serde_json::{Value, json};

use crate::args::List;
use crate::describe::library;
use crate::exit::End;
use crate::table::{self, number, text};
use crate::text::time;
use crate::view::{View, print, print_json};

/// A table, and what it shows.
type Found = (String, Option<Result<FleetReport, OperateError>>);

pub(crate) async fn run(view: &View, arguments: &List) -> anyhow::Result<End> {
    let sdk = view.sdk().await;
    let progress = view.progress("listing tables".to_owned());
    let mut found: Vec<Found> = Vec::new();
    for table in lease_tables(&sdk).await? {
        progress.set_message(format!("reading {table}"));
        let looker = view.looker(&sdk, &table)?;
        let report = if arguments.quick { None } else { Some(looker.look().await) };
        let report = report.map(|it| it.map(|it| FleetReport::of(&Seen::once(&table, &it.look))));
        found.push((table, report));
    }
    progress.finish_and_clear();
    let is_bad = |(_, report): &Found| match report {
        Some(Ok(report)) => report.verdict != Verdict::Healthy,
        Some(Err(_)) | None => false,
    };
    let end = if found.iter().any(is_bad) { End::Unhealthy } else { End::Good };
    if view.is_json() {
        print_json(&found.iter().map(value).collect::<Vec<_>>())?;
        return Ok(end);
    }
    let lines = if found.is_empty() {
        vec!["no lease table in this account and region".to_owned()]
    } else if arguments.quick {
        found.into_iter().map(|(table, _)| table).collect()
    } else {
        let columns = [
            text("APP", 0),
            text("STREAM", 3),
            text("WRITTEN BY", 4),
            number("WORKERS", 2),
            number("SHARDS", 2),
            number("LAG", 1),
            text("VERDICT", 0),
        ];
        table::lines(&columns, found.iter().map(row).collect(), view.width())
    };
    print(&(lines.join("\n") + "\n"))?;
    Ok(end)
}

fn row((table, report): &Found) -> Vec<String> {
    let report = match report {
        Some(Ok(report)) => report,
        Some(Err(error)) => {
            let unknown = || "?".to_owned();
            let mut cells = vec![table.clone()];
            cells.extend([unknown(), unknown(), unknown(), unknown(), unknown()]);
            cells.push(error.to_string());
            return cells;
        }
        None => return vec![table.clone()],
    };
    let first = report.findings.first().map(|finding| format!(": {}", finding.text));
    vec![
        table.clone(),
        report.stream.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
        library(report.written_by).to_owned(),
        report.workers_alive().to_string(),
        report.open_shards().count().to_string(),
        report.lag_max.map_or_else(|| "?".to_owned(), time),
        format!("{}{}", report.verdict.to_string().to_uppercase(), first.unwrap_or_default()),
    ]
}

fn value((table, report): &Found) -> Value {
    match report {
        None => json!({ "application": table }),
        Some(Err(error)) => json!({ "application": table, "error": error.to_string() }),
        Some(Ok(report)) => json!({
            "application": table,
            "stream": report.stream,
            "written_by": report.written_by,
            "workers": report.workers_alive(),
            "shards": report.open_shards().count(),
            "lag_max_seconds": report.lag_max.map(|lag| lag.as_secs_f64()),
            "verdict": report.verdict,
            "findings": report.findings,
        }),
    }
}
