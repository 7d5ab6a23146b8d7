//! Records and batches of them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{Position, Timestamp};

/// One record of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Where it stands in its shard.
    pub position: Position,
    /// The key that its producer put it under.
    pub partition_key: Arc<str>,
    /// What its producer sent.
    pub data: Bytes,
    /// When the service received it, about.
    pub arrived: Option<Timestamp>,
}

impl Record {
    /// A record that is not aggregated.
    #[must_use]
    pub fn new(
        position: Position,
        partition_key: impl Into<Arc<str>>,
        data: impl Into<Bytes>,
        arrived: Option<Timestamp>,
    ) -> Self {
        Self { position, partition_key: partition_key.into(), data: data.into(), arrived }
    }
}

/// Records of one shard in order: what one call of a processor gets. Never empty.
///
/// Cloning shares the records. It dereferences to a slice, so `batch.len()`, `batch.iter()` and
/// `for record in batch.iter()` work.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    records: Arc<[Record]>,
    skip: usize,
    behind_latest: Option<Duration>,
    attempt: u32,
}

impl RecordBatch {
    /// A batch on its first attempt.
    #[must_use]
    pub fn new(records: Vec<Record>, behind_latest: Option<Duration>) -> Self {
        Self { records: records.into(), skip: 0, behind_latest, attempt: 1 }
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

    /// The same records for another attempt, without those up to `done`.
    #[must_use]
    pub fn again_after(&self, done: Option<Position>) -> Self {
        let skip = done.map_or(self.skip, |done| {
            self.records.partition_point(|record| record.position <= done).max(self.skip)
        });
        Self { skip, attempt: self.attempt.saturating_add(1), ..self.clone() }
    }
}

impl Deref for RecordBatch {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        self.records.get(self.skip..).unwrap_or_default()
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
    use super::*;
    use crate::model::SequenceNumber;

    #[test]
    fn a_batch_comes_again_without_what_is_done() {
        let record =
            |n: u128| Record::new(Position::of(SequenceNumber::from(n)), "key", Bytes::new(), None);
        let batch = RecordBatch::new(vec![record(1), record(2), record(3)], None);
        let again = batch.again_after(Some(Position::of(SequenceNumber::from(2))));
        assert_eq!((again.len(), again.attempt()), (1, 2));
        assert_eq!(again.again_after(None).len(), 1);
        assert_eq!(batch.len(), 3);
    }
}
