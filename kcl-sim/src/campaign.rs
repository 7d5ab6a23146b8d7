//! Campaigns: many worlds, on several threads.

use std::error::Error;
use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::fault::{Fault, Tally};
use crate::fleet_mode::FleetMode;
use crate::scenario::{Outcome, Scenario};

/// One world among many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldId {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
    /// What the leases of its workers live by.
    pub mode: FleetMode,
}

impl WorldId {
    /// Returns the world of a seed. Without a `scenario`, seeds take all scenarios in turn; without
    /// a `mode`, all modes.
    #[must_use]
    pub fn of(seed: u64, scenario: Option<Scenario>, mode: Option<FleetMode>) -> Self {
        let scenario = scenario.unwrap_or_else(|| Scenario::of_turn(seed));
        let mode = mode.unwrap_or_else(|| Scenario::mode_of_turn(seed));
        Self { scenario, seed, mode }
    }
}

impl fmt::Display for WorldId {
    /// The arguments of `ci/replay.sh`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scenario, self.seed)?;
        if self.mode == FleetMode::Counters { Ok(()) } else { write!(f, " {}", self.mode) }
    }
}

/// The outcome of many worlds.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Campaign {
    /// The number of worlds.
    pub worlds: u64,
    /// How much time passed in all of them.
    pub simulated: Duration,
    /// How often each fault occurred.
    pub tally: Tally,
    /// The world that took longest to heal, and how long it took.
    pub slowest: Option<(WorldId, Duration)>,
    /// The worlds that ended early, and why.
    pub broken: Vec<(WorldId, String)>,
}

impl Campaign {
    /// Runs the world of each seed on `threads` threads. Without a `scenario`, the seeds take all
    /// scenarios in turn; without a `mode`, all modes.
    #[must_use]
    pub fn run(
        seeds: Range<u64>,
        scenario: Option<Scenario>,
        mode: Option<FleetMode>,
        threads: NonZero<usize>,
    ) -> Self {
        let next = AtomicU64::new(seeds.start);
        let total = Mutex::new(Self::default());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let WorldId { scenario, seed, mode } = WorldId::of(seed, scenario, mode);
                let outcome = scenario.run(mode, seed);
                total.lock().unwrap_or_else(PoisonError::into_inner).count(&outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(work);
            }
        });
        let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.broken.sort_by_key(|(world, _)| world.seed);
        total
    }

    /// Adds the outcome of a world.
    pub fn count(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.simulated += outcome.simulated;
        self.tally.add(&outcome.tally);
        let Outcome { scenario, mode, seed, .. } = *outcome;
        let world = WorldId { scenario, seed, mode };
        if self.slowest.is_none_or(|(_, time)| outcome.healed_in > time) {
            self.slowest = Some((world, outcome.healed_in));
        }
        if let Some(error) = &outcome.error {
            self.broken.push((world, chain(error)));
        }
    }
}

/// Returns an error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Display for Campaign {
    /// The counts of faults, and each broken promise with the command that replays its world.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "{fault:<28} {:>10}", self.tally.of(fault))?;
        }
        if let Some((world, time)) = self.slowest {
            writeln!(f, "slowest to heal: {world}, in {time:?}")?;
        }
        for (world, error) in &self.broken {
            writeln!(f, "BROKEN {error}\n    ci/replay.sh {world}")?;
        }
        Ok(())
    }
}
