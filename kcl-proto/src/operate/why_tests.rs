//! Explanations of shards of small fleets.

use std::time::Duration;

use super::*;
use crate::model::{Checkpoint, Shard, StreamStart, UnreadableRow};
use crate::operate::look::{Look, StreamFacts};
use crate::operate::tests::{NOW, at, java_look, java_worker, lease, look, posted, worker};

/// The cause of shard `shard`: the check that failed, and its text.
fn cause(seen: &Seen<'_>, shard: &str) -> Option<(&'static str, String)> {
    let why = Why::of(&shard_named(shard), &FleetReport::of(seen), seen);
    assert_eq!(why.has_cause(), why.advice.is_some(), "{why:?}");
    let cause = why.checks.into_iter().find(|check| check.found == Found::Cause)?;
    Some((cause.name, cause.text))
}

#[track_caller]
fn check_cause(look: &Look, shard: &str, name: &str, text: &str) {
    let (found, words) = cause(&Seen::once("app", look), shard).expect("a cause");
    assert_eq!((found, &*words), (name, text));
}

#[test]
fn processed_shard_has_no_cause() {
    let look = look([lease(0, 1, "a:1")], &[worker("a:1", 2)]);
    let seen = Seen::once("app", &look);
    let why = Why::of(&shard_named("0"), &FleetReport::of(&seen), &seen);
    assert_eq!(why.summary, "Shard 0 is processed: caught-up, 2 s behind.");
    assert!(!why.has_cause(), "{why:?}");
}

#[test]
fn first_check_that_fails_is_the_cause() {
    let dead = || [worker("a:1", 600), worker("b:1", 1)];
    let held = || [lease(0, 1, "a:1")];
    check_cause(&look(held(), &dead()), "0", "owner alive", "its owner a has been silent for 10 m");
    check_cause(
        &look([lease(0, 1, "")], &[worker("a:1", 1)]),
        "0",
        "owner",
        "it has no owner, although one worker runs",
    );
    let row = posted(HoldUpKind::Call, 41, "process_records");
    check_cause(
        &look(held(), &[row]),
        "0",
        "processor",
        "a call of its processor on a has not returned: process_records 41 s",
    );
    let row = posted(HoldUpKind::Failing, 7, "no such customer");
    check_cause(
        &look(held(), &[row]),
        "0",
        "processor",
        "its processor on a is failing 7: no such customer",
    );
    let row = posted(HoldUpKind::Reads, 9, "throttled");
    check_cause(&look(held(), &[row]), "0", "reads", "reads failing 9: throttled");
    let row = posted(HoldUpKind::Table, 9, "throttled");
    let text = "calls of its owner to the lease table fail: throttled";
    check_cause(&look(held(), &[row]), "0", "lease table", text);
}

#[test]
fn cause_is_beyond_the_shard_itself() {
    let mut child = lease(1, 1, "");
    child.parents = [ShardId::of_number(0).unwrap()].into();
    child.checkpoint = Checkpoint::TrimHorizon;
    let family = look([lease(0, 1, "a:1"), child], &[worker("a:1", 2)]);
    check_cause(&family, "1", "parents", "its parent, shard 0, is not finished");

    let mut java = java_look(vec![java_worker("java-1", 1_545_084_700)]);
    java.stream_starts.push(StreamStart::sample());
    let text = "its row is the Java KCL's, and a Java worker may be alive";
    check_cause(&java, "0", "library", text);
    java.java.clear();
    java.java.push(java_worker("java-1", 1_545_084_000));
    let text = "its row is the Java KCL's, and no Java worker is alive";
    check_cause(&java, "0", "library", text);
}

/// A processor that hangs and one that is too slow differ in whether anything is done.
#[test]
fn shard_that_stands_still_is_not_called_slow() {
    let of = |lag_before: i64| {
        let seen_at = |seen_at: i64, lag: i64| {
            let mut held = lease(0, 1, "a:1");
            held.caught_up_at = Some(at(seen_at - lag));
            let mut row = worker("a:1", NOW - seen_at + 2);
            row.beat = u64::try_from(seen_at).unwrap();
            Look { at: at(seen_at), ..look([held], &[row]) }
        };
        let (one, two) = (seen_at(NOW - 5, lag_before), seen_at(NOW, 60));
        cause(&Seen { earlier: Some(&one), ..Seen::once("app", &two) }, "0").unwrap()
    };
    let still = "no record was done between two looks 5 s apart, 1 m behind";
    assert_eq!(of(55), ("progress", still.to_owned()));
    let slow = "more arrives than its processor does, 1 m behind";
    assert_eq!(of(57), ("progress", slow.to_owned()));
}

#[test]
fn shard_without_a_lease_is_explained() {
    let mut fleet = look([lease(0, 2, "a:1")], &[worker("a:1", 2)]);
    let text = "the table has no lease for it, and the stream was not read";
    check_cause(&fleet, "1", "lease", text);
    let shard = Shard { id: ShardId::of_number(1).unwrap(), ..Shard::sample() };
    let (name, retention) = ("orders".into(), Duration::from_hours(24));
    let stream = StreamFacts { name, shards: vec![shard], retention };
    let of = |fleet: &Look, shard| {
        cause(&Seen { stream: Some(&stream), ..Seen::once("app", fleet) }, shard).unwrap().1
    };
    assert_eq!(of(&fleet, "1"), "the stream has the shard, and the table has no lease for it");
    assert_eq!(of(&fleet, "7"), "neither the stream nor the table has it");
    let (key, problem) = ("shardId-000000000001".into(), "checkpoint is missing".into());
    fleet.unreadable.push(UnreadableRow::new(key, problem, String::new()));
    assert_eq!(of(&fleet, "1"), "the row is unreadable: checkpoint is missing");
}

#[test]
fn finished_shard_names_its_children() {
    let mut ended = lease(0, 1, "");
    ended.checkpoint = Checkpoint::ShardEnd;
    ended.children = [1, 2].map(|it| ShardId::of_number(it).unwrap()).into();
    let look = look([ended, lease(1, 2, "a:1"), lease(2, 2, "a:1")], &[worker("a:1", 2)]);
    let seen = Seen::once("app", &look);
    let why = Why::of(&shard_named("0"), &FleetReport::of(&seen), &seen);
    assert_eq!(why.summary, "Shard 0 is finished: its children are 1 and 2.");
}

#[test]
fn times_are_spoken() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 m"),
        (303, "5 m 3 s"),
        (10_920, "3 h 2 m"),
        (86_400, "1 d"),
        (183_600, "2 d 3 h"),
    ] {
        assert_eq!(spoken(seconds), text);
    }
}
