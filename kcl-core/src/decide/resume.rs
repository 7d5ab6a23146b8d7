//! Where the consumer of a lease starts to read, and whether records were trimmed before it came.

use std::time::Duration;

use crate::model::{Checkpoint, InitialPosition, Lease, Position, SequenceNumber, Timestamp};
use crate::record_source::ReadFrom;

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Where to open the reader.
    pub from: ReadFrom,
    /// Records up to this position are done: they are dropped.
    pub done: Option<Position>,
}

/// Where the consumer of `lease` starts; none if its shard is finished.
///
/// `initial` is asked only for a row of another library that names no time.
#[must_use]
pub fn resume(lease: &Lease, initial: InitialPosition) -> Option<Resume> {
    let start = |from| Some(Resume { from, done: None });
    match lease.checkpoint {
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
            Some(Resume { from: ReadFrom::At(done.sequence), done: Some(done) })
        }
        Checkpoint::ShardEnd => None,
    }
}

/// Whether records after `done` were trimmed, given the `first` record that is left.
///
/// Kinesis does not announce trimming. The record at the checkpoint is read again: if it is gone, so
/// may be later ones, unless the consumer had reached the shard's end within the retention. When it
/// last had is known only from a row that this library wrote last; unknown counts as lost.
#[must_use]
pub fn is_data_lost(
    lease: &Lease,
    first: SequenceNumber,
    retention: Duration,
    now: Timestamp,
) -> bool {
    let Checkpoint::After(done) = lease.checkpoint else { return false };
    let is_trimmed = first > done.sequence;
    let caught_up_at = lease.caught_up_at.filter(|_| lease.is_ours());
    is_trimmed && caught_up_at.is_none_or(|at| now.since(at) > retention)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{LeaseCounter, LeaseKey, WriteStamp};

    const RETENTION: Duration = Duration::from_hours(24);

    fn lease(checkpoint: Checkpoint, start_at: Option<i64>, caught_up_at: Option<i64>) -> Lease {
        let counter = LeaseCounter(4);
        Lease {
            key: LeaseKey::new("shardId-0"),
            owner: None,
            checkpoint_owner: None,
            counter,
            owner_switches: 0,
            checkpoint,
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

    fn after(number: u128, sub_sequence: u64) -> Position {
        Position { sequence: SequenceNumber::from(number), sub_sequence }
    }

    #[test]
    fn a_position_is_read_again_and_dropped() {
        let done = after(7, 3);
        assert_eq!(
            resume(&lease(Checkpoint::After(done), None, None), InitialPosition::Latest),
            Some(Resume { from: ReadFrom::At(done.sequence), done: Some(done) })
        );
    }

    #[test]
    fn a_start_is_opened_where_it_says() {
        let from = |checkpoint, start_at| {
            resume(&lease(checkpoint, start_at, None), InitialPosition::Latest).map(|r| r.from)
        };
        let time = Timestamp::from_epoch_millis(5_000);
        assert_eq!(from(Checkpoint::TrimHorizon, None), Some(ReadFrom::TrimHorizon));
        assert_eq!(from(Checkpoint::AtTimestamp, Some(5_000)), Some(ReadFrom::AtTimestamp(time)));
        assert_eq!(from(Checkpoint::AtTimestamp, None), Some(ReadFrom::TrimHorizon));
        assert_eq!(from(Checkpoint::ShardEnd, None), None);
    }

    #[track_caller]
    fn check_lost(first: u128, caught_up_at: Option<i64>, hours: i64, expected: bool) {
        let lease = lease(Checkpoint::After(after(7, 0)), None, caught_up_at);
        let now = Timestamp::from_epoch_millis(hours * 3_600_000);
        assert_eq!(is_data_lost(&lease, first.into(), RETENTION, now), expected);
    }

    #[test]
    fn data_is_lost_when_the_checkpoint_was_trimmed_long_after_catching_up() {
        check_lost(7, None, 100, false);
        check_lost(9, Some(0), 23, false);
        check_lost(9, Some(0), 25, true);
        check_lost(9, None, 1, true);
    }

    #[test]
    fn a_row_that_java_wrote_last_does_not_know_when_it_was_caught_up() {
        let mut lease = lease(Checkpoint::After(after(7, 0)), None, Some(0));
        lease.counter = LeaseCounter(5);
        assert!(is_data_lost(&lease, 9.into(), RETENTION, Timestamp::from_epoch_millis(1)));
    }
}
