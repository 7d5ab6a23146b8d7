//! Storing how far a shard is done: [`Checkpointer`].

use bytes::Bytes;
use kcl_proto::consumer::checkpointing::{Marks, Refusal};
use kcl_proto::model::{Checkpoint, PendingCheckpoint, Position};
use tokio::sync::{mpsc, oneshot, watch};

use crate::messages::FromConsumer;
use crate::report::error::CheckpointError;

/// Stores how far a shard is done. Clones can be moved to other tasks.
///
/// With automatic checkpoints there is no need for it, and no harm in it. A clone that outlives its
/// processor stores nothing any more.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    /// Shared with the consumer: a cell that nobody waits on, since several may write it.
    pub(crate) marks: watch::Sender<Marks>,
    /// What is prepared, for a processor that takes over after a panic.
    pub(crate) pending: watch::Sender<Option<Pending>>,
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
        let checkpoint = judged.map_err(|refusal| refused(refusal, position))?;
        let (reply, answer) = oneshot::channel();
        self.send(FromConsumer::Checkpoint { checkpoint, reply }).await?;
        answer.await.unwrap_or(Err(CheckpointError::LeaseLost))?;
        self.marks.send_modify(|marks| marks.store(checkpoint));
        self.pending.send_modify(|pending| {
            *pending = pending.take().filter(|pending| !pending.is_settled(checkpoint));
        });
        Ok(())
    }

    /// Stores that the application is about to finish all records up to `position`, with what it
    /// needs to know of that; returns when that is stored. [`Prepared::commit`] makes it the
    /// checkpoint.
    ///
    /// If the worker crashes in between, the next owner of the shard gets position and state as
    /// [`ShardContext::pending`](crate::processor::context::ShardContext::pending), begins after the last
    /// checkpoint as always, and can find out from its sink whether these records are in it. There is
    /// one such place: what is prepared later takes it. It is emptied by the next checkpoint: of
    /// this owner, by one that reaches the position; of another owner, by any.
    ///
    /// Everybody who reads or writes the lease pays for the state's size: keep it small.
    ///
    /// # Errors
    /// [`CheckpointError`], whose variants say what to do.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is prepared.
    pub async fn prepare(
        &self,
        position: Position,
        state: impl Into<Bytes> + Send,
    ) -> Result<Prepared, CheckpointError> {
        let state = state.into();
        if state.len() > STATE_MAX {
            return Err(CheckpointError::StateTooLarge { bytes: state.len(), max: STATE_MAX });
        }
        let judged = self.marks.borrow().judge_prepared(position);
        let checkpoint = judged.map_err(|refusal| refused(refusal, position))?;
        let pending = PendingCheckpoint { checkpoint, state: Some(state) };
        let (reply, answer) = oneshot::channel();
        self.send(FromConsumer::Prepare { pending: pending.clone(), reply }).await?;
        answer.await.map_err(|_closed| CheckpointError::LeaseLost)?;
        self.pending.send_replace(Some(Pending::own(pending)));
        Ok(Prepared { checkpointer: self.clone(), position })
    }

    async fn send(&self, message: FromConsumer) -> Result<(), CheckpointError> {
        let Some(holder) = self.holder.upgrade() else { return Err(CheckpointError::LeaseLost) };
        let sent = holder.send(message).await;
        sent.map_err(|_closed| CheckpointError::LeaseLost)
    }
}

const fn refused(refusal: Refusal, position: Position) -> CheckpointError {
    match refusal {
        Refusal::OutOfRange => CheckpointError::OutOfRange { position },
        Refusal::Over => CheckpointError::LeaseLost,
    }
}

/// The most bytes of a state that is prepared. An item of DynamoDB has at most 400 KB; each renewal of
/// the lease and each scan of each worker is charged for all of it.
pub const STATE_MAX: usize = 64 * 1024;

/// A checkpoint that is prepared. Dropping it leaves it so.
#[derive(Clone, Debug)]
#[must_use = "what is prepared becomes the checkpoint by `commit`"]
pub struct Prepared {
    checkpointer: Checkpointer,
    position: Position,
}

impl Prepared {
    /// Up to where.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Makes it the checkpoint, and returns when that is stored.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether the checkpoint is stored.
    pub async fn commit(self) -> Result<(), CheckpointError> {
        self.checkpointer.checkpoint(self.position).await
    }
}

/// What is prepared, as this worker knows.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pending: PendingCheckpoint,
    /// If a former owner prepared it: what was stored then. Any progress beyond that settles it.
    inherited_after: Option<Checkpoint>,
}

impl Pending {
    pub(crate) const fn inherited(pending: PendingCheckpoint, stored: Checkpoint) -> Self {
        Self { pending, inherited_after: Some(stored) }
    }

    const fn own(pending: PendingCheckpoint) -> Self {
        Self { pending, inherited_after: None }
    }

    /// It, unless it is settled now that this much is done.
    pub(crate) fn unsettled(self, done: Checkpoint) -> Option<PendingCheckpoint> {
        let is_settled = match self.inherited_after {
            Some(stored) => done > stored,
            None => done >= self.pending.checkpoint,
        };
        (!is_settled).then_some(self.pending)
    }

    /// Whether this checkpoint of the application settles it.
    fn is_settled(&self, checkpoint: Checkpoint) -> bool {
        self.inherited_after.is_some() || checkpoint >= self.pending.checkpoint
    }
}
