//! Records reach processors: in order, at least once, again when they failed.

use std::time::Duration;

use kcl_core::config::CheckpointPolicy;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position};
use kcl_sim::story::{Act, Call, Story};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn records_arrive_in_order_and_once() {
    let story = Story::new(2);
    story.put(0, ["a", "b", "c"]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("c"));
    story.put(0, ["d", "e"]);
    let last = story.put(0, ["f"]);
    story.until("delivered", SOON, |story| story.journal.has("f"));
    worker.stop().unwrap();
    assert_eq!(story.journal.delivered(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(story.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
    assert_eq!(story.lease(1).checkpoint, Checkpoint::TrimHorizon);
}

#[test]
fn renewal_stores_what_is_done() {
    let story = Story::new(1);
    let last = story.put(0, ["a", "b"]);
    let worker = story.start("w");
    let stored = Checkpoint::After(Position::of(last));
    story.until("stored", SOON, |story| story.find(0).is_some_and(|l| l.checkpoint == stored));
    worker.crash();
    story.put(0, ["c"]);
    story.start("w");
    story.until("delivered", SOON * 3, |story| story.journal.has("c"));
    assert_eq!(story.journal.delivered(), ["a", "b", "c"]);
}

#[test]
fn failed_batch_is_retried_with_a_rising_attempt() {
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    story.on(|call| call.attempt().is_some_and(|attempt| attempt < 4), Act::Fail);
    let worker = story.start("w");
    story.until("fourth attempt", SOON, |story| story.journal.calls(0).len() >= 11);
    let failed = story.journal.events(|event| {
        if let Event::BatchFailed { attempt, retry_in, .. } = event {
            Some((*attempt, *retry_in))
        } else {
            None
        }
    });
    let attempts: Vec<_> = failed.iter().map(|(_, _, (attempt, _))| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(failed.is_sorted_by_key(|(_, _, (_, retry_in))| *retry_in), "{failed:?}");
    worker.stop().unwrap();
    let calls = story.journal.calls(0);
    assert_eq!(
        calls[3..11],
        [
            "process a b #1",
            "done",
            "process a b #2",
            "done",
            "process a b #3",
            "done",
            "process a b #4",
            "done"
        ]
    );
}

#[test]
fn panic_is_followed_by_a_new_processor() {
    let story = Story::new(1);
    story.put(0, ["a", "b"]);
    story.on(|call| call.attempt() == Some(1), Act::Panic);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.delivered().len() == 4);
    worker.stop().unwrap();
    assert_eq!(
        story.journal.calls(0),
        [
            "made",
            "initialize",
            "done",
            "process a b #1",
            "dropped",
            "made",
            "initialize",
            "done",
            "process a b #2",
            "done",
            "shutdown requested",
            "done"
        ]
    );
}

#[test]
fn checkpoint_shortens_the_retry() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let story = Story::new(1);
        story.configure(|config| config.delivery.checkpoints = policy);
        story.put(0, ["a", "b", "c"]);
        story.on(|call| call.attempt() == Some(1), Act::CheckpointAndFail(1));
        let worker = story.start("w");
        story.until("delivered", SOON, |story| story.journal.delivered().len() == 4);
        worker.stop().unwrap();
        assert_eq!(story.journal.delivered(), ["a", "b", "c", "c"], "{policy:?}");
        let calls = story.journal.calls(0);
        assert!(calls.contains(&"process c #2".to_owned()), "{calls:?}");
    }
}

#[test]
fn manual_policy_stores_only_what_is_asked() {
    let story = Story::new(1);
    story.configure(|config| config.delivery.checkpoints = CheckpointPolicy::Manual);
    story.put(0, ["a", "b"]);
    let worker = story.start("w");
    story.until("delivered", SOON, |story| story.journal.has("b"));
    story.pass(SECOND * 30);
    assert_eq!(story.lease(0).checkpoint, Checkpoint::TrimHorizon);
    story.on(Call::is_batch, Act::Checkpoint(0));
    let asked = story.put(0, ["c"]);
    let stored = Checkpoint::After(Position::of(asked));
    story.until("stored", SOON, |story| story.lease(0).checkpoint == stored);
    story.all_succeed();
    story.put(0, ["d"]);
    story.until("delivered", SOON, |story| story.journal.has("d"));
    worker.stop().unwrap();
    assert_eq!(story.lease(0).checkpoint, stored);
}

#[test]
fn drain_finishes_the_batch_in_hand_and_releases() {
    let story = Story::new(1);
    let last = story.put(0, ["a"]);
    story.on(|call| call.delivers("a"), Act::Take(SECOND * 5));
    let worker = story.start("w");
    story.until("begun", SOON, |story| story.journal.has("a"));
    story.put(0, ["b"]);
    let began = story.elapsed();
    let report = worker.stop().unwrap();
    assert!(story.elapsed() - began < SECOND * 6);
    assert_eq!(report.shards.len(), 1);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    let lease = story.lease(0);
    assert_eq!((lease.owner, lease.checkpoint), (None, Checkpoint::After(Position::of(last))));
    assert_eq!(story.journal.delivered(), ["a"]);
    let calls = story.journal.calls(0);
    assert_eq!(calls[3..], ["process a #1", "done", "shutdown requested", "done"]);
}

#[test]
fn overdue_drain_drops_the_batch_for_the_next_owner() {
    let story = Story::new(1);
    story.put(0, ["a"]);
    story.on(|call| call.is_batch() && call.worker == "stuck", Act::Hang);
    let worker = story.start("stuck");
    story.until("begun", SOON, |story| story.journal.has("a"));
    let began = story.elapsed();
    let report = worker.stop().unwrap();
    let took = story.elapsed() - began;
    assert!((SECOND * 20..SECOND * 22).contains(&took), "{took:?}");
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    let lease = story.lease(0);
    assert_eq!((lease.owner, lease.checkpoint), (None, Checkpoint::TrimHorizon));
    assert_eq!(story.journal.calls(0)[3..], ["process a #1", "dropped", "lease lost", "done"]);
    assert!(story.journal.event(|e| matches!(e, Event::Stalled { .. }).then_some(())).is_some());
    story.start("next");
    story.until("again", SOON, |story| story.journal.delivered().len() == 2);
    assert_eq!(story.journal.who_got("a"), ["stuck", "next"]);
}

#[test]
fn hanging_call_is_reported_and_its_lease_kept() {
    let story = Story::new(2);
    story.put(0, ["a"]);
    story.on(|call| call.delivers("a"), Act::Take(SECOND * 300));
    let worker = story.start("w");
    story.until("begun", SOON, |story| story.journal.has("a"));
    let began = story.elapsed();
    let slow = |story: &Story| {
        story.journal.events(|event| {
            if let Event::ProcessorSlow { shard, call, .. } = event {
                Some((shard.clone(), *call))
            } else {
                None
            }
        })
    };
    let held = || worker.status().held;
    story.pass(SECOND * 59);
    assert_eq!(slow(&story), []);
    assert!(held().iter().all(|shard| shard.slow.is_none()));
    story.until("reported", SECOND * 7, |story| !slow(story).is_empty());
    story.pass(SECOND * 2);
    let shown = held()[0].slow.clone().unwrap();
    assert_eq!(shown.call, "process_records");
    assert!((SECOND * 60..SECOND * 67).contains(&shown.taken), "{shown:?}");
    assert_eq!(held()[1].slow, None);
    story.pass(began + SECOND * 290 - story.elapsed());
    let reported = slow(&story);
    assert!(reported.iter().all(|(_, _, what)| *what == (story.shard(0), "process_records")));
    assert_eq!(reported.len(), 3, "after one minute, two and four: {reported:?}");
    assert_eq!(story.owned_by("w"), Some(2));
    story.put(0, ["b"]);
    story.until("delivered", SECOND * 15, |story| story.journal.has("b"));
    story.pass(SECOND * 6);
    assert_eq!(held()[0].slow, None);
    assert_eq!(story.journal.delivered(), ["a", "b"]);
}

#[test]
fn status_shows_progress_and_lag() {
    let story = Story::new(2);
    story.configure(|config| config.retrieval.records_max = 2);
    let done = story.put(0, ["a", "b"]);
    story.pass(SECOND * 10);
    story.put(0, ["c", "d"]);
    story.put(0, ["e"]);
    story.on(|call| call.delivers("d"), Act::Take(SECOND * 30));
    let worker = story.start("w");
    story.until("begun", SOON, |story| story.journal.has("d"));
    story.pass(SECOND * 10);
    let held = worker.status().held;
    assert_eq!(held[0].key, story.key(0));
    assert_eq!(held[0].checkpoint, Some(Checkpoint::After(Position::of(done))));
    assert!(held[0].behind_latest > Some(Duration::ZERO), "{held:?}");
    assert_eq!(held[1].checkpoint, Some(Checkpoint::TrimHorizon));
    assert_eq!(held[1].behind_latest, Some(Duration::ZERO));
    story.until("delivered", SECOND * 40, |story| story.journal.has("e"));
    story.pass(SECOND * 10);
    let held = worker.status().held;
    assert_eq!(held[0].checkpoint, Some(story.lease(0).checkpoint));
    assert_eq!(held[0].behind_latest, Some(Duration::ZERO));
}
