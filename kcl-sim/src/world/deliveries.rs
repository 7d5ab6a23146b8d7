//! The records that users put into a world, and their deliveries to processors.

use std::collections::BTreeMap;

use kcl_core::model::{Record, SequenceNumber, ShardId};

use crate::journal::{Entry, Ownership};
use crate::time::Time;

/// One delivery of a record to a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The time of the delivery.
    pub at: Time,
    /// The name of the worker whose processor got the record.
    pub worker: String,
    /// The ownership under which the worker delivered it.
    pub of: Ownership,
    /// How often the batch has been delivered, this time included: 1 for the first.
    pub attempt: u32,
    /// The record as it was put. A user record of an aggregate has its own position, and the data
    /// of the whole aggregate.
    pub record: Record,
}

/// The users' records and their deliveries.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    records: BTreeMap<(ShardId, SequenceNumber), Record>,
    deliveries: Vec<Delivery>,
}

impl Deliveries {
    pub(crate) fn put(&mut self, shard: ShardId, record: Record) {
        self.records.insert((shard, record.position.sequence), record);
    }

    /// Adds what a journal entry says about the users' records.
    pub(crate) fn entry(&mut self, at: Time, worker: &str, entry: &Entry) {
        if self.records.is_empty() {
            return;
        }
        let Entry::Delivered { of, records, attempt, .. } = entry else { return };
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

    /// The records, by shard, in the order of each shard.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The deliveries, in the order of time.
    pub(crate) fn all(&self) -> &[Delivery] {
        &self.deliveries
    }
}
