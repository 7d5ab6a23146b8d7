//! Processors that checkpoint in two phases.

use bytes::Bytes;
use kcl_core::{BoxError, ProcessorFactory, RecordBatch, RecordProcessor, ShardContext};

use super::behavior::{Behavior, drawn_error};
use crate::chance::Chance;
use crate::journal::Journal;

/// Creates processors that checkpoint in two phases.
#[derive(Clone, Debug)]
pub(crate) struct TwoPhase {
    pub(crate) behavior: Behavior,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for TwoPhase {
    type Processor = TwoPhaseProcessor;

    fn create(&self, shard: &ShardContext) -> TwoPhaseProcessor {
        let (behavior, journal) = (self.behavior.clone(), self.journal.clone());
        TwoPhaseProcessor { chance: self.behavior.chance(shard), behavior, journal }
    }
}

/// Checkpoints in two phases: the state of each checkpoint is its own position.
#[derive(Debug)]
pub(crate) struct TwoPhaseProcessor {
    behavior: Behavior,
    journal: Journal,
    chance: Chance,
}

impl RecordProcessor for TwoPhaseProcessor {
    async fn initialize(&mut self, shard: &ShardContext) -> Result<(), BoxError> {
        let Some(pending) = shard.pending() else { return Ok(()) };
        let Some(position) = pending.checkpoint.position() else {
            return Err(format!(
                "{:?} is prepared, which no processor asked for",
                pending.checkpoint
            )
            .into());
        };
        if pending.state.as_deref() != Some(position.to_string().as_bytes()) {
            return Err(
                format!("{position} is prepared with the state of another checkpoint").into()
            );
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
        self.behavior.draw(&mut self.chance).run(|| shard.is_cancelled()).await?;
        let Some(position) = batch.last_position() else { return Ok(()) };
        let state = Bytes::from(position.to_string());
        let prepared = shard.checkpointer().prepare(position, state).await?;
        self.behavior.draw(&mut self.chance).run(|| shard.is_cancelled()).await?;
        if !self.behavior.is_calm() && self.chance.hits(0.05) {
            return Err(drawn_error());
        }
        self.journal.asked(shard.info(), position);
        prepared.commit().await?;
        Ok(())
    }
}
