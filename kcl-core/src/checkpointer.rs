//! Storing how far a shard is done: [`Checkpointer`].

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::decide::checkpointing::{Marks, Refusal};
use crate::engine::link::FromConsumer;
use crate::model::Position;

/// Stores how far a shard is done. Clones can be moved to other tasks.
///
/// With automatic checkpoints there is no need for it, and no harm in it. A clone that outlives its
/// processor stores nothing any more.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    /// Shared with the consumer: a cell that nobody waits on, since several may write it.
    pub(crate) marks: watch::Sender<Marks>,
    /// Weak, so that a forgotten clone does not keep a consumer's channel open.
    pub(crate) holder: mpsc::WeakSender<FromConsumer>,
}

impl Checkpointer {
    /// Stores that all records up to `position`, itself included, are done, and returns when that is
    /// stored. It counts as a renewal of the lease.
    ///
    /// While the store does not answer, it is asked again and again. That ends with the lease, which
    /// is lost nine tenths of an expiry after its last renewal: there is nothing to try again here.
    ///
    /// [`RecordBatch::last_position`](crate::RecordBatch::last_position) names a whole batch.
    ///
    /// # Errors
    /// [`CheckpointError`], whose variants say what to do.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the checkpoint is stored.
    pub async fn checkpoint(&self, position: Position) -> Result<(), CheckpointError> {
        let judged = self.marks.borrow().judge(position);
        let checkpoint = match judged {
            Ok(checkpoint) => checkpoint,
            Err(Refusal::OutOfRange) => return Err(CheckpointError::OutOfRange { position }),
            Err(Refusal::Over) => return Err(CheckpointError::LeaseLost),
        };
        let (reply, answer) = oneshot::channel();
        self.send(FromConsumer::Checkpoint { checkpoint, reply }).await?;
        answer.await.unwrap_or(Err(CheckpointError::LeaseLost))?;
        self.marks.send_modify(|marks| marks.store(checkpoint));
        Ok(())
    }

    async fn send(&self, message: FromConsumer) -> Result<(), CheckpointError> {
        let Some(holder) = self.holder.upgrade() else { return Err(CheckpointError::LeaseLost) };
        let sent = holder.send(message).await;
        sent.map_err(|_closed| CheckpointError::LeaseLost)
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
}
