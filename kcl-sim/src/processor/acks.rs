//! Processors that acknowledge records one by one, in any order, and lose some acknowledgements.

use kcl_core::{
    Ack, BoxError, ProcessorFactory, Record, RecordBatch, RecordProcessor, ShardContext,
};

use super::{Mood, Ways, is_poison, ownership};
use crate::chance::Chance;
use crate::journal::{Journal, Said};
use crate::world::faults::Fault;

/// Makes processors that acknowledge records one by one.
#[derive(Clone, Debug)]
pub(crate) struct Acks {
    pub(crate) ways: Ways,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Acks {
    type Processor = AckProcessor;

    fn create(&self, shard: &ShardContext) -> AckProcessor {
        AckProcessor { chance: self.ways.chance(shard), all: self.clone() }
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
            let mood = self.all.ways.mood(&mut self.chance);
            let is_lost = self.all.ways.loses(&mut self.chance, Fault::LostAck);
            let journal = self.all.journal.clone();
            tokio::spawn(settle((record, ack), shard.clone(), (mood, is_lost), journal));
        }
        Ok(())
    }
}

async fn settle(
    (record, ack): (Record, Ack),
    shard: ShardContext,
    (mood, is_lost): (Mood, bool),
    journal: Journal,
) {
    if let Err(error) = mood.live(|| shard.is_cancelled()).await {
        return ack.fail(error);
    }
    if is_poison(&record) {
        return ack.fail("poison");
    }
    if is_lost {
        drop(ack);
        return;
    }
    // Afterwards it may be done, and still it counts for nobody.
    if !shard.is_cancelled() {
        journal.say(Said::Done { of: ownership(shard.info()), record: record.position });
    }
    ack.done();
}
