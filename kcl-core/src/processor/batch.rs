//! The records of one `process_records` call: [`RecordBatch`].

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::{Position, Record};

use crate::processor::ack::{Ack, DeliveredBatch};

/// The records of one [`process_records`](crate::RecordProcessor::process_records) call: records of
/// one shard, in order. Never empty.
///
/// Cloning shares the records. A batch dereferences to a slice of records, so `batch.len()`,
/// `batch.iter()` and `for record in &batch` work.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    #[expect(clippy::rc_buffer, reason = "a slice would have to be copied into")]
    records: Arc<Vec<Record>>,
    skip: usize,
    end: usize,
    behind_latest: Option<Duration>,
    attempt: u32,
    /// `None` until it is delivered.
    delivered: Option<Arc<DeliveredBatch>>,
}

impl RecordBatch {
    /// Returns a batch on its first attempt.
    #[must_use]
    pub fn new(records: Vec<Record>, behind_latest: Option<Duration>) -> Self {
        let end = records.len();
        Self {
            records: Arc::new(records),
            skip: 0,
            end,
            behind_latest,
            attempt: 1,
            delivered: None,
        }
    }

    /// The position of the last record: a checkpoint there marks the whole batch as done. `None` if
    /// the batch is empty.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        self.last().map(|record| record.position)
    }

    /// How far the last record was behind the end of the shard when it was read, or `None` if that
    /// is not known.
    #[must_use]
    pub const fn behind_latest(&self) -> Option<Duration> {
        self.behind_latest
    }

    /// The number of this delivery, from 1. Each failure increments it.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns each record with an acknowledgement of its own.
    ///
    /// The records are then *detached*: each is done once its [`Ack`] is given, in any order, and
    /// `Ok` from `process_records` no longer counts for them. Checkpoints follow the oldest
    /// outstanding record. A dropped acknowledgement is a failure: a new processor receives all
    /// records that are not done. An error from `process_records` fails all of them.
    ///
    /// The next batch waits once [`in_flight_max`](crate::config::DeliveryConfig::in_flight_max)
    /// records are in flight, or while they hold the shard's share of the
    /// [memory](crate::MemoryBudget). A batch holds its memory until its last record is
    /// acknowledged, so a processor that collects records must also flush them after some time, not
    /// only by number.
    ///
    /// Only the first of several clones of a batch returns acknowledgements that count.
    #[must_use = "dropping an acknowledgement counts as a failure"]
    pub fn into_acks(self) -> Vec<(Record, Ack)> {
        let open = self.delivered.as_ref().and_then(|delivered| delivered.detach(&self));
        let ack = |record: &Record| Ack::new(record.position, open.clone());
        self.iter().map(|record| (record.clone(), ack(record))).collect()
    }

    /// Whether the records are [detached](Self::into_acks), in this batch or a clone, and not all
    /// done. A wrapper of a processor needs it: `Ok` from `process_records` does not count for such
    /// records.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        let last = self.last_position();
        self.delivered.as_ref().zip(last).is_some_and(|(batch, last)| batch.is_detached(last))
    }

    /// The same records, delivered to a processor.
    #[must_use]
    pub(crate) fn delivered_as(self, delivered: Arc<DeliveredBatch>) -> Self {
        Self { delivered: Some(delivered), ..self }
    }

    /// The records after `done`.
    #[must_use]
    pub(crate) fn after(mut self, done: Option<Position>) -> Self {
        if let Some(done) = done {
            let count = self.partition_point(|record| record.position <= done);
            self.skip = self.skip.saturating_add(count);
        }
        self
    }

    /// The first `count` records, for this attempt.
    #[must_use]
    pub(crate) fn portion(&self, count: usize, attempt: u32) -> Self {
        let end = self.skip.saturating_add(count).min(self.end);
        Self { end, attempt, ..self.clone() }
    }
}

impl Deref for RecordBatch {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        self.records.get(self.skip..self.end).unwrap_or_default()
    }
}

impl<'a> IntoIterator for &'a RecordBatch {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kcl_proto::model::SequenceNumber;

    use super::*;

    #[test]
    fn portions_leave_out_what_is_done() {
        let record =
            |n: u128| Record::new(Position::of(SequenceNumber::from(n)), "key", Bytes::new(), None);
        let batch = RecordBatch::new(vec![record(1), record(2), record(3)], None);
        let rest = batch.clone().after(Some(Position::of(SequenceNumber::from(1))));
        assert_eq!((rest.len(), rest.clone().after(None).len()), (2, 2));
        let portion = rest.portion(1, 2);
        assert_eq!((portion.len(), portion.attempt()), (1, 2));
        assert_eq!(portion.last_position(), Some(Position::of(SequenceNumber::from(2))));
        assert_eq!((rest.portion(9, 1).len(), batch.len()), (2, 3));
    }

    #[test]
    fn undelivered_batch_returns_acks_without_effect() {
        let record = Record::new(Position::of(SequenceNumber::ZERO), "key", Bytes::new(), None);
        let acks = RecordBatch::new(vec![record.clone()], None).into_acks();
        assert_eq!(acks[0].0, record);
        for (_, ack) in acks {
            ack.done();
        }
    }
}
