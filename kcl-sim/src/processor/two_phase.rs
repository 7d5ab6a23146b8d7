//! Processors that store checkpoints in two phases.

use bytes::Bytes;
use kcl_core::{BoxError, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext};

use super::{Ways, as_chance_has_it};
use crate::chance::Chance;
use crate::journal::Journal;

/// Makes processors that store checkpoints in two phases.
#[derive(Clone, Debug)]
pub(crate) struct TwoPhase {
    pub(crate) ways: Ways,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for TwoPhase {
    type Processor = TwoPhaseProcessor;

    fn create(&self, shard: &ShardContext) -> TwoPhaseProcessor {
        let (ways, journal) = (self.ways.clone(), self.journal.clone());
        TwoPhaseProcessor { chance: self.ways.chance(shard), ways, journal }
    }
}

/// Stores checkpoints in two phases: the state of each is its own position.
#[derive(Debug)]
pub(crate) struct TwoPhaseProcessor {
    ways: Ways,
    journal: Journal,
    chance: Chance,
}

impl RecordProcessor for TwoPhaseProcessor {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let Some(pending) = shard.pending() else { return Ok(()) };
        let Some(position) = pending.checkpoint.position() else {
            return Err(format!("{:?} is prepared, which nobody did", pending.checkpoint).into());
        };
        if pending.state.as_deref() != Some(position.to_string().as_bytes()) {
            return Err(format!("{position} is prepared with a state of another one").into());
        }
        if self.chance.hits(0.5) {
            self.journal.asked(shard.info(), position);
            shard.checkpointer().checkpoint(position).await?;
        }
        Ok(())
    }

    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        self.ways.mood(&mut self.chance).live(|| shard.is_cancelled()).await?;
        let Some(position) = batch.last_position() else { return Ok(()) };
        let state = Bytes::from(position.to_string());
        let prepared = shard.checkpointer().prepare(position, state).await?;
        self.ways.mood(&mut self.chance).live(|| shard.is_cancelled()).await?;
        if !self.ways.is_calm() && self.chance.hits(0.05) {
            return Err(as_chance_has_it());
        }
        self.journal.asked(shard.info(), position);
        prepared.commit().await?;
        Ok(())
    }
}
