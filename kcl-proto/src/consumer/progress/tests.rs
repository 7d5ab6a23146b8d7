//! Which checkpoints are allowed, and what is done, by policy.

use CheckpointPolicy::{Automatic, Manual};

use std::time::Duration;

use super::*;
use crate::consumer::retention_warning::Lag;
use crate::model::Moment;

fn at(number: u128) -> Position {
    Position::of(number.into())
}

fn after(number: u128) -> Checkpoint {
    Checkpoint::After(at(number))
}

/// Progress that resumes after 5, with records up to 20 delivered.
fn progress(policy: CheckpointPolicy) -> Progress {
    let mut progress = Progress::new(policy, after(5));
    progress.deliver(at(20));
    progress
}

#[track_caller]
fn check(progress: &Progress, position: u128, expected: Result<Checkpoint, CheckpointRefusal>) {
    assert_eq!(progress.check_checkpoint(at(position)), expected);
}

#[test]
fn checkpoint_lies_within_what_was_delivered() {
    let progress = progress(Manual);
    check(&progress, 4, Err(CheckpointRefusal::OutOfRange));
    check(&progress, 5, Ok(after(5)));
    check(&progress, 20, Ok(after(20)));
    check(&progress, 21, Err(CheckpointRefusal::OutOfRange));
    let nothing_delivered = Progress::new(Manual, after(5));
    check(&nothing_delivered, 5, Ok(after(5)));
    check(&nothing_delivered, 6, Err(CheckpointRefusal::OutOfRange));
    let from_the_beginning = Progress::new(Manual, Checkpoint::TrimHorizon);
    check(&from_the_beginning, 0, Err(CheckpointRefusal::OutOfRange));
}

#[test]
fn checkpoint_never_goes_back_but_may_be_repeated() {
    let mut progress = progress(Manual);
    progress.store(after(10));
    check(&progress, 9, Err(CheckpointRefusal::OutOfRange));
    check(&progress, 10, Ok(after(10)));
    progress.store(after(7));
    check(&progress, 9, Err(CheckpointRefusal::OutOfRange));
}

#[test]
fn checkpoint_may_lie_inside_an_aggregated_record() {
    let inside = |sub_sequence| Position { sequence: 20.into(), sub_sequence };
    let mut progress = progress(Manual);
    progress.deliver(inside(3));
    assert_eq!(progress.check_checkpoint(inside(3)), Ok(Checkpoint::After(inside(3))));
    assert_eq!(progress.check_checkpoint(inside(4)), Err(CheckpointRefusal::OutOfRange));
    progress.store(Checkpoint::After(inside(2)));
    assert_eq!(progress.check_checkpoint(inside(1)), Err(CheckpointRefusal::OutOfRange));
}

#[test]
fn older_checkpoint_stores_the_automatic_one_instead() {
    let mut progress = progress(Automatic);
    progress.process(at(12), 1);
    check(&progress, 10, Ok(after(12)));
    check(&progress, 15, Ok(after(15)));
}

#[test]
fn prepared_checkpoint_is_delivered_and_not_done() {
    let mut progress = progress(Automatic);
    progress.process(at(12), 1);
    for (position, expected) in [
        (5, Err(CheckpointRefusal::OutOfRange)),
        (12, Err(CheckpointRefusal::OutOfRange)),
        (13, Ok(after(13))),
        (20, Ok(after(20))),
        (21, Err(CheckpointRefusal::OutOfRange)),
    ] {
        assert_eq!(progress.check_prepared(at(position)), expected, "{position}");
    }
    progress.close();
    assert_eq!(progress.check_prepared(at(13)), Err(CheckpointRefusal::Closed));
}

#[test]
fn closed_progress_refuses_checkpoints() {
    let mut progress = progress(Automatic);
    progress.close();
    check(&progress, 20, Err(CheckpointRefusal::Closed));
}

#[test]
fn processed_records_are_done_with_automatic_checkpoints() {
    for (policy, automatic, done) in
        [(Automatic, Some(after(12)), after(12)), (Manual, None, after(7))]
    {
        let mut progress = progress(policy);
        progress.store(after(7));
        progress.process(at(12), 1);
        assert_eq!((progress.automatic(), progress.done()), (automatic, done), "{policy:?}");
        assert!(!progress.is_all_done());
        progress.store(after(20));
        assert!(progress.is_all_done());
    }
}

#[test]
fn all_is_done_before_the_first_delivery() {
    assert!(Progress::new(Manual, Checkpoint::TrimHorizon).is_all_done());
}

#[test]
fn successor_starts_after_what_is_done() {
    let mut progress = progress(Automatic);
    progress.process(at(12), 7);
    let lag = Lag { behind: Duration::ZERO, seen: Moment::default() };
    let batch = UnfinishedBatch { last: at(14), lag, since: Some(Moment::default()) };
    assert!(progress.detach([at(13), at(14)], batch));
    let successor = progress.successor();
    assert_eq!((successor.done(), successor.automatic()), (after(12), Some(after(12))));
    assert_eq!((successor.in_flight(), successor.restart(), successor.records()), (0, None, 7));
    assert_eq!(successor.oldest_unfinished(), Some(UnfinishedBatch { since: None, ..batch }));
    check(&successor, 13, Err(CheckpointRefusal::OutOfRange));
    assert!(successor.is_all_done());
}

/// Progress after 5, with 20 delivered and records up to 25 that need no processing.
fn passing(policy: CheckpointPolicy) -> Progress {
    let mut progress = progress(policy);
    progress.pass(at(25));
    assert_eq!((progress.automatic(), progress.done()), (None, after(5)), "20 is outstanding");
    progress
}

#[test]
fn records_without_work_are_done_once_delivered_ones_are() {
    let mut progress = passing(Automatic);
    progress.process(at(20), 1);
    assert_eq!((progress.automatic(), progress.done()), (Some(after(25)), after(25)));
    let mut progress = passing(Manual);
    progress.process(at(20), 1);
    assert_eq!((progress.automatic(), progress.done()), (None, after(5)), "not checkpointed");
    progress.store(after(20));
    assert_eq!((progress.automatic(), progress.done()), (Some(after(25)), after(25)));
    assert_eq!(progress.restart(), Some(after(25)));
    check(&progress, 20, Ok(after(25)));
}

#[test]
fn records_without_work_are_done_at_once_if_nothing_is_outstanding() {
    for policy in [Automatic, Manual] {
        let mut progress = Progress::new(policy, Checkpoint::TrimHorizon);
        progress.pass(at(3));
        assert_eq!((progress.done(), progress.successor().done()), (after(3), after(3)));
        progress.deliver(at(4));
        assert_eq!(progress.done(), after(3), "{policy:?}");
        progress.pass(at(4));
        assert_eq!(progress.done(), after(3), "4 needs processing");
    }
}

#[test]
fn records_without_work_wait_for_acknowledgements_before_them() {
    let mut progress = Progress::new(Automatic, after(5));
    progress.deliver(at(7));
    let lag = Lag { behind: Duration::ZERO, seen: Moment::default() };
    let batch = UnfinishedBatch { last: at(7), lag, since: Some(Moment::default()) };
    assert!(progress.detach([at(6), at(7)], batch));
    progress.pass(at(8));
    progress.pass(at(9));
    progress.acknowledge(at(7));
    assert_eq!((progress.done(), progress.in_flight()), (after(5), 2));
    progress.acknowledge(at(6));
    assert_eq!((progress.done(), progress.in_flight()), (after(9), 0));
}
