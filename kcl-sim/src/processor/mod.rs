//! Processors that are slow, fail, panic and hang, as chance has it.

mod acks;
mod batches;
mod dead_letter;
mod handlers;
mod two_phase;
pub(crate) mod watched;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::processor::ShardInfo;
use kcl_core::{BoxError, Record, ShardContext};
use tokio::time::sleep;

pub(crate) use acks::Acks;
pub(crate) use batches::Batches;
pub(crate) use dead_letter::Shelf;
pub(crate) use handlers::Handlers;
pub(crate) use two_phase::TwoPhase;

use crate::chance::Chance;
use crate::journal::{Journal, Ownership};
use crate::world::faults::{Fault, Tally};

/// The data of a record that no processor can process.
pub(crate) const POISON: &[u8] = b"poison";

fn is_poison(record: &Record) -> bool {
    record.data == POISON
}

fn as_chance_has_it() -> BoxError {
    "as chance has it".into()
}

/// How often processors misbehave: probabilities for each batch, or each record where they work on
/// single ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Temper {
    pub(crate) slow: f64,
    pub(crate) fails: f64,
    pub(crate) panics: f64,
    pub(crate) hangs: f64,
    /// How often an acknowledgement is lost, or the dead letter fails.
    pub(crate) loses: f64,
}

/// How processors go about their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Batch by batch.
    Batches,
    /// Record by record, concurrently, in order within each key.
    Handlers,
    /// With acknowledgements, in any order.
    Acks,
    /// With checkpoints in two phases.
    TwoPhase,
}

/// What a worker of a world works with.
pub(crate) struct Equipment<F, D = Shelf> {
    pub(crate) factory: F,
    pub(crate) dead_letter: D,
}

impl<F> Equipment<F> {
    /// With a dead letter that always works.
    pub(crate) fn of(factory: F, journal: &Journal) -> Self {
        Self { factory, dead_letter: Ways::new(0, Temper::default()).shelf(journal, 0) }
    }
}

/// What the processors of a world have in common.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    seed: u64,
    temper: Temper,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    /// How many processors there were.
    made: AtomicU64,
    /// Counted by processors, read once by the world.
    tally: Mutex<Tally>,
}

impl Ways {
    pub(crate) fn new(seed: u64, temper: Temper) -> Self {
        Self { seed, temper, shared: Arc::default() }
    }

    /// From now on everything works at once, but poison.
    pub(crate) fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The dead letter of a worker.
    pub(crate) fn shelf(&self, journal: &Journal, worker: u64) -> Shelf {
        Shelf::new(self.clone(), Chance::of(self.seed, !worker), journal.clone())
    }

    fn is_calm(&self) -> bool {
        self.shared.is_calm.load(Ordering::Relaxed)
    }

    fn count(&self, fault: Fault) {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).count(fault);
    }

    /// The chance of one processor.
    fn chance(&self, shard: &ShardContext) -> Chance {
        let name = shard.shard_id().as_str().bytes();
        let made = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let stream = name.fold(shard.token().get(), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        Chance::of(self.seed, stream.wrapping_add(made << 32))
    }

    /// How something will go.
    fn mood(&self, chance: &mut Chance) -> Mood {
        let mut mood = Mood::default();
        if self.is_calm() {
            return mood;
        }
        mood.pause = Duration::from_millis(chance.between(0, 80));
        if chance.hits(self.temper.slow) {
            self.count(Fault::SlowBatch);
            mood.work = Duration::from_millis(chance.between(500, 15_000));
            mood.heeds = chance.hits(0.5);
        }
        if chance.hits(self.temper.hangs) {
            self.count(Fault::Hang);
            mood.hang = Duration::from_millis(chance.between(20_000, 90_000));
        }
        if chance.hits(self.temper.panics) {
            self.count(Fault::Panic);
            mood.end = Ending::Panics;
        } else if chance.hits(self.temper.fails) {
            self.count(Fault::FailedBatch);
            mood.end = Ending::Fails;
        }
        mood
    }

    /// Whether something gets lost.
    fn loses(&self, chance: &mut Chance, fault: Fault) -> bool {
        let loses = !self.is_calm() && chance.hits(self.temper.loses);
        if loses {
            self.count(fault);
        }
        loses
    }
}

/// How something will go.
#[derive(Clone, Copy, Debug, Default)]
struct Mood {
    pause: Duration,
    work: Duration,
    /// Whether the work ends when the ownership does.
    heeds: bool,
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

impl Mood {
    /// Goes as it must.
    async fn live(self, is_over: impl Fn() -> bool + Send) -> Result<(), BoxError> {
        sleep(self.pause).await;
        // In small pieces, so that somebody could see it do so after its time.
        let piece = Duration::from_millis(250);
        let mut left = self.work;
        while !(left.is_zero() || self.heeds && is_over()) {
            sleep(piece.min(left)).await;
            left = left.saturating_sub(piece);
        }
        sleep(self.hang).await;
        match self.end {
            Ending::Well => Ok(()),
            Ending::Fails => Err(as_chance_has_it()),
            Ending::Panics => resume_unwind(Box::new("as chance has it")),
        }
    }
}

pub(crate) fn ownership(shard: &ShardInfo) -> Ownership {
    Ownership { shard: shard.shard_id.clone(), token: shard.token.get() }
}
