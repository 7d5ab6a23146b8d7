//! Many worlds, on several threads, and what they came to.

use std::error::Error;
use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::scenario::{Outcome, Scenario};
use crate::world::faults::{Fault, Tally};

/// What many worlds came to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Campaign {
    /// How many worlds there were.
    pub worlds: u64,
    /// How much time passed in all of them.
    pub simulated: Duration,
    /// How often each fault came to pass.
    pub tally: Tally,
    /// The world that took longest to heal, and how long that was.
    pub slowest: Option<(Scenario, u64, Duration)>,
    /// What was wrong, and where.
    pub broken: Vec<(Scenario, u64, String)>,
}

impl Campaign {
    /// Runs the world of each seed, of this scenario or of all in turn, on so many threads.
    #[must_use]
    pub fn run(seeds: Range<u64>, scenario: Option<Scenario>, threads: NonZero<usize>) -> Self {
        let next = AtomicU64::new(seeds.start);
        let total = Mutex::new(Self::default());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let outcome = scenario.unwrap_or_else(|| Scenario::of_turn(seed)).run(seed);
                total.lock().unwrap_or_else(PoisonError::into_inner).count(&outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(work);
            }
        });
        let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.broken.sort_by_key(|(_, seed, _)| *seed);
        total
    }

    /// Adds a world.
    pub fn count(&mut self, outcome: &Outcome) {
        self.worlds += 1;
        self.simulated += outcome.simulated;
        self.tally.add(&outcome.tally);
        if self.slowest.is_none_or(|(_, _, time)| outcome.healed_in > time) {
            self.slowest = Some((outcome.scenario, outcome.seed, outcome.healed_in));
        }
        if let Some(error) = &outcome.error {
            let (scenario, seed) = (outcome.scenario, outcome.seed);
            self.broken.push((scenario, seed, chain(error)));
        }
    }
}

/// An error and its causes in one line.
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
    /// The table of faults, what broke, and how to see it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "{fault:<28} {:>10}", self.tally.of(fault))?;
        }
        if let Some((scenario, seed, time)) = self.slowest {
            writeln!(f, "slowest to heal: {scenario} {seed}, in {time:?}")?;
        }
        for (scenario, seed, error) in &self.broken {
            writeln!(f, "BROKEN {error}\n    ci/replay.sh {scenario} {seed}")?;
        }
        Ok(())
    }
}
