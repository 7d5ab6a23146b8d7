//! How the simulator's processors behave: slowly, with errors, panics and hangs, drawn call by
//! call.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::{BoxError, Record, ShardContext};
use tokio::time::sleep;

use crate::chance::Chance;
use crate::fault::{Fault, Tally};

/// The data of a record that no processor can process.
pub(crate) const POISON: &[u8] = b"poison";

pub(super) fn is_poison(record: &Record) -> bool {
    record.data == POISON
}

/// The error of a failure that was drawn.
pub(super) fn drawn_error() -> BoxError {
    "as chance has it".into()
}

/// Probabilities for each batch, or for each record if a processor works on single records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailureRates {
    pub(crate) slow: f64,
    pub(crate) fails: f64,
    pub(crate) panics: f64,
    pub(crate) hangs: f64,
    /// Of a lost acknowledgement, or a failure of the dead letter store.
    pub(crate) loses: f64,
}

/// How a processor works on its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessorKind {
    /// Batch by batch.
    Batches,
    /// Record by record, concurrently, in order within each key.
    PerKey,
    /// With acknowledgements, in any order.
    Acks,
    /// With checkpoints in two phases.
    TwoPhase,
}

/// The behavior of all processors of a world. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Behavior {
    seed: u64,
    rates: FailureRates,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    /// How many processors there have been.
    made: AtomicU64,
    /// Filled by processors, read once by the world.
    tally: Mutex<Tally>,
}

impl Behavior {
    pub(crate) fn new(seed: u64, rates: FailureRates) -> Self {
        Self { seed, rates, shared: Arc::default() }
    }

    /// Ends all failures, except those of poison records.
    pub(crate) fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The chance of a worker's dead letter store.
    pub(super) fn dead_letter_chance(&self, worker: u64) -> Chance {
        Chance::of(self.seed, !worker)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.shared.is_calm.load(Ordering::Relaxed)
    }

    /// The chance of a new processor.
    pub(super) fn chance(&self, shard: &ShardContext) -> Chance {
        let name = shard.shard_id().as_str().bytes();
        let made = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let stream = name.fold(shard.token().get(), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Chance::of(self.seed, stream.wrapping_add(made << 32))
    }

    /// Draws how the next call behaves.
    pub(super) fn draw(&self, chance: &mut Chance) -> CallScript {
        let mut script = CallScript::default();
        if self.is_calm() {
            return script;
        }
        script.pause = Duration::from_millis(chance.between(0, 80));
        if chance.hits(self.rates.slow) {
            self.count(Fault::SlowBatch);
            script.work = Duration::from_millis(chance.between(500, 15_000));
            script.is_cancellable = chance.hits(0.5);
        }
        if chance.hits(self.rates.hangs) {
            self.count(Fault::Hang);
            script.hang = Duration::from_millis(chance.between(20_000, 90_000));
        }
        if chance.hits(self.rates.panics) {
            self.count(Fault::Panic);
            script.end = Ending::Panics;
        } else if chance.hits(self.rates.fails) {
            self.count(Fault::FailedBatch);
            script.end = Ending::Fails;
        }
        script
    }

    /// Draws whether `initialize` fails.
    pub(super) fn fails(&self, chance: &mut Chance) -> bool {
        !self.is_calm() && chance.hits(self.rates.fails)
    }

    /// Draws whether an acknowledgement or a dead letter is lost.
    pub(super) fn loses(&self, chance: &mut Chance, fault: Fault) -> bool {
        let loses = !self.is_calm() && chance.hits(self.rates.loses);
        if loses {
            self.count(fault);
        }
        loses
    }

    fn count(&self, fault: Fault) {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).count(fault);
    }
}

/// How one call behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallScript {
    pause: Duration,
    work: Duration,
    /// Whether the work stops when the shard is cancelled.
    is_cancellable: bool,
    hang: Duration,
    end: Ending,
}

#[derive(Clone, Copy, Debug, Default)]
enum Ending {
    #[default]
    Well,
    Fails,
    Panics,
}

impl CallScript {
    /// Behaves as drawn.
    pub(super) async fn run(self, is_cancelled: impl Fn() -> bool + Send) -> Result<(), BoxError> {
        sleep(self.pause).await;
        // In small pieces, so that oracles see polls after the end of the ownership.
        let piece = Duration::from_millis(250);
        let mut left = self.work;
        while !(left.is_zero() || self.is_cancellable && is_cancelled()) {
            sleep(piece.min(left)).await;
            left = left.saturating_sub(piece);
        }
        sleep(self.hang).await;
        match self.end {
            Ending::Well => Ok(()),
            Ending::Fails => Err(drawn_error()),
            Ending::Panics => resume_unwind(Box::new("as chance has it")),
        }
    }
}
