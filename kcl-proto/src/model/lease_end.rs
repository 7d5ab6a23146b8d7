//! Why a worker took a lease, and how its hold ended.

use std::fmt;
use std::time::Duration;

/// Why a lease could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the three ways to a lease")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum TakeReason {
    /// The lease had no owner.
    Unowned,
    /// The owner's counter stood still for a whole expiry.
    Expired {
        /// How long the counter stood still.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        silent_for: Duration,
    },
    /// The owner's session is dead: it was condemned, has resigned, or its row is gone.
    HolderDead,
    /// The owner handed the lease over.
    HandedOver,
}

/// How a held lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the ways from a lease")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum LeaseEnd {
    /// Released, so that any worker may take the lease.
    Released,
    /// Handed to another worker.
    HandedOver,
    /// The shard is finished.
    ShardEnded,
    /// Another worker took the lease, or the row was deleted.
    Lost,
    /// Not renewed in time, by this worker's own clock.
    Expired,
    /// A hand-over ended without moving the lease: this worker keeps it and restarts its consumer.
    Kept,
}

impl fmt::Display for TakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unowned => f.write_str("unowned"),
            Self::Expired { silent_for } => write!(f, "not renewed for {silent_for:?}"),
            Self::HolderDead => f.write_str("its holder is dead"),
            Self::HandedOver => f.write_str("handed over"),
        }
    }
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Released => "released",
            Self::HandedOver => "handed over",
            Self::ShardEnded => "shard ended",
            Self::Lost => "lost",
            Self::Expired => "expired",
            Self::Kept => "kept",
        })
    }
}
