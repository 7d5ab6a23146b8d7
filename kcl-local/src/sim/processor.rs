//! A processor that is slow, fails, panics and hangs, as chance has it.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcl_core::config::CheckpointPolicy;
use kcl_core::context::ShardContext;
use kcl_core::{BoxError, ProcessorFactory, RecordBatch, RecordProcessor};
use tokio::time::sleep;

use super::chance::Chance;
use super::faults::{Fault, Tally};

/// How often processors misbehave: probabilities for each batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Temper {
    pub(super) slow: f64,
    pub(super) fails: f64,
    pub(super) panics: f64,
    pub(super) hangs: f64,
}

/// The processors of a whole world.
#[derive(Clone, Debug)]
pub(super) struct Unruly {
    seed: u64,
    temper: Temper,
    checkpoints: CheckpointPolicy,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    /// Counted by processors, read once by the world.
    tally: Mutex<Tally>,
}

impl Unruly {
    pub(super) fn new(seed: u64, temper: Temper, checkpoints: CheckpointPolicy) -> Self {
        Self { seed, temper, checkpoints, shared: Arc::default() }
    }

    /// From now on every batch is processed at once.
    pub(super) fn calm(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
    }

    pub(super) fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_calm(&self) -> bool {
        self.shared.is_calm.load(Ordering::Relaxed)
    }

    fn count(&self, fault: Fault) {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).count(fault);
    }
}

impl ProcessorFactory for Unruly {
    type Processor = UnrulyProcessor;

    fn create(&self, shard: &ShardContext) -> UnrulyProcessor {
        let name = shard.shard_id().as_str().bytes();
        let stream = name.fold(shard.token().get(), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        UnrulyProcessor { ways: self.clone(), chance: Chance::of(self.seed, stream) }
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct UnrulyProcessor {
    ways: Unruly,
    chance: Chance,
}

impl UnrulyProcessor {
    /// Misbehaves, or not.
    async fn act(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let temper = self.ways.temper;
        if self.ways.is_calm() {
            return Ok(());
        }
        sleep(Duration::from_millis(self.chance.between(0, 80))).await;
        if self.chance.hits(temper.slow) {
            self.ways.count(Fault::SlowBatch);
            let work = Duration::from_millis(self.chance.between(500, 15_000));
            self.work(work, shard).await;
        }
        if self.chance.hits(temper.hangs) {
            self.ways.count(Fault::Hang);
            let time = Duration::from_millis(self.chance.between(20_000, 90_000));
            sleep(time).await;
        }
        if self.chance.hits(temper.panics) {
            self.ways.count(Fault::Panic);
            resume_unwind(Box::new("as chance has it"));
        }
        if self.chance.hits(temper.fails) {
            self.ways.count(Fault::FailedBatch);
            return Err("as chance has it".into());
        }
        Ok(())
    }

    /// Works in small pieces, so that somebody could see it do so after its time.
    async fn work(&mut self, time: Duration, shard: &ShardContext) {
        let heeds = self.chance.hits(0.5);
        let piece = Duration::from_millis(250);
        let mut left = time;
        while !(left.is_zero() || heeds && shard.is_cancelled()) {
            sleep(piece.min(left)).await;
            left = left.saturating_sub(piece);
        }
    }
}

impl RecordProcessor for UnrulyProcessor {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        if !self.ways.is_calm() && self.chance.hits(self.ways.temper.fails) {
            return Err("as chance has it".into());
        }
        Ok(())
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        self.act(shard).await?;
        if self.ways.checkpoints == CheckpointPolicy::Automatic {
            return Ok(());
        }
        let place = if self.ways.is_calm() { None } else { self.chance.place(batch.len()) };
        let record = place.and_then(|place| batch.get(place)).or_else(|| batch.last());
        if let Some(record) = record {
            shard.checkpointer().checkpoint(record.position).await?;
        }
        Ok(())
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.act(shard).await
    }
}
