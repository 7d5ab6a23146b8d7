//! What processors were handed of the records that users put into a world.

use std::collections::BTreeMap;

use kcl_core::model::{Record, SequenceNumber, ShardId};

use crate::journal::{Ownership, Said};
use crate::time::Time;
use crate::world::World;

/// A record was handed to a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// When.
    pub at: Time,
    /// The name of the worker whose processor it was.
    pub worker: String,
    /// Under which ownership of which shard.
    pub of: Ownership,
    /// How often its batch has been handed over, with this time: 1 for the first.
    pub attempt: u32,
    /// What was put. A user record of an aggregate has a position of its own, and the data of the
    /// whole.
    pub record: Record,
}

/// Users' records, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: BTreeMap<(ShardId, SequenceNumber), Record>,
    deliveries: Vec<Delivery>,
}

impl Ledger {
    /// A record was put.
    pub(crate) fn put(&mut self, shard: ShardId, record: Record) {
        self.records.insert((shard, record.position.sequence), record);
    }

    /// A worker or its processor said something.
    pub(crate) fn said(&mut self, at: Time, worker: &str, said: &Said) {
        if self.records.is_empty() {
            return;
        }
        let Said::Delivered { of, records, attempt, .. } = said else { return };
        for position in records {
            let Some(record) = self.records.get(&(of.shard.clone(), position.sequence)) else {
                continue;
            };
            let mut record = record.clone();
            record.position = *position;
            let (worker, of, attempt) = (worker.to_owned(), of.clone(), *attempt);
            self.deliveries.push(Delivery { at, worker, of, attempt, record });
        }
    }
}

impl World {
    /// The records that were [put](Self::put) so far, by shard, each shard's in order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.ledger.records.values()
    }

    /// What processors were handed so far of the records that were [put](Self::put), in the order of
    /// time: a record stands here as often as it was handed over.
    #[must_use]
    pub fn deliveries(&self) -> &[Delivery] {
        &self.ledger.deliveries
    }

    /// How many records wait: they were put, and no processor has returned `Ok` for them yet.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.facts.backlog()
    }
}
