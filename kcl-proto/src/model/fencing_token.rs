//! A number that orders the owners of a shard and of its descendants.

use std::fmt;

use crate::model::LeaseCounter;

/// A number that grows with each owner of a shard, and from a shard to its children: the counter
/// that the owner's first write set.
///
/// A sink that remembers the greatest token for each shard, or for each partition key, and refuses
/// smaller ones rejects writes of former owners. Tokens of shards that are not related have no
/// order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<LeaseCounter> for FencingToken {
    fn from(counter: LeaseCounter) -> Self {
        Self(counter.0)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
