//! Shards: ids, hash ranges, parents.

use std::fmt;

use thiserror::Error;

use crate::model::SequenceNumber;
use crate::model::name::name;

name! {
    /// The id of a shard, such as `shardId-000000000007`.
    ShardId
}

/// The hash keys of a shard, both bounds included.
///
/// A hash key is the MD5 of a partition key: a number from 0 to 2¹²⁸ − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKeyRange {
    /// The smallest hash key of the shard.
    pub start: u128,
    /// The greatest hash key of the shard, not less than `start`.
    pub end: u128,
}

impl fmt::Display for HashKeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

impl HashKeyRange {
    /// All hash keys: the range of a whole stream.
    pub const FULL: Self = Self { start: 0, end: u128::MAX };

    /// Parses both bounds in decimal, as Kinesis and the lease table write them.
    ///
    /// # Errors
    /// If a bound is not a number below 2¹²⁸, or the start lies after the end.
    pub fn parse(start: &str, end: &str) -> Result<Self, ParseHashKeyRangeError> {
        let invalid = || ParseHashKeyRangeError { start: start.into(), end: end.into() };
        let bound = |text: &str| text.parse::<u128>().ok();
        match (bound(start), bound(end)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { start: first, end: last }),
            _ => Err(invalid()),
        }
    }

    /// Whether a hash key belongs to the range.
    #[must_use]
    pub const fn contains(&self, hash_key: u128) -> bool {
        self.start <= hash_key && hash_key <= self.end
    }

    /// Whether the two ranges share a hash key.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

impl fmt::Debug for HashKeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}..={:x}", self.start, self.end)
    }
}

/// Two texts are not the bounds of a hash key range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("hash key range {start:?} to {end:?} is not two numbers in order below 2^128")]
pub struct ParseHashKeyRangeError {
    start: String,
    end: String,
}

/// A shard as the stream lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// The shard's id.
    pub id: ShardId,
    /// The shard's parents: none, one (split) or two (merge). A parent may be trimmed already.
    pub parents: Vec<ShardId>,
    /// The shard's hash keys.
    pub hash_range: HashKeyRange,
    /// Where the shard starts.
    pub starting_sequence: SequenceNumber,
    /// Where the shard ends, or `None` while it is open.
    pub ending_sequence: Option<SequenceNumber>,
}

impl Shard {
    /// Creates an open shard without parents. Set [`parents`](Self::parents) and
    /// [`ending_sequence`](Self::ending_sequence) if it has them.
    #[must_use]
    pub const fn new(
        id: ShardId,
        hash_range: HashKeyRange,
        starting_sequence: SequenceNumber,
    ) -> Self {
        Self { id, parents: Vec::new(), hash_range, starting_sequence, ending_sequence: None }
    }

    /// Whether the shard takes no more records.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.ending_sequence.is_some()
    }
}

/// A child shard, as the end of its parent announces it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChildShard {
    /// The child's id.
    pub id: ShardId,
    /// The child's parents: one (split) or two (merge).
    pub parents: Vec<ShardId>,
    /// The child's hash keys.
    pub hash_range: HashKeyRange,
}

impl From<&Shard> for ChildShard {
    fn from(shard: &Shard) -> Self {
        Self { id: shard.id.clone(), parents: shard.parents.clone(), hash_range: shard.hash_range }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl ShardId {
    /// Returns the id `shardId-000000000000` for tests.
    #[must_use]
    pub fn sample() -> Self {
        Self::new("shardId-000000000000")
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Shard {
    /// Returns an open shard for tests: `shardId-000000000000`, without parents, of all hash keys,
    /// from sequence number 0.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            id: ShardId::sample(),
            parents: Vec::new(),
            hash_range: HashKeyRange::FULL,
            starting_sequence: SequenceNumber::ZERO,
            ending_sequence: None,
        }
    }
}
