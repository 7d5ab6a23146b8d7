//! The shard that a processor works on: [`ShardContext`].

use std::sync::Arc;

use kcl_proto::model::{
    Checkpoint, FencingToken, PendingCheckpoint, ShardId, ShardInfo, StreamName,
};
use tokio_util::sync::CancellationToken;

use crate::processor::checkpointer::Checkpointer;
use crate::processor::record_failures::RecordFailures;

/// One ownership of one shard. Clones refer to the same ownership.
#[derive(Clone, Debug)]
pub struct ShardContext {
    pub(crate) info: ShardInfo,
    pub(crate) resume: Checkpoint,
    pub(crate) pending: Option<PendingCheckpoint>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) failures: Arc<RecordFailures>,
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

    /// The stream, shard and token as a value that outlives the ownership.
    #[must_use]
    pub const fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// The checkpoint after which this processor starts.
    #[must_use]
    pub const fn resumed_from(&self) -> Checkpoint {
        self.resume
    }

    /// The checkpoint that a former owner, or this worker's previous processor, prepared and did
    /// not commit.
    ///
    /// If its records turn out to be done, checkpoint its position in
    /// [`initialize`](crate::RecordProcessor::initialize): then they are not delivered again.
    #[must_use]
    pub const fn pending(&self) -> Option<&PendingCheckpoint> {
        self.pending.as_ref()
    }

    /// Stores how far the shard is done.
    #[must_use]
    pub const fn checkpointer(&self) -> &Checkpointer {
        &self.checkpointer
    }

    /// Returns once this ownership has ended: the running future of the processor is about to be
    /// dropped. Long work can select on it and clean up.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether this ownership has ended.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}
