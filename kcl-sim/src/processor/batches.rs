//! Processors that go batch by batch.

use std::panic::resume_unwind;

use kcl_core::config::CheckpointPolicy;
use kcl_core::processor::ShardInfo;
use kcl_core::{
    BoxError, PartialFailure, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext,
};

use super::{Ways, as_chance_has_it, is_poison};
use crate::chance::Chance;
use crate::journal::Journal;

/// Makes processors that go batch by batch.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) ways: Ways,
    pub(crate) checkpoints: CheckpointPolicy,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Batches {
    type Processor = BatchProcessor;

    fn create(&self, shard: &ShardContext) -> BatchProcessor {
        BatchProcessor { chance: self.ways.chance(shard), all: self.clone() }
    }
}

/// Goes batch by batch.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    all: Batches,
    chance: Chance,
}

impl BatchProcessor {
    async fn act(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.all.ways.mood(&mut self.chance).live(|| shard.is_cancelled()).await
    }

    /// Fails if it cannot do otherwise, in one of the ways in which processors do.
    fn choke(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
        let Some(poison) = batch.iter().find(|record| is_poison(record)) else { return Ok(()) };
        match self.chance.between(0, 2) {
            0 => Err("poison".into()),
            1 => Err(PartialFailure::new([poison.position], "poison").into()),
            _ => resume_unwind(Box::new("poison")),
        }
    }
}

impl RecordProcessor for BatchProcessor {
    async fn initialize(&mut self, _shard: &ShardContext) -> Result<(), BoxError> {
        let ways = &self.all.ways;
        if !ways.is_calm() && self.chance.hits(ways.temper.fails) {
            return Err(as_chance_has_it());
        }
        Ok(())
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        self.act(shard).await?;
        self.choke(&batch)?;
        if self.all.checkpoints.is_automatic() {
            return Ok(());
        }
        let is_calm = self.all.ways.is_calm();
        let place = if is_calm { None } else { self.chance.place(batch.len()) };
        let record = place.and_then(|place| batch.get(place)).or_else(|| batch.last());
        if let Some(record) = record {
            self.all.journal.asked(shard.info(), record.position);
            shard.checkpointer().checkpoint(record.position).await?;
        }
        Ok(())
    }

    async fn shard_ended(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.act(shard).await
    }

    async fn lease_lost(&mut self, _shard: &ShardInfo) {
        let mood = self.all.ways.mood(&mut self.chance);
        drop(mood.live(|| false).await);
    }
}
