//! Records that can never be processed: what becomes of them, and of their neighbours.

use std::time::Duration;

use kcl_core::config::{FailurePolicy, OnExhausted};
use kcl_core::error::RunError;
use kcl_core::event::{Event, LeaseEnd};
use kcl_core::model::{Checkpoint, Position};
use kcl_tests::world::{Act, World};

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(30);

/// A shard with the records a to h, of which one cannot be processed.
fn poisoned(then: OnExhausted, poison: &'static str, act: Act) -> World {
    let mut world = World::new(1);
    world.config.delivery.failure = FailurePolicy::attempts(2, then);
    world.put(0, ["a", "b", "c", "d", "e", "f", "g", "h"]);
    world.script(move |asked| if asked.delivers(poison) { act } else { Act::Succeed });
    world
}

/// The records of the deliveries without `poison`, in order.
fn processed(world: &World, poison: &str) -> Vec<String> {
    let calls = world.journal.calls(0).into_iter();
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

fn stopped(world: &World) -> Vec<String> {
    let stopped = |event: &Event| matches!(event, Event::ShardStopped { .. }).then_some(());
    world.journal.events(stopped).into_iter().map(|(_, who, ())| who).collect()
}

#[tokio::test(start_paused = true)]
async fn a_poison_record_goes_to_the_dead_letter_alone_and_the_rest_is_processed_in_order() {
    for act in [Act::Fail, Act::Panic] {
        let world = poisoned(OnExhausted::DeadLetter, "f", act);
        let worker = world.start("w");
        world.until("set aside", SOON, |world| world.letters.stored() == ["f"]).await;
        let last = world.put(0, ["i"]);
        world.until("delivered", SOON, |world| world.journal.has("i")).await;
        worker.stop().await.unwrap();
        assert_eq!(processed(&world, "f"), ["a", "b", "c", "d", "e", "g", "h", "i"], "{act:?}");
        assert_eq!(world.letters.stored(), ["f"]);
        assert_eq!(world.lease(0).checkpoint, Checkpoint::After(Position::of(last)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_dead_letter_holds_the_shard_until_it_works() {
    let world = poisoned(OnExhausted::DeadLetter, "c", Act::Fail);
    world.letters.fail_next(6);
    let worker = world.start("w");
    world.pass(SECOND * 5).await;
    assert!(!world.journal.calls(0).iter().any(|call| call.starts_with("process d")));
    world.until("set aside", SOON, |world| world.letters.stored() == ["c"]).await;
    world.until("delivered", SOON, |world| processed(world, "c").len() == 7).await;
    worker.stop().await.unwrap();
    let failed = |event: &Event| matches!(event, Event::DeadLetterFailed { .. }).then_some(());
    assert_eq!(world.journal.events(failed).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_of_bisecting_repeats_only_what_was_not_checkpointed() {
    let world = poisoned(OnExhausted::DeadLetter, "g", Act::Fail);
    let worker = world.start("w");
    // The first half is done and the second is being searched: it is stored with the next renewal.
    world.letters.fail_next(1_000);
    let stored = |world: &World| {
        world.find(0).is_some_and(|lease| lease.checkpoint.has_progressed())
            && processed(world, "g").len() >= 6
    };
    world.until("half stored", SOON, stored).await;
    world
        .until("renewed", SOON, |world| {
            let done = processed(world, "g").len();
            done == 6
        })
        .await;
    world.pass(SECOND * 4).await;
    worker.crash();
    let before = world.journal.delivered().len();
    world.letters.fail_next(0);
    let next = world.start("next");
    world.until("set aside", SOON * 2, |world| world.letters.stored() == ["g"]).await;
    world
        .until("delivered", SOON, |world| processed(world, "g").ends_with(&["h".to_owned()]))
        .await;
    next.stop().await.unwrap();
    let again = world.journal.delivered().split_off(before);
    assert!(again.iter().all(|record| record == "g" || record == "h"), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stops_is_tried_once_by_each_worker_and_then_rests() {
    let world = poisoned(OnExhausted::StopShard, "c", Act::Fail);
    let one = world.start("one");
    world.until("stopped", SOON, |world| stopped(world) == ["one"]).await;
    let two = world.start("two");
    world.until("stopped again", SOON * 2, |world| stopped(world) == ["one", "two"]).await;
    world.pass(SECOND * 600).await;
    assert_eq!(stopped(&world), ["one", "two"]);
    let lease = world.lease(0);
    assert_eq!(lease.owner, None);
    // Its neighbours before it are done; whoever starts anew tries again.
    world.script(|_| Act::Succeed);
    let three = world.start("three");
    world.until("delivered", SOON, |world| world.journal.has("h")).await;
    world
        .until("done", SOON, |world| world.journal.who_got("c").contains(&"three".to_owned()))
        .await;
    assert_eq!(world.journal.who_got("a").last().unwrap(), "one");
    for worker in [one, two, three] {
        worker.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_releases_everything_and_says_which_record_it_was() {
    let mut world = poisoned(OnExhausted::StopWorker, "c", Act::Fail);
    world.config.delivery.failure.attempts_max = Some(1);
    let error = world.start("w").ended().await.unwrap_err();
    let RunError::RecordsFailed { position, error, .. } = error else { panic!("{error}") };
    assert_eq!(error, "as told");
    let lease = world.lease(0);
    assert_eq!(lease.owner, None);
    assert!(lease.checkpoint < Checkpoint::After(position) && lease.checkpoint.has_progressed());
    let how =
        |event: &Event| if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None };
    assert_eq!(world.journal.event(how).unwrap().2, LeaseEnd::Released);
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_fails_only_for_a_while_gives_nothing_up() {
    let mut world = World::new(1);
    world.config.delivery.failure = FailurePolicy::retry_for(SECOND * 60, OnExhausted::Skip);
    world.put(0, ["a", "b"]);
    let clock = world.clock;
    world.script(move |asked| {
        let is_early = clock.elapsed() < SECOND * 45;
        if is_early && asked.delivers("a") { Act::Fail } else { Act::Succeed }
    });
    let worker = world.start("w");
    world
        .until("done", SECOND * 60, |world| {
            world.find(0).is_some_and(|it| it.checkpoint.has_progressed())
        })
        .await;
    worker.stop().await.unwrap();
    let skipped = |event: &Event| matches!(event, Event::Skipped { .. }).then_some(());
    assert_eq!(world.journal.events(skipped), []);
}
