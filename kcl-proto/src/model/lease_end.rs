//! How a worker came by a lease, and how it ended.

use std::time::Duration;

/// Why a lease could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the three ways to a lease")]
pub enum TakeReason {
    /// Nobody owned it.
    Unowned,
    /// Its owner's counter stood still for so long.
    Expired {
        /// How long.
        silent_for: Duration,
    },
    /// Its owner handed it over.
    HandedOver,
}

/// How a held lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the ways from a lease")]
pub enum LeaseEnd {
    /// Given up for anybody to take.
    Released,
    /// Handed to another worker.
    HandedOver,
    /// The shard is finished.
    ShardEnded,
    /// Another worker took it, or the row is gone.
    Lost,
    /// Not renewed in time: given up by this worker's own clock.
    Expired,
    /// A hand-over came to nothing: this worker keeps the lease and starts its consumer again.
    Kept,
}
