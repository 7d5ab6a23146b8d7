//! The batch that a consumer works on: which records are left, and which of them failed.

use std::sync::Arc;

use kcl_proto::consumer::failure_policy::{Failed, FailureHistory, Portion, Verdict};
use kcl_proto::consumer::retention_warning::Lag;
use kcl_proto::model::{FailurePolicy, Moment, OnExhausted, Position, Record};

use crate::data_side::call_outcome::CallFailure;
use crate::data_side::processor_call::Delivery;
use crate::data_side::reader::Batch;

/// What was read and is not done.
#[derive(Debug, Default)]
pub(super) struct BatchInHand {
    batch: Option<Batch>,
    /// Outlives the batch, because its records may be read again.
    failures: FailureHistory,
    /// Whether the pause after a failure is over.
    is_retry: bool,
}

impl BatchInHand {
    /// Puts a new batch in hand.
    pub(super) fn put(&mut self, batch: Batch) {
        self.batch = Some(batch);
    }

    /// Whether there is no batch.
    pub(super) const fn is_empty(&self) -> bool {
        self.batch.is_none()
    }

    /// Drops the batch, which is read again. The failures of its records are kept.
    pub(super) fn discard(&mut self) {
        self.batch = None;
    }

    /// Marks the next delivery as a retry.
    pub(super) const fn retry(&mut self) {
        self.is_retry = true;
    }

    /// Whether the next delivery is a retry. Resets the mark.
    pub(super) const fn take_retry(&mut self) -> bool {
        std::mem::replace(&mut self.is_retry, false)
    }

    /// What to do with the first records after `done`, or `None` if none are left.
    pub(super) fn portion(&mut self, done: Option<Position>) -> Option<Portion> {
        if let Some(done) = done {
            self.failures.done_up_to(done);
        }
        self.finish(done);
        self.failures.portion(&self.batch.as_ref()?.records)
    }

    /// The first `count` records, for the processor.
    pub(super) fn delivery(&self, count: usize, attempt: u32) -> Option<Delivery> {
        let Batch { records, memory, read_at, .. } = self.batch.as_ref()?;
        let behind = records.behind_latest().unwrap_or_default();
        let lag = Lag { behind, seen: *read_at };
        let records = records.portion(count, attempt);
        Some(Delivery { records, lag, memory: Arc::clone(memory) })
    }

    /// The first record.
    pub(super) fn first(&self) -> Option<Record> {
        self.batch.as_ref()?.records.first().cloned()
    }

    /// Removes the records up to `done`.
    pub(super) fn finish(&mut self, done: Option<Position>) {
        self.batch =
            self.batch.take().map(|batch| Batch { records: batch.records.after(done), ..batch });
    }

    /// Takes the batch if no record is left.
    pub(super) fn take_finished(&mut self) -> Option<Batch> {
        self.batch.take_if(|batch| batch.records.is_empty())
    }

    /// The number of the current delivery of the record at `position`, from 1.
    pub(super) fn attempt(&self, position: Position) -> u32 {
        self.failures.attempt(position)
    }

    /// Records that the records at `positions` failed, and returns what to do about it.
    pub(super) fn failed(
        &mut self,
        positions: &[Position],
        failure: &CallFailure,
        policy: &FailurePolicy,
        now: Moment,
    ) -> Verdict {
        let CallFailure { error, named, is_final, .. } = failure;
        let is_first_blamed = positions.first().is_some_and(|first| named.contains(first));
        match policy.then {
            OnExhausted::StopWorker if *is_final => Verdict::StopWorker,
            OnExhausted::StopShard if *is_final => Verdict::StopShard,
            OnExhausted::StopShard
            | OnExhausted::StopWorker
            | OnExhausted::DeadLetter
            | OnExhausted::Skip => {
                self.failures.failed(Failed { positions, is_first_blamed, error }, policy, now)
            }
        }
    }

    /// Records that the record at `position` was stored in the dead letter or skipped.
    pub(super) fn abandoned(&mut self, position: Position) {
        self.failures.abandoned(position);
    }
}
