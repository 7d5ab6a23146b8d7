//! Simulates fleets through storms of faults, and reports broken promises.

use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::Parser;
use kcl_sim::{Campaign, FleetMode, Oracle, Scenario, WorldId};

/// Simulates fleets through storms of faults, and reports broken promises.
#[derive(Debug, Parser)]
struct Args {
    /// The number of worlds.
    #[arg(default_value_t = 500)]
    seeds: u64,
    /// The first seed. The others follow it.
    #[arg(default_value_t = 0)]
    base: u64,
    /// Runs this scenario only, instead of all in turn.
    #[arg(long)]
    scenario: Option<Scenario>,
    /// Runs all worlds in this mode only, instead of all in turn.
    #[arg(long)]
    mode: Option<FleetMode>,
    /// Prints a line for everything that happens, on one thread.
    #[arg(long)]
    trace: bool,
    /// Does not check this promise about load, to see what lies behind it. On one thread.
    #[arg(long)]
    ignore: Vec<Oracle>,
    /// The number of threads. By default, one per processor.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
}

#[expect(clippy::print_stdout, reason = "the command reports on standard output")]
fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.base..args.base.saturating_add(args.seeds);
    let campaign = if args.trace {
        let mut campaign = Campaign::default();
        for seed in seeds {
            let world = WorldId::of(seed, args.scenario, args.mode);
            let outcome = world.scenario.run_traced(world.mode, seed);
            outcome.trace.iter().for_each(|line| println!("{line}"));
            campaign.count(&outcome);
        }
        campaign
    } else if !args.ignore.is_empty() {
        let mut campaign = Campaign::default();
        for seed in seeds {
            let world = WorldId::of(seed, args.scenario, args.mode);
            campaign.count(&world.scenario.run_ignoring(world.mode, seed, &args.ignore));
        }
        campaign
    } else {
        let threads = args.threads.or_else(|| available_parallelism().ok());
        Campaign::run(seeds, args.scenario, args.mode, threads.unwrap_or(NonZero::<usize>::MIN))
    };
    let (hours, cpu) = (campaign.simulated.as_secs_f64() / 3_600.0, cpu_seconds() / 3_600.0);
    println!(
        "{} worlds from seed {}: {hours:.1} simulated hours in {cpu:.4} CPU hours, {:.0} for one",
        campaign.worlds,
        args.base,
        hours / cpu.max(f64::EPSILON),
    );
    print!("{campaign}");
    if campaign.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the CPU time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    f64::from(ticks) / 100.0
}
