//! What a processor is told about its shard, and what it can ask.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::checkpointer::Checkpointer;
use crate::engine::desk::Desk;
use crate::model::{Checkpoint, LeaseCounter, PendingCheckpoint, ShardId, StreamName};

/// A number that only grows over the owners of a shard: the counter that the owner's first write set.
///
/// A sink that remembers the greatest token it saw, and refuses smaller ones, cannot be reached by a
/// former owner any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The number.
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

/// Which ownership of which shard: all that is left of it once the lease is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardInfo {
    /// The stream.
    pub stream: StreamName,
    /// The shard.
    pub shard_id: ShardId,
    /// This ownership's fencing token.
    pub token: FencingToken,
}

/// One ownership of one shard, while it lasts. Clones are the same ownership.
#[derive(Clone, Debug)]
pub struct ShardContext {
    pub(crate) info: ShardInfo,
    pub(crate) resume: Checkpoint,
    pub(crate) pending: Option<PendingCheckpoint>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) desk: Arc<Desk>,
}

impl ShardContext {
    /// The stream.
    #[must_use]
    pub const fn stream(&self) -> &StreamName {
        &self.info.stream
    }

    /// The shard.
    #[must_use]
    pub const fn shard_id(&self) -> &ShardId {
        &self.info.shard_id
    }

    /// This ownership's fencing token.
    #[must_use]
    pub const fn token(&self) -> FencingToken {
        self.info.token
    }

    /// What outlives the lease.
    #[must_use]
    pub const fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// Where this ownership began to read.
    #[must_use]
    pub const fn resumed_from(&self) -> Checkpoint {
        self.resume
    }

    /// A checkpoint that a former owner, or a processor before a panic, prepared and did not commit.
    ///
    /// If its records turn out to be done, checkpoint its position in
    /// [`initialize`](crate::RecordProcessor::initialize): they do not come again then. Otherwise they do.
    #[must_use]
    pub const fn pending(&self) -> Option<&PendingCheckpoint> {
        self.pending.as_ref()
    }

    /// Stores how far the shard is done.
    #[must_use]
    pub const fn checkpointer(&self) -> &Checkpointer {
        &self.checkpointer
    }

    /// Ready once this ownership is over: the future that was returned to the library is about to
    /// be dropped. Long work can wait for it to end in good order.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether this ownership is over.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}
