//! What a worker needs to process records.

use super::behavior::{Behavior, FailureRates};
use super::dead_letter::FlakyDeadLetter;
use crate::journal::Journal;

/// A factory of processors, and a dead letter store.
pub(crate) struct Equipment<F, D = FlakyDeadLetter> {
    pub(crate) factory: F,
    pub(crate) dead_letter: D,
}

impl<F> Equipment<F> {
    /// A factory, with a dead letter store that never fails.
    pub(crate) fn new(factory: F, journal: &Journal) -> Self {
        Self::flaky(factory, journal, &Behavior::new(0, FailureRates::default()), 0)
    }

    /// A factory, with a dead letter store that fails like the processors do. `worker` numbers its
    /// chance.
    pub(crate) fn flaky(factory: F, journal: &Journal, behavior: &Behavior, worker: u64) -> Self {
        let chance = behavior.dead_letter_chance(worker);
        let dead_letter = FlakyDeadLetter::new(behavior.clone(), chance, journal.clone());
        Self { factory, dead_letter }
    }
}
