//! One record.

use std::fmt;
use std::str::Utf8Error;

use bytes::Bytes;

use crate::model::{Position, Timestamp};

/// One record of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The record's position in its shard.
    pub position: Position,
    /// The producer's partition key.
    pub partition_key: PartitionKey,
    /// The producer's data. It may be a part of the reply that brought the record, which then stays
    /// in memory as a whole: see [`detached`](Self::detached).
    pub data: Bytes,
    /// About when the service received the record, or `None` if it does not report that.
    pub arrived: Option<Timestamp>,
}

impl Record {
    /// Creates a record.
    #[must_use]
    pub fn new(
        position: Position,
        partition_key: impl Into<PartitionKey>,
        data: impl Into<Bytes>,
        arrived: Option<Timestamp>,
    ) -> Self {
        Self { position, partition_key: partition_key.into(), data: data.into(), arrived }
    }

    /// Copies the record into memory of its own.
    ///
    /// Records that were read together may be parts of one reply of up to some 10 MiB, which stays
    /// in memory as long as any of them does. An application that keeps a few of them, or their
    /// data, for longer than their batch keeps detached ones.
    #[must_use]
    pub fn detached(self) -> Self {
        let partition_key = PartitionKey(Bytes::copy_from_slice(&self.partition_key.0));
        Self { partition_key, data: Bytes::copy_from_slice(&self.data), ..self }
    }
}

/// The partition key of a record; empty if its producer gave none.
///
/// Cloning shares the text. Conversion from a `String`, or from a part of the decoded message,
/// copies no text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionKey(Bytes);

impl PartitionKey {
    /// Returns the text.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "every constructor checks it")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor checks that it is text")
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

#[cfg(any(test, feature = "test-util"))]
impl Record {
    /// Returns a record for tests, with the sequence number `sequence`, the partition key `key` and
    /// the data `data`.
    #[must_use]
    pub fn sample(sequence: u128) -> Self {
        Self::new(Position::of(sequence.into()), "key", "data", None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detached_record_shares_no_memory() {
        let reply = Bytes::from_static(b"keydata");
        let key = PartitionKey::try_from(reply.slice(..3)).unwrap();
        let record = Record::new(Position::of(5.into()), key, reply.slice(3..), None);
        let detached = record.clone().detached();
        assert_eq!(detached, record);
        for part in [detached.data, detached.partition_key.0] {
            assert!(!reply.as_ptr_range().contains(&part.as_ptr()), "{part:?}");
        }
    }

    #[test]
    fn partition_key_takes_over_its_text() {
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
}
