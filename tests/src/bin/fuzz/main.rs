//! Runs the fuzz targets on random inputs for a given time. `ci/fuzz.sh` uses it if no
//! coverage-guided fuzzer is installed. The same seed yields the same inputs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the program prints its results")]

mod inputs;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kcl_tests::fuzz::{TARGETS, Target};
use tokio::time::Instant;

use crate::inputs::Inputs;

/// The number of executions between two checks of the clock.
const ROUND: u64 = 1_000;

/// Fuzzes every decoder.
#[derive(Debug, Parser)]
struct Args {
    /// How long to run, over all targets.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The seed of the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only this target.
    #[arg(long)]
    target: Option<String>,
    /// Run the target on this input alone, in hexadecimal.
    #[arg(long, requires = "target")]
    input: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let is_selected = |name: &str| args.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| is_selected(name)).collect();
    let Ok(count) = u32::try_from(targets.len()) else { return ExitCode::FAILURE };
    let mut total = 0;
    for (name, target) in targets {
        if let Some(input) = &args.input {
            target(&inputs::unhex(input));
            continue;
        }
        let time = Duration::from_secs(u64::from(args.seconds)) / count;
        match run(name, target, time, args.seed) {
            Ok(executions) => {
                println!("fuzz {name}: {executions} executions, seed {}", args.seed);
                total += executions;
            }
            Err(input) => {
                eprintln!(
                    "replay: cargo run --profile test -p kcl-tests --bin fuzz -- --target {name} --input {input}"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    println!("fuzz: {total} executions without a finding");
    ExitCode::SUCCESS
}

/// Returns how often the target ran, or the input that it failed on.
fn run(name: &str, target: Target, time: Duration, seed: u64) -> Result<u64, String> {
    let (mut inputs, mut executions) = (Inputs::new(name, seed), 0);
    let end = Instant::now() + time;
    while Instant::now() < end {
        for _ in 0..ROUND {
            let input = inputs.next();
            if catch_unwind(|| target(&input)).is_err() {
                return Err(inputs::hex(&input));
            }
            executions += 1;
        }
    }
    Ok(executions)
}
