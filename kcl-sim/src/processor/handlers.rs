//! Processors that go record by record, concurrently, in order within each key.

use std::sync::{Arc, Mutex, PoisonError};

use kcl_core::processor::PerKey;
use kcl_core::{BoxError, ProcessorFactory, Record, ShardContext, for_each};

use super::{Ways, is_poison, ownership};
use crate::chance::Chance;
use crate::journal::{Journal, Ownership, Said};

/// Makes processors that go record by record.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    pub(crate) ways: Ways,
    pub(crate) journal: Journal,
}

impl ProcessorFactory for Handlers {
    type Processor = PerKey;

    fn create(&self, shard: &ShardContext) -> PerKey {
        let chance = Mutex::new(self.ways.chance(shard));
        let one = Arc::new(One { all: self.clone(), of: ownership(shard.info()), chance });
        for_each(move |record| Arc::clone(&one).handle(record)).concurrency(8).create(shard)
    }
}

/// One ownership of one shard.
#[derive(Debug)]
struct One {
    all: Handlers,
    of: Ownership,
    chance: Mutex<Chance>,
}

impl One {
    async fn handle(self: Arc<Self>, record: Record) -> Result<(), BoxError> {
        let (of, record_at) = (self.of.clone(), record.position);
        self.all.journal.say(Said::Begun { of: of.clone(), record: record_at });
        let mood = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            self.all.ways.mood(&mut chance)
        };
        mood.live(|| false).await?;
        if is_poison(&record) {
            return Err("poison".into());
        }
        self.all.journal.say(Said::Done { of, record: record_at });
        Ok(())
    }
}
