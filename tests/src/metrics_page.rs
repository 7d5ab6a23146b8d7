//! The tables of `docs/operating/metrics.md`, made of the catalogue.

use std::fmt::Write as _;

use kcl_core::metrics::{CATALOGUE, Dimension, Java, Kind, Level, Metric, Part, Unit};

/// The table of all metrics.
#[must_use]
pub fn catalogue() -> String {
    let mut table = "| Name | Kind, unit | Labels | When |\n|---|---|---|---|\n".to_owned();
    for metric in CATALOGUE {
        let (name, kind, unit, when) = (metric.name, kind(metric), unit(metric), metric.when);
        let labels = labels(metric);
        writeln!(table, "| `{name}` | {kind}{unit} | {labels} | {when} |").unwrap_or_default();
    }
    table
}

/// The table of the metrics that the Java KCL has too.
#[must_use]
pub fn java() -> String {
    let mut rows: Vec<_> = CATALOGUE
        .iter()
        .flat_map(|metric| metric.java.iter().map(|java| java_row(metric, java)))
        .collect();
    rows.sort_unstable();
    let head = "| Operation | Metric | Second dimension | Unit | Level | Of |\n\
                |---|---|---|---|---|---|\n";
    head.to_owned() + &rows.concat()
}

fn java_row(metric: &Metric, java: &Java) -> String {
    let Java { operation, name, .. } = java;
    let dimension = match java.dimension {
        None => "",
        Some(Dimension::Shard) => "`ShardId`",
        Some(Dimension::Worker) => "`WorkerIdentifier`",
    };
    let unit = match metric.unit {
        Unit::Count => "Count",
        Unit::Bytes => "Bytes",
        Unit::Seconds => "Milliseconds",
    };
    let level = match java.level {
        Level::Summary => "SUMMARY",
        Level::Detailed => "DETAILED",
    };
    let of = match java.part {
        Part::All => format!("`{}`", metric.name),
        Part::Only(values) => format!("`{}`, {}", metric.name, quoted(values, " and ")),
        Part::Success { of, outcomes } => {
            let of = of.map(|of| format!(" of `{of}`")).unwrap_or_default();
            format!("`{}`{of}: 1 for {}, else 0", metric.name, quoted(outcomes, " and "))
        }
    };
    format!("| `{operation}` | `{name}` | {dimension} | {unit} | {level} | {of} |\n")
}

/// The words as code.
fn quoted(words: &[&str], between: &str) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(between)
}

const fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

const fn unit(metric: &Metric) -> &'static str {
    match metric.unit {
        Unit::Count => "",
        Unit::Bytes => ", bytes",
        Unit::Seconds => ", seconds",
    }
}

fn labels(metric: &Metric) -> String {
    let label = |label: &kcl_core::metrics::Label| match label.name {
        name if label.is_shard() => format!("`{name}`"),
        "version" => "`version`".to_owned(), // Its value changes with each release.
        name => format!("`{name}`: {}", quoted(label.values, ", ")),
    };
    metric.labels.iter().map(label).collect::<Vec<_>>().join("; ")
}
