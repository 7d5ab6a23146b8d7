//! Records reach processors: in order, at least once, again when they failed.

use std::time::Duration;

use kcl_core::config::CheckpointPolicy;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position};
use kcl_tests::world::{Act, Call, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn records_of_a_shard_arrive_in_order_and_once() {
    let world = World::new(2);
    world.put(0, ["a", "b", "c"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("c")).await;
    world.put(0, ["d", "e"]);
    let last = world.put(0, ["f"]);
    world.until("delivered", SOON, |world| world.journal.has("f")).await;
    worker.stop().await.unwrap();
    assert_eq!(world.journal.delivered(), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(world.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
    assert_eq!(world.lease(1).checkpoint, Checkpoint::TrimHorizon);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_stored_with_the_next_renewal_and_not_delivered_to_the_next_start() {
    let world = World::new(1);
    let last = world.put(0, ["a", "b"]);
    let worker = world.start("w");
    let stored = Checkpoint::After(Position::of(last));
    world
        .until("stored", SOON, |world| world.find(0).is_some_and(|l| l.checkpoint == stored))
        .await;
    worker.crash();
    world.put(0, ["c"]);
    let _again = world.start("w");
    world.until("delivered", SOON * 3, |world| world.journal.has("c")).await;
    assert_eq!(world.journal.delivered(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_comes_again_with_a_rising_attempt_until_it_works() {
    let world = World::new(1);
    world.put(0, ["a", "b"]);
    world.script(|asked| {
        if matches!(asked.call, Call::Process { attempt, .. } if attempt < 4) {
            Act::Fail
        } else {
            Act::Succeed
        }
    });
    let worker = world.start("w");
    world.until("fourth attempt", SOON, |world| world.journal.calls(0).len() >= 11).await;
    let failed = world.journal.events(|event| {
        if let Event::BatchFailed { attempt, retry_in, .. } = event {
            Some((*attempt, *retry_in))
        } else {
            None
        }
    });
    let attempts: Vec<_> = failed.iter().map(|(_, _, (attempt, _))| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(failed.is_sorted_by_key(|(_, _, (_, retry_in))| *retry_in), "{failed:?}");
    worker.stop().await.unwrap();
    let calls = world.journal.calls(0);
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

#[tokio::test(start_paused = true)]
async fn after_a_panic_a_new_processor_is_initialized_and_gets_the_batch() {
    let world = World::new(1);
    world.put(0, ["a", "b"]);
    let panicked = std::sync::atomic::AtomicBool::new(false);
    world.script(move |asked| {
        let first =
            asked.delivers("a") && !panicked.swap(true, std::sync::atomic::Ordering::SeqCst);
        if first { Act::Panic } else { Act::Succeed }
    });
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.delivered().len() == 4).await;
    worker.stop().await.unwrap();
    assert_eq!(
        world.journal.calls(0),
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

#[tokio::test(start_paused = true)]
async fn an_explicit_checkpoint_shortens_the_retry_under_either_policy() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let mut world = World::new(1);
        world.config.delivery.checkpoints = policy;
        world.put(0, ["a", "b", "c"]);
        world.script(|asked| {
            if matches!(asked.call, Call::Process { attempt: 1, .. }) {
                Act::CheckpointAndFail(1)
            } else {
                Act::Succeed
            }
        });
        let worker = world.start("w");
        world.until("delivered", SOON, |world| world.journal.delivered().len() == 4).await;
        worker.stop().await.unwrap();
        assert_eq!(world.journal.delivered(), ["a", "b", "c", "c"], "{policy:?}");
        let calls = world.journal.calls(0);
        assert!(calls.contains(&"process c #2".to_owned()), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_checkpointed_under_manual_unless_asked() {
    let mut world = World::new(1);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.put(0, ["a", "b"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("b")).await;
    world.pass(SECOND * 30).await;
    assert_eq!(world.lease(0).checkpoint, Checkpoint::TrimHorizon);
    world.script(|_| Act::Checkpoint(0));
    let asked = world.put(0, ["c"]);
    let stored = Checkpoint::After(Position::of(asked));
    world.until("stored", SOON, |world| world.lease(0).checkpoint == stored).await;
    world.script(|_| Act::Succeed);
    world.put(0, ["d"]);
    world.until("delivered", SOON, |world| world.journal.has("d")).await;
    worker.stop().await.unwrap();
    assert_eq!(world.lease(0).checkpoint, stored);
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_the_batch_in_hand_and_releases() {
    let world = World::new(1);
    let last = world.put(0, ["a"]);
    world.script(|asked| if asked.delivers("a") { Act::Take(SECOND * 5) } else { Act::Succeed });
    let worker = world.start("w");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    world.put(0, ["b"]);
    let began = world.clock.elapsed();
    let report = worker.stop().await.unwrap();
    assert!(world.clock.elapsed() - began < SECOND * 6);
    assert_eq!(report.shards.len(), 1);
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    let lease = world.lease(0);
    assert_eq!((lease.owner, lease.checkpoint), (None, Checkpoint::After(Position::of(last))));
    assert_eq!(world.journal.delivered(), ["a"]);
    let calls = world.journal.calls(0);
    assert_eq!(calls[3..], ["process a #1", "done", "shutdown requested", "done"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_past_its_time_drops_the_batch_and_the_next_owner_gets_it() {
    let world = World::new(1);
    world.put(0, ["a"]);
    world.script(|asked| {
        if matches!(asked.call, Call::Process { .. } if asked.worker == "stuck") {
            Act::Hang
        } else {
            Act::Succeed
        }
    });
    let worker = world.start("stuck");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    let began = world.clock.elapsed();
    let report = worker.stop().await.unwrap();
    let took = world.clock.elapsed() - began;
    assert!((SECOND * 20..SECOND * 22).contains(&took), "{took:?}");
    assert_eq!(report.shards[0].how, LeaseEnd::Released);
    let lease = world.lease(0);
    assert_eq!((lease.owner, lease.checkpoint), (None, Checkpoint::TrimHorizon));
    assert_eq!(world.journal.calls(0)[3..], ["process a #1", "dropped", "lease lost", "done"]);
    assert!(world.journal.event(|e| matches!(e, Event::Stalled { .. }).then_some(())).is_some());
    let _next = world.start("next");
    world.until("again", SOON, |world| world.journal.delivered().len() == 2).await;
    assert_eq!(world.journal.who_got("a"), ["stuck", "next"]);
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_hangs_is_told_and_told_again_and_its_lease_is_kept() {
    let world = World::new(2);
    world.put(0, ["a"]);
    world.script(|asked| if asked.delivers("a") { Act::Take(SECOND * 300) } else { Act::Succeed });
    let worker = world.start("w");
    world.until("begun", SOON, |world| world.journal.has("a")).await;
    let began = world.clock.elapsed();
    let slow = |world: &World| {
        world.journal.events(|event| {
            if let Event::ProcessorSlow { shard, call, .. } = event {
                Some((shard.clone(), *call))
            } else {
                None
            }
        })
    };
    let held = || worker.handle.status().held;
    world.pass(SECOND * 59).await;
    assert_eq!(slow(&world), []);
    assert!(held().iter().all(|shard| shard.slow.is_none()));
    world.until("told", SECOND * 7, |world| !slow(world).is_empty()).await;
    world.pass(SECOND * 2).await;
    let shown = held()[0].slow.clone().unwrap();
    assert_eq!(shown.call, "process_records");
    assert!((SECOND * 60..SECOND * 67).contains(&shown.taken), "{shown:?}");
    assert_eq!(held()[1].slow, None);
    world.pass(began + SECOND * 290 - world.clock.elapsed()).await;
    let told = slow(&world);
    assert!(told.iter().all(|(_, _, what)| *what == (world.shard(0), "process_records")));
    assert_eq!(told.len(), 3, "after one minute, two and four: {told:?}");
    assert_eq!(world.owned_by("w"), Some(2));
    world.put(0, ["b"]);
    world.until("delivered", SECOND * 15, |world| world.journal.has("b")).await;
    world.pass(SECOND * 6).await;
    assert_eq!(held()[0].slow, None);
    assert_eq!(world.journal.delivered(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_how_far_each_shard_is_done_and_behind() {
    let mut world = World::new(2);
    world.config.retrieval.records_max = 2;
    let done = world.put(0, ["a", "b"]);
    world.pass(SECOND * 10).await;
    world.put(0, ["c", "d"]);
    world.put(0, ["e"]);
    world.script(|asked| if asked.delivers("d") { Act::Take(SECOND * 30) } else { Act::Succeed });
    let worker = world.start("w");
    world.until("begun", SOON, |world| world.journal.has("d")).await;
    world.pass(SECOND * 10).await;
    let held = worker.handle.status().held;
    assert_eq!(held[0].key, world.key(0));
    assert_eq!(held[0].checkpoint, Some(Checkpoint::After(Position::of(done))));
    assert!(held[0].behind_latest > Some(Duration::ZERO), "{held:?}");
    assert_eq!(held[1].checkpoint, Some(Checkpoint::TrimHorizon));
    assert_eq!(held[1].behind_latest, Some(Duration::ZERO));
    world.until("delivered", SECOND * 40, |world| world.journal.has("e")).await;
    world.pass(SECOND * 10).await;
    let held = worker.handle.status().held;
    assert_eq!(held[0].checkpoint, Some(world.lease(0).checkpoint));
    assert_eq!(held[0].behind_latest, Some(Duration::ZERO));
}
