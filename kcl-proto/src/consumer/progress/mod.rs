//! How far a shard is done, and which checkpoints are allowed.

#[cfg(test)]
mod tests;
mod unfinished;
mod watermark;

use crate::consumer::progress::unfinished::UnfinishedBatches;
use crate::consumer::progress::watermark::Watermark;
use crate::model::{Checkpoint, CheckpointPolicy, Position, Timestamp};

pub use crate::consumer::progress::unfinished::UnfinishedBatch;

/// How far one processor has come with its shard.
///
/// Each processor has a progress of its own: a [successor](Self::successor) starts after what is
/// done, and what its predecessor received and did not finish counts as never delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    policy: CheckpointPolicy,
    /// Where the shard was resumed, then the newest checkpoint that the application stored.
    stored: Checkpoint,
    /// The end of what was delivered.
    delivered: Option<Position>,
    /// The end of what the processor returned `Ok` for or acknowledged, without a gap.
    processed: Watermark,
    /// About how many records are processed.
    records: u64,
    /// The end of records that need no processing and follow what is done, or `None` if there are
    /// none.
    passed: Option<Position>,
    gap: Option<Gap>,
    unfinished: UnfinishedBatches,
    failure: Option<AckFailure>,
    is_closed: bool,
}

/// Records that need no processing and follow delivered ones that are not all done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    /// The end of what was delivered before them, or `None` if nothing was.
    after: Option<Position>,
    through: Position,
}

/// An acknowledgement that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckFailure {
    /// The position of the record.
    pub position: Position,
    /// The error, causes included.
    pub error: String,
    /// Whether the record has used up its attempts.
    pub is_final: bool,
}

/// Why a checkpoint is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRefusal {
    /// The position lies beyond what was delivered, or before what is stored.
    OutOfRange,
    /// The ownership or its processor has ended.
    Closed,
}

/// What is done and may be stored with the next write of the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Done {
    /// The end of what is done, or `None` if nothing is.
    pub checkpoint: Option<Checkpoint>,
    /// About how many records are done since the worker acquired the lease.
    pub records: u64,
    /// When the consumer was last at the end of its shard.
    pub caught_up_at: Option<Timestamp>,
}

impl Done {
    /// The further of both, field by field.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            checkpoint: self.checkpoint.max(other.checkpoint),
            records: self.records.max(other.records),
            caught_up_at: self.caught_up_at.max(other.caught_up_at),
        }
    }
}

impl Progress {
    /// The progress of the first processor of an ownership, which resumes after `stored`.
    #[must_use]
    pub fn new(policy: CheckpointPolicy, stored: Checkpoint) -> Self {
        Self {
            policy,
            stored,
            delivered: None,
            processed: Watermark::default(),
            records: 0,
            passed: None,
            gap: None,
            unfinished: UnfinishedBatches::default(),
            failure: None,
            is_closed: false,
        }
    }

    /// The progress of the processor that takes over after this one.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            processed: self.processed.without_window(),
            records: self.records,
            unfinished: self.unfinished.left_behind(),
            ..Self::new(self.policy, self.done())
        }
    }

    /// Returns what to store for the application's checkpoint at `position`.
    ///
    /// The same position may be stored again, because a caller that does not know the outcome of a
    /// checkpoint must be able to repeat it. If the processor returned `Ok` for more, that is
    /// stored instead: the stored checkpoint never goes back.
    ///
    /// # Errors
    /// [`CheckpointRefusal`] if the position is out of range, or the ownership has ended.
    pub fn check_checkpoint(&self, position: Position) -> Result<Checkpoint, CheckpointRefusal> {
        let checkpoint = Checkpoint::After(position);
        if self.is_closed {
            return Err(CheckpointRefusal::Closed);
        }
        let furthest = self.delivered.max(self.stored.position());
        if furthest.is_none_or(|furthest| position > furthest) || checkpoint < self.stored {
            return Err(CheckpointRefusal::OutOfRange);
        }
        Ok(self.automatic().map_or(checkpoint, |automatic| automatic.max(checkpoint)))
    }

    /// Returns the checkpoint that the application prepares at `position`.
    ///
    /// # Errors
    /// [`CheckpointRefusal`] if the position was not delivered or is done, or the ownership has
    /// ended.
    pub fn check_prepared(&self, position: Position) -> Result<Checkpoint, CheckpointRefusal> {
        let checkpoint = Checkpoint::After(position);
        if self.is_closed {
            return Err(CheckpointRefusal::Closed);
        }
        let is_delivered = self.delivered.is_some_and(|delivered| position <= delivered);
        if is_delivered && checkpoint > self.done() {
            Ok(checkpoint)
        } else {
            Err(CheckpointRefusal::OutOfRange)
        }
    }

    /// Records that a delivery of records up to `last` begins.
    pub fn deliver(&mut self, last: Position) {
        self.delivered = self.delivered.max(Some(last));
    }

    /// Records that the processor returned `Ok` for `records` records up to `last`.
    pub fn process(&mut self, last: Position, records: usize) {
        if !self.processed.has(last) {
            self.records = self.records.saturating_add(u64::try_from(records).unwrap_or(u64::MAX));
        }
        self.processed.finish(last);
        self.unfinished.finish(self.processed.low());
        self.settle();
    }

    /// Records that nothing up to `through` needs processing but what was delivered. Everything up
    /// to there is done once that is.
    pub fn pass(&mut self, through: Position) {
        if Some(through) > self.delivered {
            self.gap = Some(Gap { after: self.delivered, through });
            self.settle();
        }
    }

    /// Passes the gap if everything before it is done.
    fn settle(&mut self) {
        let done = self.done();
        let is_reached =
            |gap: &mut Gap| gap.after.is_none_or(|after| done >= Checkpoint::After(after));
        if let Some(gap) = self.gap.take_if(is_reached) {
            self.passed = self.passed.max(Some(gap.through));
        }
    }

    /// Records that the records of `batch` are acknowledged one by one. Returns false if they are
    /// detached or done already, or the ownership has ended.
    pub fn detach(
        &mut self,
        positions: impl IntoIterator<Item = Position>,
        batch: UnfinishedBatch,
    ) -> bool {
        let is_detached = !self.is_closed && self.processed.detach(positions);
        if is_detached {
            self.unfinished.push(batch);
        }
        is_detached
    }

    /// Whether the record at `position` was detached, and it or one before it is not acknowledged.
    #[must_use]
    pub fn is_detached(&self, position: Position) -> bool {
        self.processed.has(position)
    }

    /// Whether the record at `position` waits for its acknowledgement.
    #[must_use]
    pub fn is_outstanding(&self, position: Position) -> bool {
        self.processed.is_outstanding(position)
    }

    /// The records that wait for their acknowledgements, in order.
    pub fn outstanding(&self) -> impl Iterator<Item = Position> {
        self.processed.outstanding()
    }

    /// Records an acknowledgement. Returns whether what is done without a gap has grown.
    pub fn acknowledge(&mut self, position: Position) -> bool {
        self.records = self.records.saturating_add(u64::from(self.is_outstanding(position)));
        let has_moved = !self.is_closed && self.processed.acknowledge(position);
        if has_moved {
            self.unfinished.finish(self.processed.low());
            self.settle();
        }
        has_moved
    }

    /// Records a failed acknowledgement. Returns true for the first one only.
    pub fn fail(&mut self, failure: AckFailure) -> bool {
        let counts = !self.is_closed && self.is_outstanding(failure.position);
        if !counts || self.failure.is_some() {
            return false;
        }
        self.failure = Some(failure);
        true
    }

    /// The acknowledgement that failed first.
    #[must_use]
    pub const fn failure(&self) -> Option<&AckFailure> {
        self.failure.as_ref()
    }

    /// The number of detached records above the last position up to which all are acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.processed.len()
    }

    /// About how many records are processed.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The oldest unfinished batch of detached records.
    #[must_use]
    pub fn oldest_unfinished(&self) -> Option<UnfinishedBatch> {
        self.unfinished.oldest()
    }

    /// Records that a checkpoint of the application is stored.
    pub fn store(&mut self, checkpoint: Checkpoint) {
        self.stored = self.stored.max(checkpoint);
        if let Some(position) = checkpoint.position() {
            self.processed.pass(position); // A checkpoint counts for every record up to it.
            self.unfinished.finish(Some(position));
        }
        self.settle();
    }

    /// Refuses every checkpoint and acknowledgement from now on.
    pub const fn close(&mut self) {
        self.is_closed = true;
    }

    /// The checkpoint that the library stores by itself: the end of what the processor returned
    /// `Ok` for or acknowledged, and of records after it that need no processing.
    #[must_use]
    pub fn automatic(&self) -> Option<Checkpoint> {
        let processed = self.processed.low().filter(|_| self.policy.is_automatic());
        processed.max(self.passed).map(Checkpoint::After)
    }

    /// The end of what is done. With manual checkpoints, that is the last stored one, and records
    /// after it that need no processing.
    #[must_use]
    pub fn done(&self) -> Checkpoint {
        self.automatic().map_or(self.stored, |automatic| automatic.max(self.stored))
    }

    /// The checkpoint after which the shard is read again for the successor, or `None` if
    /// everything that is not done is in hand.
    ///
    /// With manual checkpoints, what the processor returned `Ok` for may exist in its memory only,
    /// and so may records that it had not acknowledged.
    #[must_use]
    pub fn restart(&self) -> Option<Checkpoint> {
        match self.policy {
            CheckpointPolicy::Manual => Some(self.done()),
            CheckpointPolicy::Automatic | CheckpointPolicy::Every { .. } => {
                (!self.processed.is_empty()).then(|| self.done())
            }
        }
    }

    /// Whether everything that was delivered is done.
    #[must_use]
    pub fn is_all_done(&self) -> bool {
        self.delivered.is_none_or(|delivered| self.done() >= Checkpoint::After(delivered))
    }
}
