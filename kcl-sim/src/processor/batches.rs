//! Processors that work batch by batch.

use std::panic::resume_unwind;

use kcl_core::config::CheckpointPolicy;
use kcl_core::processor::ShardInfo;
use kcl_core::{
    BoxError, PartialFailure, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext,
};

use super::behavior::{Behavior, drawn_error, is_poison};
use crate::chance::Chance;
use crate::journal::Journal;

/// Creates processors that work batch by batch.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) behavior: Behavior,
    pub(crate) checkpoints: CheckpointPolicy,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Batches {
    type Processor = BatchProcessor;

    fn create(&self, shard: &ShardContext) -> BatchProcessor {
        BatchProcessor { chance: self.behavior.chance(shard), all: self.clone() }
    }
}

/// Works batch by batch.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    all: Batches,
    chance: Chance,
}

impl BatchProcessor {
    async fn act(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        self.all.behavior.draw(&mut self.chance).run(|| shard.is_cancelled()).await
    }

    /// Fails on a poison record, in one of the ways in which processors fail.
    fn fail_on_poison(&mut self, batch: &RecordBatch) -> Result<(), BoxError> {
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
        if self.all.behavior.fails(&mut self.chance) { Err(drawn_error()) } else { Ok(()) }
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        self.act(shard).await?;
        self.fail_on_poison(&batch)?;
        if self.all.checkpoints.is_automatic() {
            return Ok(());
        }
        let is_calm = self.all.behavior.is_calm();
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
        let script = self.all.behavior.draw(&mut self.chance);
        drop(script.run(|| false).await);
    }
}
