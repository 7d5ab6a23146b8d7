//! Delivered batches whose records are acknowledged one by one and are not all done.

use std::collections::VecDeque;

use crate::consumer::retention_warning::Lag;
use crate::model::{Moment, Position};

/// A delivered batch of detached records that are not all done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedBatch {
    /// The position of its last record.
    pub last: Position,
    /// The age of its records.
    pub lag: Lag,
    /// When a processor received it, or `None` if that processor was replaced.
    pub since: Option<Moment>,
}

/// The unfinished batches of one shard, in the order of their delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnfinishedBatches {
    batches: VecDeque<UnfinishedBatch>,
}

impl UnfinishedBatches {
    /// Adds a batch that is delivered.
    pub(super) fn push(&mut self, batch: UnfinishedBatch) {
        self.batches.push_back(batch);
    }

    /// Removes the batches that end at `done` or before it.
    pub(super) fn finish(&mut self, done: Option<Position>) {
        while self.batches.pop_front_if(|batch| Some(batch.last) <= done).is_some() {}
    }

    /// The oldest batch, with the time since when a processor has had any of the batches.
    pub(super) fn oldest(&self) -> Option<UnfinishedBatch> {
        let oldest = self.batches.front()?;
        let since = self.batches.iter().find_map(|batch| batch.since);
        Some(UnfinishedBatch { since, ..*oldest })
    }

    /// The oldest batch as a replaced processor leaves it: as old as before, and with no processor.
    pub(super) fn left_behind(&self) -> Self {
        let left = self.oldest().map(|batch| UnfinishedBatch { since: None, ..batch });
        Self { batches: left.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(minute: u64) -> Moment {
        Moment::from_origin(Duration::from_mins(minute))
    }

    fn delivered(last: u128, minute: u64) -> UnfinishedBatch {
        let lag = Lag { behind: Duration::ZERO, seen: at(minute) };
        UnfinishedBatch { last: end(last), lag, since: Some(at(minute)) }
    }

    fn end(number: u128) -> Position {
        Position::of(number.into())
    }

    #[test]
    fn oldest_batch_counts_until_its_last_record_is_done() {
        let mut unfinished = UnfinishedBatches::default();
        assert_eq!(unfinished.oldest(), None);
        unfinished.push(delivered(5, 1));
        unfinished.push(delivered(9, 2));
        unfinished.finish(None);
        unfinished.finish(Some(end(4)));
        assert_eq!(unfinished.oldest(), Some(delivered(5, 1)));
        unfinished.finish(Some(end(5)));
        assert_eq!(unfinished.oldest(), Some(delivered(9, 2)));
        unfinished.finish(Some(end(10)));
        assert_eq!(unfinished.oldest(), None);
    }

    #[test]
    fn batch_left_behind_keeps_its_age() {
        let mut unfinished = UnfinishedBatches::default();
        let left = UnfinishedBatch { since: None, ..delivered(5, 1) };
        unfinished.push(left);
        assert_eq!(unfinished.oldest(), Some(left));
        unfinished.push(delivered(3, 7));
        assert_eq!(unfinished.oldest(), Some(UnfinishedBatch { since: Some(at(7)), ..left }));
    }
}
