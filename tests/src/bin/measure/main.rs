//! Measures, and prints one JSON line for each row of `docs/internals/performance.md`: a fleet of
//! real processes, records of many keys, or the memory of records. Run by `ci/measure.sh`.
//!
//! Faults strike at random moments: a fixed delay would lock onto the periodic scans.
#![expect(clippy::print_stdout, reason = "the program prints its results")]

mod large_fleet;
mod lease_watch;
mod memory;
mod per_key;
mod rows;
mod services;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use kcl_core::model::Liveness;
use serde_json::{Value, json};

/// Measures.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// The worker's binary.
    #[arg(long)]
    worker: PathBuf,
    /// Fleet: what proves that a worker is alive, counter or session.
    #[arg(long, default_value_t)]
    liveness: Liveness,
    /// Fleet: the lease expiry, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    expiry_ms: u64,
    /// The number of repetitions of each measurement.
    #[arg(long, default_value_t = 5)]
    trials: u32,
    /// Memory: every n-th shard is slow.
    #[arg(long, default_value_t = 8)]
    slow_every: usize,
    /// Measure only the rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Start, crash, stop, replacement, scale-out, reshard, steady state, idle cost.
    Fleet,
    /// The memory of a worker with many shards full of large records.
    Memory,
    /// Three processes that read 600 shards, and services that stumble.
    Large,
    /// Records of many keys, one at a time and concurrently.
    PerKey,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.what {
        What::Fleet => fleet(&args).await,
        What::Large => {
            large_fleet::measure(&args).await?;
            services::measure(&args).await
        }
        What::Memory => memory::measure(&args).await,
        What::PerKey => per_key::measure(&args).await,
    }
}

impl Args {
    fn expiry(&self) -> Duration {
        Duration::from_millis(self.expiry_ms)
    }

    /// The arguments of each worker of a small fleet.
    fn of_workers(&self) -> [String; 4] {
        let (expiry, liveness) = (self.expiry_ms.to_string(), self.liveness.to_string());
        ["--failover-ms".to_owned(), expiry, "--liveness".to_owned(), liveness]
    }
}

async fn fleet(args: &Args) -> anyhow::Result<()> {
    let is_selected = |name: &str| name.contains(&args.only);
    let print = |row: &str, what: &str, floor: f64, Row { worst, more }: Row| {
        let more = json!({ "liveness": args.liveness.to_string(),
            "expiry_s": args.expiry().as_secs_f64(), "of": more });
        print(row, what, floor, Row { worst, more });
    };
    if is_selected("start") {
        print("start", "process start to first record, 4 shards, s", 1.0, rows::start(args).await?);
    }
    if is_selected("crash") {
        let expiry = args.expiry().as_secs_f64();
        let floor = expiry + if expiry < 5.0 { 1.0 } else { 2.0 };
        let crash = rows::crash(args).await?;
        print("crash", "SIGKILL to the slowest shard delivered, s", floor, crash);
    }
    if is_selected("stop") {
        let (stop, silence) = rows::stop(args).await?;
        print("stop", "SIGTERM to the slowest shard delivered, s", 2.6, stop);
        print("silence", "longest gap of a shard while one of three stops, s", 1.3, silence);
    }
    if is_selected("roll") {
        print("roll", "longest gap while all three are replaced, s", 1.3, rows::roll(args).await?);
    }
    if is_selected("scale") {
        print("scale", "2 to 4 workers: each holds 3, s", 6.0, rows::scale(args).await?);
    }
    if is_selected("reshard") {
        print(
            "reshard",
            "last of the parent to first of each child, s",
            3.0,
            rows::reshard(args).await?,
        );
    }
    if is_selected("steady") {
        print(
            "steady",
            "DynamoDB writes a minute, 12 shards, 3 workers",
            match args.liveness {
                Liveness::Counter => 320.0,
                Liveness::Session => 60.0,
            },
            rows::steady(args).await?,
        );
    }
    if is_selected("latency") {
        let what = "put to delivery, 10 records a second and shard, median, s";
        print("latency", what, 0.35, rows::latency(args).await?);
    }
    if is_selected("idle") {
        print("idle", "resident MB of an idle worker of 12 shards", 25.0, rows::idle(args).await?);
    }
    Ok(())
}

/// Prints a row whose figure must reach its floor.
fn print_at_least(row: &str, what: &str, floor: f64, Row { worst, more }: Row) {
    let holds = worst >= floor;
    println!(
        "{}",
        json!({ "row": row, "what": what, "floor": floor, "worst": worst, "holds": holds, "more": more })
    );
}

/// The result of a row: its worst figure, and details.
struct Row {
    worst: f64,
    more: Value,
}

fn print(row: &str, what: &str, floor: f64, Row { worst, more }: Row) {
    let holds = worst <= floor;
    println!(
        "{}",
        json!({ "row": row, "what": what, "floor": floor, "worst": worst, "holds": holds, "more": more })
    );
}
