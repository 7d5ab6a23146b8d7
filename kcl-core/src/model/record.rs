//! Records and batches of them.

use std::fmt;
use std::ops::Deref;
use std::str::Utf8Error;
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
    pub partition_key: PartitionKey,
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
        partition_key: impl Into<PartitionKey>,
        data: impl Into<Bytes>,
        arrived: Option<Timestamp>,
    ) -> Self {
        Self { position, partition_key: partition_key.into(), data: data.into(), arrived }
    }
}

/// The key that a producer put a record under; empty if it gave none.
///
/// Cloning shares the text. It takes over a `String`, or a part of what the record was decoded from,
/// without a copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionKey(Bytes);

impl PartitionKey {
    /// The text.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "every constructor checks it")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a partition key is made of text only")
    }
}

impl From<String> for PartitionKey {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<&str> for PartitionKey {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<Bytes> for PartitionKey {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}

impl PartialEq<str> for PartitionKey {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for PartitionKey {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
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
    end: usize,
    behind_latest: Option<Duration>,
    attempt: u32,
}

impl RecordBatch {
    /// A batch on its first attempt.
    #[must_use]
    pub fn new(records: Vec<Record>, behind_latest: Option<Duration>) -> Self {
        let end = records.len();
        Self { records: records.into(), skip: 0, end, behind_latest, attempt: 1 }
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
    use super::*;
    use crate::model::SequenceNumber;

    #[test]
    fn a_partition_key_is_text_and_takes_it_over() {
        let text = String::from("pressure/7");
        let at = text.as_ptr();
        let key = PartitionKey::from(text);
        assert_eq!(key.as_str().as_ptr(), at);
        assert_eq!(
            (key.clone(), format!("{key} {key:?}")),
            ("pressure/7".into(), "pressure/7 \"pressure/7\"".into())
        );
        assert!(PartitionKey::try_from(Bytes::from_static(b"\xff")).is_err());
    }

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
}
