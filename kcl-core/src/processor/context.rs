//! What a processor is told about its shard, and what it can ask.

use std::sync::Arc;

use kcl_proto::model::{
    Checkpoint, FencingToken, PendingCheckpoint, ShardId, ShardInfo, StreamName,
};
use tokio_util::sync::CancellationToken;

use crate::processor::checkpointer::Checkpointer;
use crate::processor::record_failures::Desk;

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
