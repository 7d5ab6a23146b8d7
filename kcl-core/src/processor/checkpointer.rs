//! Stores how far a shard is done: [`Checkpointer`].

use bytes::Bytes;
use kcl_proto::consumer::progress::{CheckpointRefusal, Progress};
use kcl_proto::model::{Checkpoint, CheckpointPolicy, Lease, PendingCheckpoint, Position};
use tokio::sync::{mpsc, oneshot, watch};

use crate::messages::FromConsumer;
use crate::report::error::CheckpointError;

/// Stores how far a shard is done. Clones can move to other tasks.
///
/// With automatic checkpoints it is optional. Once the processor or its ownership of the shard has
/// ended, every method returns [`CheckpointError::LeaseLost`].
#[derive(Clone, Debug)]
pub struct Checkpointer {
    /// Shared with the consumer and the acknowledgements.
    pub(crate) progress: watch::Sender<Progress>,
    /// The prepared checkpoint. Shared with the processor that takes over after a panic.
    pending: watch::Sender<Option<Pending>>,
    /// Weak, so that a forgotten clone does not keep the consumer's channel open.
    holder: mpsc::WeakSender<Box<FromConsumer>>,
}

impl Checkpointer {
    /// The checkpointer of the first processor of an ownership, which resumes at the lease's
    /// checkpoint.
    pub(crate) fn new(
        policy: CheckpointPolicy,
        lease: &Lease,
        holder: mpsc::WeakSender<Box<FromConsumer>>,
    ) -> Self {
        let pending =
            lease.pending.clone().map(|pending| Pending::inherited(pending, lease.checkpoint));
        let progress = watch::Sender::new(Progress::new(policy, lease.checkpoint));
        Self { progress, pending: watch::Sender::new(pending), holder }
    }

    /// The checkpointer of the processor that takes over.
    pub(crate) fn successor(&self) -> Self {
        let progress = watch::Sender::new(self.progress.borrow().successor());
        Self { progress, ..self.clone() }
    }

    /// The prepared checkpoint, unless it is settled once everything up to `done` is done.
    pub(crate) fn unsettled(&self, done: Checkpoint) -> Option<PendingCheckpoint> {
        self.pending.borrow().clone().and_then(|pending| pending.unsettled(done))
    }

    /// Marks all records up to and including `position` as done. Returns once that is stored.
    ///
    /// Storing a checkpoint renews the lease. Writes that fail are retried until the lease is lost,
    /// nine tenths of an expiry after its last renewal, so callers need not retry.
    ///
    /// [`RecordBatch::last_position`](crate::RecordBatch::last_position) is the position of a whole
    /// batch.
    ///
    /// # Errors
    /// [`CheckpointError`], whose variants say what to do.
    ///
    /// # Cancel safety
    /// If the future is dropped, the checkpoint may or may not be stored.
    pub async fn checkpoint(&self, position: Position) -> Result<(), CheckpointError> {
        let checked = self.progress.borrow().check_checkpoint(position);
        let checkpoint = checked.map_err(|refusal| refused(refusal, position))?;
        let (reply, answer) = oneshot::channel();
        self.send(FromConsumer::Checkpoint { checkpoint, reply }).await?;
        answer.await.unwrap_or(Err(CheckpointError::LeaseLost))?;
        // What was stored may lie beyond the position, which may be checkpointed again.
        self.progress.send_modify(|progress| progress.store(Checkpoint::After(position)));
        self.pending.send_modify(|pending| {
            *pending = pending.take().filter(|pending| !pending.is_settled(checkpoint));
        });
        Ok(())
    }

    /// Prepares a checkpoint at `position`, with a state that the application needs to resolve it.
    /// Returns once both are stored. [`Prepared::commit`] makes it the checkpoint.
    ///
    /// After a crash between the two, the next owner of the shard receives position and state as
    /// [`ShardContext::pending`](crate::ShardContext::pending). It resumes after the
    /// last checkpoint, and can look up in its sink whether these records arrived.
    ///
    /// A shard has one prepared checkpoint: the next one replaces it. A checkpoint removes it if it
    /// reaches the position, or if another owner prepared it.
    ///
    /// Every read and write of the lease carries the state: keep it small.
    ///
    /// # Errors
    /// [`CheckpointError`], whose variants say what to do.
    ///
    /// # Cancel safety
    /// If the future is dropped, the checkpoint may or may not be prepared.
    pub async fn prepare(
        &self,
        position: Position,
        state: impl Into<Bytes> + Send,
    ) -> Result<Prepared, CheckpointError> {
        let state = state.into();
        if state.len() > STATE_MAX {
            return Err(CheckpointError::StateTooLarge { bytes: state.len(), max: STATE_MAX });
        }
        let checked = self.progress.borrow().check_prepared(position);
        let checkpoint = checked.map_err(|refusal| refused(refusal, position))?;
        let pending = PendingCheckpoint { checkpoint, state: Some(state) };
        let (reply, answer) = oneshot::channel();
        self.send(FromConsumer::Prepare { pending: pending.clone(), reply }).await?;
        answer.await.map_err(|_closed| CheckpointError::LeaseLost)?;
        self.pending.send_replace(Some(Pending::own(pending)));
        Ok(Prepared { checkpointer: self.clone(), position })
    }

    async fn send(&self, message: FromConsumer) -> Result<(), CheckpointError> {
        let Some(holder) = self.holder.upgrade() else { return Err(CheckpointError::LeaseLost) };
        let sent = holder.send(Box::new(message)).await;
        sent.map_err(|_closed| CheckpointError::LeaseLost)
    }
}

const fn refused(refusal: CheckpointRefusal, position: Position) -> CheckpointError {
    match refusal {
        CheckpointRefusal::OutOfRange => CheckpointError::OutOfRange { position },
        CheckpointRefusal::Closed => CheckpointError::LeaseLost,
    }
}

/// The largest state of a prepared checkpoint, in bytes. DynamoDB limits an item to 400 KB, and
/// charges every renewal and every scan for the whole item.
pub const STATE_MAX: usize = 64 * 1024;

/// A prepared checkpoint. Dropping it keeps it prepared.
#[derive(Clone, Debug)]
#[must_use = "`commit` makes it the checkpoint"]
pub struct Prepared {
    checkpointer: Checkpointer,
    position: Position,
}

impl Prepared {
    /// The position up to which records are done once it is committed.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Makes it the checkpoint. Returns once that is stored.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the checkpoint may or may not be stored.
    pub async fn commit(self) -> Result<(), CheckpointError> {
        self.checkpointer.checkpoint(self.position).await
    }
}

/// A prepared checkpoint, and who prepared it.
#[derive(Clone, Debug)]
struct Pending {
    pending: PendingCheckpoint,
    /// The stored checkpoint, if a former owner prepared it: any progress beyond that settles it.
    inherited_after: Option<Checkpoint>,
}

impl Pending {
    const fn inherited(pending: PendingCheckpoint, stored: Checkpoint) -> Self {
        Self { pending, inherited_after: Some(stored) }
    }

    const fn own(pending: PendingCheckpoint) -> Self {
        Self { pending, inherited_after: None }
    }

    /// The checkpoint, unless it is settled once everything up to `done` is done.
    fn unsettled(self, done: Checkpoint) -> Option<PendingCheckpoint> {
        let is_settled = match self.inherited_after {
            Some(stored) => done > stored,
            None => done >= self.pending.checkpoint,
        };
        (!is_settled).then_some(self.pending)
    }

    /// Whether a checkpoint of the application settles it.
    fn is_settled(&self, checkpoint: Checkpoint) -> bool {
        self.inherited_after.is_some() || checkpoint >= self.pending.checkpoint
    }
}
