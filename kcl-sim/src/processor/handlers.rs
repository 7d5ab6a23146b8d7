//! Processors that work record by record, concurrently, in order within each key.

use std::sync::{Arc, Mutex, PoisonError};

use kcl_core::processor::PerKey;
use kcl_core::{BoxError, ProcessorFactory, Record, ShardContext, for_each};

use super::behavior::{Behavior, is_poison};
use crate::chance::Chance;
use crate::journal::{Entry, Journal, Ownership};

/// Creates processors that work record by record.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    pub(crate) behavior: Behavior,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Handlers {
    type Processor = PerKey;

    fn create(&self, shard: &ShardContext) -> PerKey {
        let chance = Mutex::new(self.behavior.chance(shard));
        let handler =
            Arc::new(Handler { all: self.clone(), of: Ownership::of(shard.info()), chance });
        for_each(move |record| Arc::clone(&handler).handle(record)).concurrency(8).create(shard)
    }
}

/// The handler of one ownership.
#[derive(Debug)]
struct Handler {
    all: Handlers,
    of: Ownership,
    chance: Mutex<Chance>,
}

impl Handler {
    async fn handle(self: Arc<Self>, record: Record) -> Result<(), BoxError> {
        let (of, record_at) = (self.of.clone(), record.position);
        self.all.journal.log(Entry::Begun { of: of.clone(), record: record_at });
        let script = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            self.all.behavior.draw(&mut chance)
        };
        script.run(|| false).await?;
        if is_poison(&record) {
            return Err("poison".into());
        }
        self.all.journal.log(Entry::Done { of, record: record_at });
        Ok(())
    }
}
