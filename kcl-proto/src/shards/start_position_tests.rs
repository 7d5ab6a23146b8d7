//! Where reading starts and resumes, and when records count as lost.

use super::*;
use crate::model::LeaseCounter;

const RETENTION: Duration = Duration::from_hours(24);

#[test]
fn partly_done_record_is_redelivered_unless_expanded() {
    type Place = (u128, u64);
    let check = |done: Place, read: &[Place], left: &[Place]| {
        let position =
            |&(number, sub_sequence): &Place| Position { sequence: number.into(), sub_sequence };
        let record = |place: &Place| Record::new(position(place), "key", vec![], None);
        let mut records: Vec<_> = read.iter().map(record).collect();
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
    Lease {
        start_at: start_at.map(Timestamp::from_epoch_millis),
        caught_up_at: caught_up_at.map(Timestamp::from_epoch_millis),
        counter: LeaseCounter(4),
        ..Lease::sample()
    }
    .written_by("me")
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
fn resume_position_never_moves_back() {
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
fn start_is_opened_at_its_checkpoint() {
    let time = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(5_000));
    check_start(Checkpoint::TrimHorizon, None, Some(ReadFrom::TrimHorizon));
    check_start(Checkpoint::Latest, None, Some(ReadFrom::Latest));
    check_start(Checkpoint::AtTimestamp, Some(5_000), Some(time));
    check_start(Checkpoint::AtTimestamp, None, Some(ReadFrom::TrimHorizon));
    check_start(Checkpoint::ShardEnd, None, None);
}

#[test]
fn start_without_a_time_takes_the_initial_position() {
    let time = Timestamp::from_epoch_millis(7);
    let initial = InitialPosition::AtTimestamp(time);
    let resumed = resume(&lease(None, None), Checkpoint::AtTimestamp, initial).unwrap();
    assert_eq!(resumed.from, ReadFrom::AtTimestamp(time));
    let resumed = resume(&lease(Some(9), None), Checkpoint::AtTimestamp, initial).unwrap();
    assert_eq!(resumed.from, ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(9)));
}

#[test]
fn record_at_the_position_is_read_again() {
    let resumed =
        resume(&lease(None, Some(3)), Checkpoint::After(at(7, 3)), InitialPosition::Latest);
    let seam = Seam { done: at(7, 3), caught_up_at: Some(Timestamp::from_epoch_millis(3)) };
    assert_eq!(resumed, Some(Resume { from: ReadFrom::At(7.into()), seam: Some(seam) }));
}

#[test]
fn row_written_by_java_has_no_caught_up_time() {
    let mut lease = lease(None, Some(3));
    lease.counter = LeaseCounter(5);
    let resumed = resume(&lease, Checkpoint::After(at(7, 0)), InitialPosition::Latest);
    assert_eq!(resumed, Some(Resume::after(at(7, 0), None)));
}

#[test]
fn latest_is_opened_once() {
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
fn trimmed_checkpoint_after_retention_is_a_loss() {
    check_torn(Some(7), None, 100, false);
    check_torn(Some(7), Some(0), 100, false);
    check_torn(Some(9), Some(0), 23, false);
    check_torn(Some(9), Some(0), 24, false);
    check_torn(Some(9), Some(0), 25, true);
    check_torn(Some(9), None, 1, true);
}

#[test]
fn empty_shard_after_retention_is_a_loss() {
    check_torn(None, Some(0), 23, false);
    check_torn(None, Some(0), 25, true);
}
