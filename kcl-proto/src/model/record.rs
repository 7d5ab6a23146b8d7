//! One record.

use std::fmt;
use std::str::Utf8Error;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
