//! Measures workers on tables of thousands of leases, and prints one JSON line for each row. Run by
//! `ci/measure.sh large`.
//!
//! Workers are real, each with a lease thread of its own; the table and the stream are in memory,
//! with 10 ms for a write and 100 ms for a page.
#![expect(clippy::print_stdout, reason = "the program prints its results")]

mod fleet;
mod rows;
mod stream;
mod table;

use std::time::Duration;

use clap::Parser;
use kcl_core::BoxError;
use kcl_core::config::Liveness;
use serde_json::json;

use crate::rows::{Kind, Row};
use crate::table::Speed;

/// Measures workers on tables of thousands of leases.
#[derive(Debug, Parser)]
struct Args {
    /// Measures only the rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Prints a row. Its figure must be at most `bar`.
fn print(name: &str, what: &str, bar: f64, row: &Row) {
    let holds = row.figure.is_some_and(|figure| figure <= bar);
    let line = json!({ "row": name, "what": what, "bar": bar, "figure": row.figure,
        "holds": holds, "more": row.more });
    println!("{line}");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let is_on = |name: &str| name.contains(&args.only);
    for (shards, bar) in [(1_000, 2.0), (3_000, 4.0), (10_000, 15.0)] {
        if is_on(&format!("hold-{shards}")) {
            let (held, gap, calls) = rows::hold(shards).await?;
            print(&format!("hold-{shards}"), "one worker holds all leases, s", bar, &held);
            print(&format!("gap-{shards}"), "longest time between renewals at rest, s", 5.0, &gap);
            print(&format!("calls-{shards}"), "calls in flight", 64.0, &calls);
        }
    }
    for (shards, workers, bar) in [(2_000, 4, 5.0), (10_000, 20, 20.0)] {
        if is_on(&format!("balance-{shards}")) {
            let row = rows::balance(shards, workers).await?;
            print(
                &format!("balance-{shards}"),
                &format!("{workers} workers have fair shares, s"),
                bar,
                &row,
            );
        }
    }
    if is_on("crash-10000") {
        let row = rows::crash(10_000, 7_000).await?;
        print(
            "crash-10000",
            "leases of one of 20 killed workers are held elsewhere, s",
            15.0,
            &row,
        );
    }
    if is_on("rest-10000") {
        let (lost, units, throttled) = rows::rest(10_000).await?;
        print("rest-10000", "lost takes a second, 20 workers at rest", 1.0, &lost);
        print("units-at-rest", "read units a second, 20 workers at rest", 100.0, &units);
        print("units-throttled", "the same with a third of the pages throttled", 100.0, &throttled);
    }
    if is_on("units-balancing") {
        let row = rows::join(10_000, 4_800).await?;
        print("units-balancing", "read units a second while one of 20 joins", 9_600.0, &row);
    }
    signs_of_life(&is_on).await?;
    alone(&is_on).await
}

/// The rows of fleets whose leases live by sessions, and the same of classical ones.
async fn signs_of_life(is_on: &(impl Fn(&str) -> bool + Sync)) -> Result<(), BoxError> {
    const NO_BAR: f64 = f64::INFINITY;
    const TRICKLE: Duration = Duration::from_secs(1);
    for (shards, workers, trickle, writes_bar, reads_bar) in [
        (12, 3, None, 1.0, NO_BAR),
        (12, 3, Some(TRICKLE), 1.0, NO_BAR),
        (100, 10, None, 3.5, NO_BAR),
        (1_000, 30, None, 10.0, 35.0),
        (10_000, 200, None, 65.0, 250.0),
    ] {
        for (mode, liveness, writes_bar, reads_bar) in [
            ("sessions", Liveness::Session, writes_bar, reads_bar),
            ("counters", Liveness::Counter, NO_BAR, NO_BAR),
        ] {
            let with = if trickle.is_some() { "-trickle" } else { "" };
            let name = format!("{mode}-{shards}x{workers}{with}");
            let kind = Kind { shards, workers, liveness, trickle };
            if is_on(&name) {
                let (writes, reads, crash) = rows::signs_of_life(kind).await?;
                print(&name, "write units a second at rest", writes_bar, &writes);
                let what = "read units a second at rest";
                print(&format!("{name}-reads"), what, reads_bar, &reads);
                let what = "leases of a killed worker are held elsewhere, slowest of 5, s";
                print(&format!("{name}-crash"), what, 12.0, &crash);
            }
        }
    }
    Ok(())
}

/// The rows of one worker without a fleet.
async fn alone(is_on: &(impl Fn(&str) -> bool + Sync)) -> Result<(), BoxError> {
    for (leases_max, bar) in [(3, 3.0), (10, 10.0), (100, 100.0)] {
        if is_on(&format!("max-{leases_max}")) {
            let row = rows::maximum(10_000, leases_max).await?;
            print(&format!("max-{leases_max}"), "the most leases held at any moment", bar, &row);
        }
    }
    if is_on("cpu") {
        let row = rows::cpu(10_000, 1_000).await?;
        print(
            "cpu",
            "percent of a core, lease thread at rest, 1,000 of 10,000 leases held",
            10.0,
            &row,
        );
    }
    if is_on("first-start") {
        let capacity =
            Speed { write: Duration::from_millis(5), capacity: Some(100), ..Speed::default() };
        let row = rows::first_start(2_000, capacity).await?;
        print("first-start-2000", "2,000 leases at 100 writes a second exist, s", 25.0, &row);
        let slow = Speed { write: Duration::from_millis(100), ..Speed::default() };
        let row = rows::first_start(6_000, slow).await?;
        print("first-start-6000", "6,000 leases at 100 ms a write exist, s", 60.0, &row);
    }
    if is_on("memory-own") {
        print("memory-own", "KB for an idle shard of one's own", 20.0, &rows::memory(None).await?);
    }
    if is_on("memory-other") {
        print(
            "memory-other",
            "KB for a lease of another worker",
            10.0,
            &rows::memory(Some(1)).await?,
        );
    }
    Ok(())
}
