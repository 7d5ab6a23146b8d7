//! The number in a lease's key of Kinesis' form, which takes fewer bytes than the key.

use crate::model::{LeaseKey, ShardId};

/// What the ids of shards begin with, before twelve digits.
const SHARD_PREFIX: &str = "shardId-";
const SHARD_DIGITS: usize = 12;

/// Returns the number in a key of Kinesis' form, or `None` for any other key.
pub(super) fn shard_number(key: &LeaseKey) -> Option<u64> {
    let number = key.as_str().strip_prefix(SHARD_PREFIX)?.parse().ok()?;
    key_of(number).filter(|again| again == key).and(Some(number))
}

impl ShardId {
    /// Returns the number in an id of Kinesis' form, such as 2 for `shardId-000000000002`, or
    /// `None` for any other id.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        shard_number(&LeaseKey::from(self))
    }

    /// Returns the id of Kinesis' form with this number, or `None` if it has more than 12 digits.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        key_of(number).map(|key| key.shard())
    }
}

/// Returns the key of a shard's number, or `None` if it has too many digits.
pub(super) fn key_of(number: u64) -> Option<LeaseKey> {
    let key = format!("{SHARD_PREFIX}{number:0SHARD_DIGITS$}");
    (key.len() == SHARD_PREFIX.len() + SHARD_DIGITS).then(|| LeaseKey::new(key))
}
