//! Where the consumer of a lease starts to read, and whether records were trimmed before it could.

use std::time::Duration;

use crate::model::{
    Checkpoint, InitialPosition, Lease, Position, ReadFrom, Record, SequenceNumber, Timestamp,
};

/// How far before the time of a start at LATEST its shard is read again, because clocks differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_mins(1);

/// The shortest retention of a stream. Records of that age may be gone although the retention was
/// longer when the stream was last described.
///
/// Source: Kinesis API reference, `DecreaseStreamRetentionPeriod`.
pub const RETENTION_MIN: Duration = Duration::from_hours(24);

/// Where to start reading a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where to open the reader.
    pub from: ReadFrom,
    /// Where the records that were read before end, or `None` if none were.
    pub seam: Option<Seam>,
}

/// The seam between the records that are done and those that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seam {
    /// The last position that is done. Records up to it are dropped when they are read again, which
    /// happens to the whole Kinesis record that it lies in.
    pub done: Position,
    /// When all records of the shard were last done, or `None` if that is unknown.
    pub caught_up_at: Option<Timestamp>,
}

impl Resume {
    /// Resumes after `done`.
    #[must_use]
    pub const fn after(done: Position, caught_up_at: Option<Timestamp>) -> Self {
        Self { from: ReadFrom::At(done.sequence), seam: Some(Seam { done, caught_up_at }) }
    }

    /// Returns where to resume after a read that returned records up to `last`, and that reached
    /// the end of the shard at `caught_up_at`; each is `None` if it did not.
    #[must_use]
    pub fn reached(self, last: Option<Position>, caught_up_at: Option<Timestamp>) -> Self {
        let known = self.seam.and_then(|seam| seam.caught_up_at);
        let done = last.max(self.seam.map(|seam| seam.done));
        done.map_or(self, |done| Self::after(done, caught_up_at.or(known)))
    }

    /// Returns where to start again if no record that was read since the first reader was opened,
    /// at `opened_at`, is done. LATEST becomes a time, because it would be a later place each time.
    #[must_use]
    pub fn again(self, opened_at: Timestamp) -> Self {
        match self.from {
            ReadFrom::Latest => {
                let from = ReadFrom::AtTimestamp(opened_at.before(CLOCKS_DIFFER_MAX));
                Self { from, ..self }
            }
            ReadFrom::TrimHorizon | ReadFrom::AtTimestamp(_) | ReadFrom::At(_) => self,
        }
    }
}

impl Seam {
    /// Drops the records that are done from `records`, which were read again in order.
    ///
    /// A checkpoint inside an aggregated record covers only a part of it: if that record is read
    /// unexpanded, it is delivered again as a whole. For the same reason sub-sequence number 0
    /// covers only the first user record of an expanded one.
    pub fn drop_done(&self, records: &mut Vec<Record>) {
        let Self { done, .. } = *self;
        let before = records.partition_point(|it| it.position.sequence < done.sequence);
        let through = records.partition_point(|it| it.position.sequence <= done.sequence);
        let again = records.get(before..through).unwrap_or_default();
        let is_expanded = again.last().is_some_and(|it| it.position.sub_sequence > 0);
        let is_cut = done.sub_sequence > 0 && !is_expanded;
        let parts = if is_cut { 0 } else { again.partition_point(|it| it.position <= done) };
        records.drain(..before + parts);
    }

    /// Whether records may have been trimmed between `done` and `first`, the first remaining
    /// record, or `None` if the end of the shard was reached without one.
    ///
    /// Kinesis does not announce trimming. The record at the checkpoint is read again: if it is
    /// gone, later ones may be gone too, unless all records were done within the retention. That
    /// time is known only from a row that this library wrote last; unknown counts as lost.
    #[must_use]
    pub fn is_torn(
        &self,
        first: Option<SequenceNumber>,
        retention: Duration,
        now: Timestamp,
    ) -> bool {
        let is_trimmed = first.is_none_or(|first| first > self.done.sequence);
        is_trimmed && self.caught_up_at.is_none_or(|at| now.since(at) > retention)
    }
}

/// Returns where the consumer of `lease` starts after `checkpoint`, which is the lease's own or a
/// later one, or `None` if the shard is finished.
///
/// `initial` matters only for a row of another library at a time that it does not contain.
#[must_use]
pub fn resume(lease: &Lease, checkpoint: Checkpoint, initial: InitialPosition) -> Option<Resume> {
    let start = |from| Some(Resume { from, seam: None });
    match checkpoint {
        Checkpoint::TrimHorizon => start(ReadFrom::TrimHorizon),
        Checkpoint::Latest => start(ReadFrom::Latest),
        Checkpoint::AtTimestamp => start(match (lease.start_at, initial) {
            (Some(time), _) | (None, InitialPosition::AtTimestamp(time)) => {
                ReadFrom::AtTimestamp(time)
            }
            // Too early is a duplicate, too late is a loss.
            (None, InitialPosition::TrimHorizon | InitialPosition::Latest) => ReadFrom::TrimHorizon,
        }),
        Checkpoint::After(done) => {
            Some(Resume::after(done, lease.caught_up_at.filter(|_| lease.is_ours())))
        }
        Checkpoint::ShardEnd => None,
    }
}

#[cfg(test)]
#[path = "start_position_tests.rs"]
mod tests;
