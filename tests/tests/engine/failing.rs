//! Records that can never be processed, and their neighbours.

use std::time::Duration;

use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::error::RunError;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position};
use kcl_sim::story::{Act, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(30);

/// A shard with the records a to h, of which one cannot be processed.
fn poisoned(then: OnExhausted, poison: &'static str, act: Act) -> Story {
    let story = Story::new(1);
    story.configure(|config| config.delivery.failure = FailurePolicy::attempts(2, then));
    story.poison(poison);
    story.put(0, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    story.on(move |call| call.delivers(poison), act);
    story
}

/// The records of the deliveries without `poison`, in order.
fn processed(story: &Story, poison: &str) -> Vec<String> {
    let calls = story.journal.calls(0).into_iter();
    let batches = calls.filter_map(|call| call.strip_prefix("process ").map(str::to_owned));
    let mut done = Vec::new();
    for batch in batches {
        let records: Vec<_> =
            batch.split(' ').filter(|it| !it.starts_with('#')).map(str::to_owned).collect();
        if !records.iter().any(|record| record == poison) {
            done.extend(records);
        }
    }
    done
}

fn stopped(story: &Story) -> Vec<String> {
    let stopped = |event: &Event| matches!(event, Event::ShardStopped { .. }).then_some(());
    story.journal.events(stopped).into_iter().map(|(_, who, ())| who).collect()
}

#[test]
fn poison_record_is_dead_lettered_alone() {
    for act in [Act::Fail, Act::Panic] {
        let story = poisoned(OnExhausted::DeadLetter, "f", act);
        let worker = story.start("w");
        story.until("set aside", SOON, |story| story.dead_letters() == ["f"]);
        let last = story.put(0, ["i"]);
        story.until("delivered", SOON, |story| story.journal.has("i"));
        worker.stop().unwrap();
        assert_eq!(processed(&story, "f"), ["a", "b", "c", "d", "e", "g", "h", "i"], "{act:?}");
        assert_eq!(story.dead_letters(), ["f"]);
        assert_eq!(story.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
    }
}

#[test]
fn failing_dead_letter_holds_the_shard() {
    let story = poisoned(OnExhausted::DeadLetter, "c", Act::Fail);
    story.fail_dead_letters(6);
    let worker = story.start("w");
    story.pass(SECOND * 5);
    assert!(!story.journal.calls(0).iter().any(|call| call.starts_with("process d")));
    story.until("set aside", SOON, |story| story.dead_letters() == ["c"]);
    story.until("delivered", SOON, |story| processed(story, "c").len() == 7);
    worker.stop().unwrap();
    let failed = |event: &Event| matches!(event, Event::DeadLetterFailed { .. }).then_some(());
    assert_eq!(story.journal.events(failed).len(), 6);
}

#[test]
fn crash_while_bisecting_repeats_only_the_unstored() {
    let story = poisoned(OnExhausted::DeadLetter, "g", Act::Fail);
    let worker = story.start("w");
    // The first half is done and the second is being searched: it is stored with the next renewal.
    story.fail_dead_letters(1_000);
    let stored = |story: &Story| {
        story.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
            && processed(story, "g").len() >= 6
    };
    story.until("half stored", SOON, stored);
    story.until("renewed", SOON, |story| {
        let done = processed(story, "g").len();
        done == 6
    });
    story.pass(SECOND * 4);
    worker.crash();
    let before = story.journal.delivered().len();
    story.fail_dead_letters(0);
    let next = story.start("next");
    story.until("set aside", SOON * 2, |story| story.dead_letters() == ["g"]);
    story.until("delivered", SOON, |story| processed(story, "g").ends_with(&["h".to_owned()]));
    next.stop().unwrap();
    let again = story.journal.delivered().split_off(before);
    assert!(again.iter().all(|record| record == "g" || record == "h"), "{again:?}");
}

#[test]
fn stopped_shard_is_tried_once_by_each_worker() {
    let story = poisoned(OnExhausted::StopShard, "c", Act::Fail);
    let one = story.start("one");
    story.until("stopped", SOON, |story| stopped(story) == ["one"]);
    let two = story.start("two");
    story.until("stopped again", SOON * 2, |story| stopped(story) == ["one", "two"]);
    story.pass(SECOND * 600);
    assert_eq!(stopped(&story), ["one", "two"]);
    let lease = story.lease(0);
    assert_eq!(lease.owner, None);
    // Its neighbours before it are done; a worker that starts tries it again.
    story.all_succeed();
    let three = story.start("three");
    story.until("delivered", SOON, |story| story.journal.has("h"));
    story.until("done", SOON, |story| story.journal.who_got("c").contains(&"three".to_owned()));
    assert_eq!(story.journal.who_got("a").last().unwrap(), "one");
    for worker in [one, two, three] {
        worker.stop().unwrap();
    }
}

#[test]
fn stopped_worker_releases_and_names_the_record() {
    let story = poisoned(OnExhausted::StopWorker, "c", Act::Fail);
    story.configure(|config| config.delivery.failure.attempts_max = Some(1));
    let error = story.start("w").ended().unwrap_err();
    let RunError::RecordsFailed { position, error, .. } = error else { panic!("{error}") };
    assert_eq!(error, "scripted");
    let lease = story.lease(0);
    assert_eq!(lease.owner, None);
    assert!(lease.checkpoint < Checkpoint::After(position) && lease.checkpoint.has_progressed());
    let how =
        |event: &Event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None };
    assert_eq!(story.journal.event(how).unwrap().2, LeaseEnd::Released);
}

#[test]
fn passing_failure_skips_nothing() {
    let story = Story::new(1);
    story.configure(|config| {
        config.delivery.failure = FailurePolicy::retry_for(SECOND * 60, OnExhausted::Skip);
    });
    story.put(0, ["a", "b"]);
    story.on(|call| call.delivers("a"), Act::Fail);
    let worker = story.start("w");
    story.pass(SECOND * 45);
    story.all_succeed();
    story.until("done", SECOND * 60, |story| {
        story.find(0).is_some_and(|it| it.checkpoint.has_progressed())
    });
    worker.stop().unwrap();
    let skipped = |event: &Event| matches!(event, Event::Skipped { .. }).then_some(());
    assert_eq!(story.journal.events(skipped), []);
}
