//! Retries, halves and abandoned records, failure by failure.

use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(number: u128) -> Position {
    Position::of(number.into())
}

fn records(numbers: impl IntoIterator<Item = u128>) -> Vec<Record> {
    numbers.into_iter().map(|number| Record::new(at(number), "key", "data", None)).collect()
}

fn now(seconds: u32) -> Moment {
    Moment::from_origin(SECOND * seconds)
}

#[track_caller]
fn fail(
    history: &mut FailureHistory,
    numbers: impl IntoIterator<Item = u128>,
    policy: &FailurePolicy,
    expected: Verdict,
) {
    let positions: Vec<_> = numbers.into_iter().map(at).collect();
    let failed = Failed { positions: &positions, is_first_blamed: false, error: "no" };
    assert_eq!(history.failed(failed, policy, now(0)), expected);
}

#[track_caller]
fn check(history: &FailureHistory, first: u128, count: usize, attempt: u32) {
    let portion = history.portion(&records(first..=8));
    assert_eq!(portion, Some(Portion::Deliver { count, attempt }), "from {first}");
}

#[test]
fn records_are_retried_without_end_by_default() {
    let mut history = FailureHistory::default();
    for tries in 1..100 {
        fail(&mut history, 1..=8, &FailurePolicy::default(), Verdict::Retry { tries });
        check(&history, 1, 8, tries + 1);
    }
}

#[test]
fn exhausted_records_are_halved_down_to_one() {
    let policy = FailurePolicy::attempts(2, OnExhausted::DeadLetter);
    let mut history = FailureHistory::default();
    fail(&mut history, 1..=8, &policy, Verdict::Retry { tries: 1 });
    fail(&mut history, 1..=8, &policy, Verdict::Retry { tries: 1 });
    check(&history, 1, 4, 3);
    check(&history, 5, 4, 3);
    fail(&mut history, 5..=8, &policy, Verdict::Retry { tries: 1 });
    fail(&mut history, 5..=6, &policy, Verdict::Retry { tries: 1 });
    check(&history, 5, 1, 5);
    fail(&mut history, 5..=5, &policy, Verdict::Retry { tries: 1 });
    fail(&mut history, 5..=5, &policy, Verdict::Abandon);
    let exhausted = Exhausted { attempts: 6, error: "no".to_owned() };
    let portion = history.portion(&records(5..=8));
    assert_eq!(portion, Some(Portion::Abandon(exhausted)));
    history.abandoned(at(5));
    assert_eq!(history.portion(&records(5..=8)), Some(Portion::Pass));
    check(&history, 6, 1, 5);
    check(&history, 7, 2, 4);
}

#[test]
fn abandoned_record_is_passed_when_read_again() {
    let policy = FailurePolicy::attempts(1, OnExhausted::DeadLetter);
    let mut history = FailureHistory::default();
    fail(&mut history, 5..=5, &policy, Verdict::Abandon);
    history.abandoned(at(5));
    check(&history, 1, 4, 1);
    history.done_up_to(at(5));
    assert_eq!(history, FailureHistory::default());
}

#[test]
fn progress_resets_the_tries() {
    let policy = FailurePolicy::attempts(3, OnExhausted::Skip);
    let mut history = FailureHistory::default();
    for first in 1..=7 {
        fail(&mut history, first..=8, &policy, Verdict::Retry { tries: 1 });
    }
    check(&history, 7, 2, 8);
}

#[test]
fn blamed_first_record_is_abandoned_alone() {
    let policy = FailurePolicy::attempts(1, OnExhausted::Skip);
    let mut history = FailureHistory::default();
    let failed = Failed { positions: &[at(3), at(4), at(8)], is_first_blamed: true, error: "no" };
    assert_eq!(history.failed(failed, &policy, now(0)), Verdict::Abandon);
    history.abandoned(at(3));
    check(&history, 4, 5, 2);
}

#[test]
fn time_exhausts_records_as_attempts_do() {
    let policy = FailurePolicy::retry_for(SECOND * 10, OnExhausted::StopShard);
    let mut history = FailureHistory::default();
    let failed = Failed { positions: &[at(1)], is_first_blamed: false, error: "no" };
    assert_eq!(history.failed(failed, &policy, now(5)), Verdict::Retry { tries: 1 });
    assert_eq!(history.failed(failed, &policy, now(14)), Verdict::Retry { tries: 2 });
    assert_eq!(history.failed(failed, &policy, now(15)), Verdict::StopShard);
    let policy = FailurePolicy::attempts(1, OnExhausted::StopWorker);
    assert_eq!(FailureHistory::default().failed(failed, &policy, now(5)), Verdict::StopWorker);
}

#[test]
fn single_record_gets_the_full_time_again() {
    let policy = FailurePolicy::retry_for(SECOND * 10, OnExhausted::Skip);
    let mut history = FailureHistory::default();
    let mut fail = |positions: &[Position], seconds, expected| {
        let failed = Failed { positions, is_first_blamed: false, error: "no" };
        assert_eq!(history.failed(failed, &policy, now(seconds)), expected, "at {seconds}");
    };
    let (both, low, high) = ([at(1), at(2)], [at(1)], [at(2)]);
    fail(&both, 0, Verdict::Retry { tries: 1 });
    fail(&both, 10, Verdict::Retry { tries: 1 });
    fail(&low, 11, Verdict::Retry { tries: 1 });
    fail(&low, 20, Verdict::Retry { tries: 2 });
    fail(&low, 21, Verdict::Abandon);
    fail(&high, 40, Verdict::Retry { tries: 1 });
    fail(&high, 49, Verdict::Retry { tries: 2 });
    fail(&high, 50, Verdict::Abandon);
}

#[test]
fn call_without_records_is_retried_or_stops() {
    let check = |then, tries, failing_for, expected| {
        let policy = FailurePolicy::attempts(3, then);
        assert_eq!(call_failed(tries, failing_for, &policy), expected, "{then:?}");
        let policy = FailurePolicy::retry_for(SECOND * 3, then);
        assert_eq!(call_failed(tries, failing_for, &policy), expected, "{then:?}");
    };
    for (then, stop) in [
        (OnExhausted::StopShard, Verdict::StopShard),
        (OnExhausted::StopWorker, Verdict::StopWorker),
        (OnExhausted::DeadLetter, Verdict::Retry { tries: 3 }),
        (OnExhausted::Skip, Verdict::Retry { tries: 3 }),
    ] {
        check(then, 2, SECOND * 2, Verdict::Retry { tries: 2 });
        check(then, 3, SECOND * 3, stop);
    }
    let forever = call_failed(u32::MAX, SECOND * 1_000_000, &FailurePolicy::default());
    assert_eq!(forever, Verdict::Retry { tries: u32::MAX });
}

#[test]
fn records_keep_their_attempts_in_other_batches() {
    let policy = FailurePolicy::default();
    let mut history = FailureHistory::default();
    fail(&mut history, 3..=8, &policy, Verdict::Retry { tries: 1 });
    check(&history, 1, 2, 1);
    assert_eq!(history.portion(&records(3..=5)), Some(Portion::Deliver { count: 3, attempt: 2 }));
    fail(&mut history, 3..=5, &policy, Verdict::Retry { tries: 2 });
    check(&history, 3, 3, 3);
    check(&history, 6, 3, 2);
}

#[test]
fn history_without_checkpoints_is_bounded() {
    let policy = FailurePolicy::attempts(2, OnExhausted::Skip);
    let mut history = FailureHistory::default();
    let many = u128::try_from(KEPT_MAX).unwrap() + 100;
    for number in 1..=many {
        fail(&mut history, [number], &policy, Verdict::Retry { tries: 1 });
        history.abandoned(at(number + many));
        assert_eq!(history.portion(&records([number + many])), Some(Portion::Pass));
    }
    assert!(history.ranges.len() <= KEPT_MAX && history.abandoned.len() <= KEPT_MAX);
    // Records that are read again from the start are retried like new ones.
    fail(&mut history, [1], &policy, Verdict::Retry { tries: 1 });
    fail(&mut history, [1], &policy, Verdict::Abandon);
}

#[test]
fn records_that_wait_to_be_abandoned_are_kept() {
    let policy = FailurePolicy { bisect: false, ..FailurePolicy::attempts(1, OnExhausted::Skip) };
    let mut history = FailureHistory::default();
    let many = u128::try_from(KEPT_MAX).unwrap() + 10;
    fail(&mut history, 1..=many, &policy, Verdict::Abandon);
    for number in 1..=many {
        let portion = history.portion(&records([number]));
        assert!(matches!(portion, Some(Portion::Abandon(_))), "{number}");
        history.abandoned(at(number));
    }
    assert_eq!(history.abandoned.len(), KEPT_MAX);
}
