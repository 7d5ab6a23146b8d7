//! Simulates fleets through storms of faults, and tells what broke.

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use kcl_local::sim::{Fault, Outcome, Scenario, Tally};

/// Simulates fleets through storms of faults, and tells what broke.
#[derive(Debug, Parser)]
struct Args {
    /// How many worlds.
    #[arg(default_value_t = 500)]
    seeds: u64,
    /// The first seed; the others follow.
    #[arg(default_value_t = 0)]
    base: u64,
    /// Only this scenario; else all in turn.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// On how many threads; one for each processor unless told otherwise.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
}

/// What all worlds came to.
#[derive(Default)]
struct Total {
    tally: Tally,
    simulated: Duration,
    /// How long the slowest fleet took to heal, and which it was.
    healed_in: (Duration, Option<(Scenario, u64)>),
    broken: Vec<(Scenario, u64, String)>,
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn main() -> ExitCode {
    let args = Args::parse();
    let threads = args.threads.or(std::thread::available_parallelism().ok());
    let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads.map_or(1, NonZero::get) {
            scope.spawn(|| work(&args, &next, &total));
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} worlds from seed {}, {:.1} simulated hours, {:.1} CPU seconds",
        args.seeds,
        args.base,
        total.simulated.as_secs_f64() / 3_600.0,
        cpu_seconds(),
    );
    if let (time, Some((scenario, seed))) = total.healed_in {
        println!("slowest to heal: {scenario} {seed} in {time:?}");
    }
    for fault in Fault::ALL {
        println!("{fault:<28} {:>10}", total.tally.of(fault));
    }
    for (scenario, seed, error) in &total.broken {
        println!("BROKEN {error}\n    ci/replay.sh {scenario} {seed}");
    }
    if total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(args: &Args, next: &AtomicU64, total: &Mutex<Total>) {
    loop {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        if nth >= args.seeds {
            return;
        }
        let seed = args.base + nth;
        let scenario = args.scenario.unwrap_or_else(|| Scenario::of_turn(seed));
        let outcome = if args.trace { scenario.run_traced(seed) } else { scenario.run(seed) };
        count(&outcome, &mut total.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn count(outcome: &Outcome, total: &mut Total) {
    for line in &outcome.trace {
        println!("{line}");
    }
    total.tally.add(&outcome.tally);
    total.simulated += outcome.simulated;
    if outcome.healed_in > total.healed_in.0 {
        total.healed_in = (outcome.healed_in, Some((outcome.scenario, outcome.seed)));
    }
    if let Some(error) = &outcome.error {
        let error: &dyn std::error::Error = error;
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        total.broken.push((outcome.scenario, outcome.seed, text));
    }
}

/// What this process has cost so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    f64::from(ticks) / 100.0
}
