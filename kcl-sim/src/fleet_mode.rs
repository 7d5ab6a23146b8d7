//! What the leases of a world's workers live by.

use std::fmt;
use std::str::FromStr;

use kcl_core::config::Liveness;

use crate::chance::Chance;

/// The number of a world's stream of choices of what a worker's leases live by.
const CHANCE: u64 = u64::MAX - 7;

/// What the leases of a world's workers live by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum FleetMode {
    /// Their own counters.
    #[default]
    Counters,
    /// The sessions of their workers.
    Sessions,
    /// One or the other: each worker draws it anew whenever it starts.
    Mixed,
    /// The sessions of their workers, on a table whose scans cost so much that lookouts read it for
    /// all. In some worlds the leases of a few workers live by counters.
    Lookouts,
}

impl FleetMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Counters, Self::Sessions, Self::Mixed, Self::Lookouts];

    const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Sessions => "sessions",
            Self::Mixed => "mixed",
            Self::Lookouts => "lookouts",
        }
    }

    /// Returns the choices of a world.
    pub(crate) fn choices(self, seed: u64) -> Choices {
        let mut chance = Chance::of(seed, CHANCE);
        let counters = match self {
            Self::Counters => 1.0,
            Self::Sessions => 0.0,
            Self::Mixed => 0.5,
            Self::Lookouts if chance.hits(0.2) => 0.2,
            Self::Lookouts => 0.0,
        };
        Choices { counters, chance }
    }
}

impl fmt::Display for FleetMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FleetMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no mode {text:?}: there are {names}")
        })
    }
}

/// What the leases of each worker that starts live by.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    /// The probability of counters.
    counters: f64,
    chance: Chance,
}

impl Choices {
    /// Draws for the next worker that starts.
    pub(crate) fn draw(&mut self) -> Liveness {
        if self.chance.hits(self.counters) { Liveness::Counter } else { Liveness::Session }
    }
}
