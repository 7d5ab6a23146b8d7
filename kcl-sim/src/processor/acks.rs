//! Processors that acknowledge records one by one, in any order, and lose some acknowledgements.

use kcl_core::{
    Ack, BoxError, ProcessorFactory, Record, RecordBatch, RecordProcessor, ShardContext,
};

use super::behavior::{Behavior, CallScript, is_poison};
use crate::chance::Chance;
use crate::fault::Fault;
use crate::journal::{Entry, Journal, Ownership};

/// Creates processors that acknowledge records one by one.
#[derive(Clone, Debug)]
pub(crate) struct Acks {
    pub(crate) behavior: Behavior,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Acks {
    type Processor = AckProcessor;

    fn create(&self, shard: &ShardContext) -> AckProcessor {
        AckProcessor { chance: self.behavior.chance(shard), all: self.clone() }
    }
}

/// Acknowledges records one by one, each from a task of its own.
#[derive(Debug)]
pub(crate) struct AckProcessor {
    all: Acks,
    chance: Chance,
}

impl RecordProcessor for AckProcessor {
    #[expect(clippy::disallowed_methods, reason = "applications have tasks of their own")]
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        for (record, ack) in batch.into_acks() {
            let script = self.all.behavior.draw(&mut self.chance);
            let is_lost = self.all.behavior.loses(&mut self.chance, Fault::LostAck);
            let (shard, journal) = (shard.clone(), self.all.journal.clone());
            tokio::spawn(Task { record, ack, script, is_lost, shard, journal }.run());
        }
        Ok(())
    }
}

/// The task of one record.
struct Task {
    record: Record,
    ack: Ack,
    script: CallScript,
    /// Whether the acknowledgement is lost.
    is_lost: bool,
    shard: ShardContext,
    journal: Journal,
}

impl Task {
    async fn run(self) {
        let Self { record, ack, script, is_lost, shard, journal } = self;
        if let Err(error) = script.run(|| shard.is_cancelled()).await {
            return ack.fail(error);
        }
        if is_poison(&record) {
            return ack.fail("poison");
        }
        if is_lost {
            drop(ack);
            return;
        }
        // A record that is done after the end of its ownership does not count.
        if !shard.is_cancelled() {
            let (of, record) = (Ownership::of(shard.info()), record.position);
            journal.log(Entry::Done { of, record });
        }
        ack.done();
    }
}
