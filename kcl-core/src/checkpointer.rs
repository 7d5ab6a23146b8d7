//! Storing how far a shard is done: [`Checkpointer`].

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::BoxError;
use crate::engine::link::FromConsumer;
use crate::model::{Checkpoint, Position};

/// Stores how far a shard is done. Clones can be moved to other tasks.
///
/// With automatic checkpoints there is no need for it, and no harm in it.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    delivered: watch::Receiver<Option<Position>>,
    stored: Arc<watch::Sender<Option<Position>>>,
    holder: mpsc::Sender<FromConsumer>,
}

impl Checkpointer {
    pub(crate) fn new(
        delivered: watch::Receiver<Option<Position>>,
        holder: mpsc::Sender<FromConsumer>,
    ) -> Self {
        Self { delivered, stored: Arc::new(watch::Sender::new(None)), holder }
    }

    /// The greatest position that was stored through this checkpointer or a clone of it.
    pub(crate) fn stored(&self) -> Option<Position> {
        *self.stored.borrow()
    }

    /// Stores that all records up to `position`, itself included, are done, and returns when that is
    /// stored. It counts as a renewal of the lease.
    ///
    /// [`RecordBatch::last_position`](crate::RecordBatch::last_position) names a whole batch.
    ///
    /// # Errors
    /// [`CheckpointError`], whose variants say what to do.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the checkpoint is stored.
    pub async fn checkpoint(&self, position: Position) -> Result<(), CheckpointError> {
        if self.delivered.borrow().is_none_or(|delivered| position > delivered) {
            return Err(CheckpointError::OutOfRange { position });
        }
        let (reply, answer) = oneshot::channel();
        let request = FromConsumer::Checkpoint { checkpoint: Checkpoint::After(position), reply };
        if self.holder.send(request).await.is_err() {
            return Err(CheckpointError::LeaseLost);
        }
        answer.await.unwrap_or(Err(CheckpointError::LeaseLost))?;
        self.stored.send_modify(|stored| *stored = (*stored).max(Some(position)));
        Ok(())
    }
}

/// A checkpoint was not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Another worker holds the lease now, or will. Stop; that worker delivers these records again.
    #[error("lease is no longer held by this worker")]
    LeaseLost,
    /// The position was never delivered to this processor, or lies before the last checkpoint. A
    /// bug in the caller.
    #[error("position {position} is outside what was delivered since the last checkpoint")]
    OutOfRange {
        /// The position.
        position: Position,
    },
    /// The store failed. The lease may still be held: try again.
    #[error("lease store did not accept the checkpoint")]
    Store(#[source] BoxError),
}
