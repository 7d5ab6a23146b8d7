//! What one call of a processor gets: [`RecordBatch`].

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::{Position, Record};

use crate::processor::ack::{Ack, Ledger};

/// Records of one shard in order: what one call of a processor gets. Never empty.
///
/// Cloning shares the records. It dereferences to a slice, so `batch.len()`, `batch.iter()` and
/// `for record in batch.iter()` work.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    #[expect(clippy::rc_buffer, reason = "a slice would have to be copied into")]
    records: Arc<Vec<Record>>,
    skip: usize,
    end: usize,
    behind_latest: Option<Duration>,
    attempt: u32,
    /// Where its acknowledgements go, once it is delivered.
    ledger: Option<Arc<Ledger>>,
}

impl RecordBatch {
    /// A batch on its first attempt.
    #[must_use]
    pub fn new(records: Vec<Record>, behind_latest: Option<Duration>) -> Self {
        let end = records.len();
        Self { records: Arc::new(records), skip: 0, end, behind_latest, attempt: 1, ledger: None }
    }

    /// Where the batch ends: checkpointing it marks the whole batch as done. None if it is empty.
    #[must_use]
    pub fn last_position(&self) -> Option<Position> {
        self.last().map(|record| record.position)
    }

    /// How far its last record was behind the end of the shard when it was read, if known.
    #[must_use]
    pub const fn behind_latest(&self) -> Option<Duration> {
        self.behind_latest
    }

    /// Which delivery of these records this is to this processor: 1 at first, more after a failure.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Takes the records out, each with an acknowledgement of its own.
    ///
    /// From here on `Ok` from `process_records` says nothing about these records: each counts as
    /// done once its [`Ack`] says so, in whatever order. Checkpoints follow the oldest record that is
    /// outstanding. An acknowledgement that is dropped is a failure: a new processor gets the
    /// records that are not done again. An error from `process_records` fails all of them.
    ///
    /// Up to [`in_flight_max`](crate::config::DeliveryConfig::in_flight_max) records may be under way
    /// before the next batch waits. It waits as well while they take the shard's part of the
    /// [memory](crate::MemoryBudget), which all records of a batch hold until the last one is
    /// acknowledged: whoever collects records has to write them after some time, too, and not only once
    /// there are many. Only the first of several clones of a batch gives acknowledgements that count.
    #[must_use = "an acknowledgement that is dropped is a failure"]
    pub fn into_acks(self) -> Vec<(Record, Ack)> {
        let detached = self.ledger.as_ref().and_then(|ledger| ledger.detach(&self));
        let ack = |record: &Record| Ack::new(record.position, detached.clone());
        self.iter().map(|record| (record.clone(), ack(record))).collect()
    }

    /// Whether acknowledgements were taken out of it, or out of a clone of it, and not all of them have
    /// said that their record is done. For those who wrap processors: if so, `Ok` from
    /// `process_records` says nothing about these records.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        let last = self.last_position();
        self.ledger.as_ref().zip(last).is_some_and(|(ledger, last)| ledger.is_detached(last))
    }

    /// The same records, acknowledged in this ledger.
    #[must_use]
    pub(crate) fn recorded_in(self, ledger: Arc<Ledger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// The same records without those up to `done`.
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
    fn a_batch_comes_in_portions_without_what_is_done() {
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
    fn a_batch_that_nobody_delivered_gives_acknowledgements_that_lead_nowhere() {
        let record = Record::new(Position::of(SequenceNumber::ZERO), "key", Bytes::new(), None);
        let acks = RecordBatch::new(vec![record.clone()], None).into_acks();
        assert_eq!(acks[0].0, record);
        for (_, ack) in acks {
            ack.done();
        }
    }
}
