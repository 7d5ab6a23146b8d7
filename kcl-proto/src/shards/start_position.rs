//! Where the consumer of a lease starts to read, and whether records were trimmed before it came.

use std::time::Duration;

use crate::model::{
    Checkpoint, InitialPosition, Lease, Position, ReadFrom, Record, SequenceNumber, Timestamp,
};

/// How far before the time of a start at LATEST its shard is read again: clocks differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_mins(1);

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where to open the reader.
    pub from: ReadFrom,
    /// What was read before, if anything was.
    pub seam: Option<Seam>,
}

/// Where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seam {
    /// Records up to this position were read already: they are dropped when they come again. The
    /// Kinesis record that it lies in comes again as a whole.
    pub done: Position,
    /// When everything in the shard was done, if it ever was and that is known.
    pub caught_up_at: Option<Timestamp>,
}

impl Resume {
    /// Going on after `done`.
    #[must_use]
    pub const fn after(done: Position, caught_up_at: Option<Timestamp>) -> Self {
        Self { from: ReadFrom::At(done.sequence), seam: Some(Seam { done, caught_up_at }) }
    }

    /// Where to go on after a read that came as far as `last`, if it brought anything, and to the end
    /// of the shard at `caught_up_at`, if it did.
    #[must_use]
    pub fn reached(self, last: Option<Position>, caught_up_at: Option<Timestamp>) -> Self {
        let known = self.seam.and_then(|seam| seam.caught_up_at);
        let done = last.max(self.seam.map(|seam| seam.done));
        done.map_or(self, |done| Self::after(done, caught_up_at.or(known)))
    }

    /// Where to start once more if nothing that was read since the first reader was opened, at
    /// `opened_at`, is done: LATEST would be a later place each time.
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
    /// Drops the records that are done, of some that come again in order.
    ///
    /// A checkpoint inside an aggregated record says nothing about the rest of it: where that record
    /// comes unexpanded, it is delivered again rather than cut off. For the same reason sub-sequence
    /// number 0 means no more than the first user record of one that is expanded.
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

    /// Whether records may have been trimmed between what is done and `first`, the first record that
    /// is left, or none if the end of the shard was reached without one.
    ///
    /// Kinesis does not announce trimming. The record at the checkpoint is read again: if it is gone,
    /// so may be later ones, unless everything in the shard had been done within the retention. When
    /// that was is known only from a row that this library wrote last; unknown counts as lost.
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

/// Where the consumer of `lease` starts after `checkpoint`, which is the lease's own or a later one;
/// none if the shard is finished.
///
/// `initial` is asked only for a row of another library that names no time.
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{LeaseCounter, LeaseKey, WriteStamp};

    const RETENTION: Duration = Duration::from_hours(24);

    #[test]
    fn a_record_that_was_done_in_part_is_delivered_again_as_a_whole_unless_it_is_expanded() {
        type Place = (u128, u64);
        let check = |done: Place, come: &[Place], left: &[Place]| {
            let position = |&(number, sub_sequence): &Place| Position {
                sequence: number.into(),
                sub_sequence,
            };
            let record = |place: &Place| Record::new(position(place), "key", vec![], None);
            let mut records: Vec<_> = come.iter().map(record).collect();
            Seam { done: position(&done), caught_up_at: None }.drop_done(&mut records);
            assert_eq!(records, left.iter().map(record).collect::<Vec<_>>());
        };
        check((7, 3), &[(6, 0), (7, 0), (8, 0)], &[(7, 0), (8, 0)]);
        check((7, 1), &[(7, 0), (7, 1), (7, 2), (8, 0)], &[(7, 2), (8, 0)]);
        check((7, 0), &[(7, 0), (8, 0)], &[(8, 0)]);
        check((7, 0), &[(7, 0), (7, 1), (8, 0)], &[(7, 1), (8, 0)]);
        check((7, 2), &[(7, 0), (7, 1), (7, 2)], &[]);
        check((7, 2), &[(8, 0), (8, 1)], &[(8, 0), (8, 1)]);
        check((7, 2), &[], &[]);
    }

    fn lease(start_at: Option<i64>, caught_up_at: Option<i64>) -> Lease {
        let counter = LeaseCounter(4);
        Lease {
            key: LeaseKey::new("shardId-0"),
            owner: None,
            checkpoint_owner: None,
            counter,
            owner_switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            start_at: start_at.map(Timestamp::from_epoch_millis),
            expiry: None,
            caught_up_at: caught_up_at.map(Timestamp::from_epoch_millis),
            last_write: Some(WriteStamp { counter, worker: "me".into(), number: 1 }),
        }
    }

    fn at(number: u128, sub_sequence: u64) -> Position {
        Position { sequence: SequenceNumber::from(number), sub_sequence }
    }

    #[track_caller]
    fn check_start(checkpoint: Checkpoint, start_at: Option<i64>, expected: Option<ReadFrom>) {
        let resumed = resume(&lease(start_at, None), checkpoint, InitialPosition::Latest);
        let expected = expected.map(|from| Resume { from, seam: None });
        assert_eq!(resumed, expected);
    }

    #[test]
    fn a_read_moves_where_to_go_on_and_never_back() {
        let time = |millis| Some(Timestamp::from_epoch_millis(millis));
        let start = Resume { from: ReadFrom::TrimHorizon, seam: None };
        assert_eq!(start.reached(None, time(1)), start);
        assert_eq!(start.reached(Some(at(7, 2)), None), Resume::after(at(7, 2), None));
        let inside = Resume::after(at(7, 2), time(1));
        assert_eq!(inside.reached(Some(at(7, 0)), None), inside);
        assert_eq!(inside.reached(None, time(2)), Resume::after(at(7, 2), time(2)));
        assert_eq!(inside.reached(Some(at(8, 0)), None), Resume::after(at(8, 0), time(1)));
    }

    #[test]
    fn a_start_is_opened_where_it_says() {
        let time = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(5_000));
        check_start(Checkpoint::TrimHorizon, None, Some(ReadFrom::TrimHorizon));
        check_start(Checkpoint::Latest, None, Some(ReadFrom::Latest));
        check_start(Checkpoint::AtTimestamp, Some(5_000), Some(time));
        check_start(Checkpoint::AtTimestamp, None, Some(ReadFrom::TrimHorizon));
        check_start(Checkpoint::ShardEnd, None, None);
    }

    #[test]
    fn a_start_that_names_no_time_takes_the_configured_one() {
        let time = Timestamp::from_epoch_millis(7);
        let initial = InitialPosition::AtTimestamp(time);
        let resumed = resume(&lease(None, None), Checkpoint::AtTimestamp, initial).unwrap();
        assert_eq!(resumed.from, ReadFrom::AtTimestamp(time));
        let resumed = resume(&lease(Some(9), None), Checkpoint::AtTimestamp, initial).unwrap();
        assert_eq!(resumed.from, ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(9)));
    }

    #[test]
    fn a_position_is_read_again_with_the_whole_record_it_lies_in() {
        let resumed =
            resume(&lease(None, Some(3)), Checkpoint::After(at(7, 3)), InitialPosition::Latest);
        let seam = Seam { done: at(7, 3), caught_up_at: Some(Timestamp::from_epoch_millis(3)) };
        assert_eq!(resumed, Some(Resume { from: ReadFrom::At(7.into()), seam: Some(seam) }));
    }

    #[test]
    fn a_row_that_java_wrote_last_does_not_know_when_it_was_caught_up() {
        let mut lease = lease(None, Some(3));
        lease.counter = LeaseCounter(5);
        let resumed = resume(&lease, Checkpoint::After(at(7, 0)), InitialPosition::Latest);
        assert_eq!(resumed, Some(Resume::after(at(7, 0), None)));
    }

    #[test]
    fn latest_is_not_opened_twice() {
        let opened_at = Timestamp::from_epoch_millis(100_000);
        let again = |from| Resume { from, seam: None }.again(opened_at).from;
        let before = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(40_000));
        assert_eq!(again(ReadFrom::Latest), before);
        assert_eq!(again(ReadFrom::TrimHorizon), ReadFrom::TrimHorizon);
        assert_eq!(again(before), before);
    }

    #[track_caller]
    fn check_torn(first: Option<u128>, caught_up_at: Option<i64>, hours: i64, expected: bool) {
        let caught_up_at = caught_up_at.map(Timestamp::from_epoch_millis);
        let seam = Seam { done: at(7, 2), caught_up_at };
        let now = Timestamp::from_epoch_millis(hours * 3_600_000);
        assert_eq!(seam.is_torn(first.map(SequenceNumber::from), RETENTION, now), expected);
    }

    #[test]
    fn data_is_lost_when_the_checkpoint_was_trimmed_long_after_catching_up() {
        check_torn(Some(7), None, 100, false);
        check_torn(Some(7), Some(0), 100, false);
        check_torn(Some(9), Some(0), 23, false);
        check_torn(Some(9), Some(0), 24, false);
        check_torn(Some(9), Some(0), 25, true);
        check_torn(Some(9), None, 1, true);
    }

    #[test]
    fn data_is_lost_when_nothing_at_all_is_left() {
        check_torn(None, Some(0), 23, false);
        check_torn(None, Some(0), 25, true);
    }
}
