//! Records that fail again and again: halves, dead letters, skips, stops.

use kcl_proto::model::{CheckpointPolicy, FailurePolicy, OnExhausted};
use tokio::join;

use crate::data_side::tests::kit::{Act, MILLI, SECOND, World, after, at};
use crate::data_side::tests::run_for;
use crate::messages::{FromConsumer, Order};
use crate::report::error::RunError;
use crate::report::event::Event;

/// Records 1 to 8; one failure exhausts the attempts of a batch.
fn world(then: OnExhausted) -> World {
    let mut world = World::new().with_records(1..=8);
    world.config.delivery.failure = FailurePolicy::attempts(1, then);
    world
}

/// The dead letter's and the processor's part of the log.
fn said(world: &World) -> Vec<String> {
    let log = world.log().into_iter();
    log.filter(|line| line.contains(" to ") || line.contains("letter")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_poison_record_ends_up_in_the_dead_letter_alone_and_its_neighbours_in_order() {
    for poison in 1..=8 {
        let world = world(OnExhausted::DeadLetter);
        world.poison(poison, Act::Fail);
        assert_eq!(run_for(&world, SECOND * 60).await, Some(after(8)));
        let said = said(&world);
        let letters: Vec<_> = said.iter().filter(|line| line.contains("letter")).collect();
        assert_eq!(letters, [&format!("letter {poison}/0 after 4: no")]);
        let mut done = Vec::new();
        for line in said.iter().filter(|line| line.contains(" to ")) {
            let ends: Vec<u128> = line
                .split("/0")
                .take(2)
                .map(|part| part.trim_start_matches(" to ").parse().unwrap())
                .collect();
            if !(ends[0]..=ends[1]).contains(&poison) {
                done.extend(ends[0]..=ends[1]);
            }
        }
        assert_eq!(done, (1..=8).filter(|number| *number != poison).collect::<Vec<_>>());
        assert!(world.events().iter().any(|event| matches!(event,
            Event::DeadLettered { position, attempts: 4, .. } if *position == at(poison))));
    }
}

#[tokio::test(start_paused = true)]
async fn halves_come_one_after_the_other_and_a_single_record_gets_all_attempts() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure.attempts_max = Some(2);
    world.poison(3, Act::Fail);
    run_for(&world, SECOND * 60).await;
    assert_eq!(
        said(&world),
        [
            "1/0 to 8/0 try 1",
            "1/0 to 8/0 try 2",
            "1/0 to 4/0 try 3",
            "1/0 to 2/0 try 4",
            "3/0 to 4/0 try 4",
            "3/0 to 3/0 try 5",
            "3/0 to 3/0 try 6",
            "4/0 to 4/0 try 5",
            "5/0 to 8/0 try 3",
        ]
    );
    assert!(world.events().iter().any(|event| matches!(event,
        Event::Skipped { position, attempts: 6, skipped: 1, .. } if *position == at(3))));
}

#[tokio::test(start_paused = true)]
async fn without_bisecting_the_whole_batch_is_given_up() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure.bisect = false;
    world.config.retrieval.records_max = 4;
    world.poison(3, Act::Fail);
    assert_eq!(run_for(&world, SECOND * 60).await, Some(after(8)));
    assert_eq!(said(&world), ["1/0 to 4/0 try 1", "5/0 to 8/0 try 1"]);
    let skipped = world.events().iter().filter(|it| matches!(it, Event::Skipped { .. })).count();
    assert_eq!(skipped, 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_a_failure_and_the_record_does_not_reach_the_next_processor() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let mut world = world(OnExhausted::DeadLetter);
        world.config.delivery.checkpoints = policy;
        world.config.retrieval.records_max = 3;
        world.poison(5, Act::Panic);
        run_for(&world, SECOND * 60).await;
        let said = said(&world);
        assert!(said.contains(&"letter 5/0 after 3: panicked: ouch".to_owned()), "{said:?}");
        assert_eq!(said.iter().filter(|line| line.contains("letter")).count(), 1, "{said:?}");
        assert!(said.last().unwrap().starts_with("7/0 to 8/0"), "{policy:?} {said:?}");
        let letter = said.iter().position(|line| line.contains("letter")).unwrap();
        assert!(said[letter..].iter().any(|line| line.starts_with("6/0 to 6/0")), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_fails_is_tried_again_and_nothing_passes_the_record() {
    let world = world(OnExhausted::DeadLetter);
    world.poison(1, Act::Fail);
    world.plan_letters([Act::Fail, Act::Panic, Act::Fail]);
    assert_eq!(run_for(&world, SECOND * 60).await, Some(after(8)));
    let said = said(&world);
    let letters: Vec<_> = (0..said.len()).filter(|index| said[*index].contains("letter")).collect();
    assert_eq!(letters, (letters[0]..letters[0] + 4).collect::<Vec<_>>(), "{said:?}");
    let events = world.events();
    let failed: Vec<_> = events
        .iter()
        .filter_map(|event| {
            if let Event::DeadLetterFailed { attempt, error, retry_in: Some(_), .. } = event {
                Some((*attempt, error.as_str()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(failed, [(1, "full"), (2, "panicked: out of paper"), (3, "full")]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_keeps_failing_ends_with_the_drain_and_is_not_passed() {
    let world = world(OnExhausted::DeadLetter);
    world.poison(3, Act::FailAt(3));
    world.plan_letters([Act::Fail; 1_000]);
    let begun = tokio::time::Instant::now();
    assert_eq!(run_for(&world, SECOND * 60).await, Some(after(2)));
    assert!(begun.elapsed() < SECOND * 81, "{:?}", begun.elapsed());
    assert_eq!(world.log().last().unwrap(), "shutdown");
}

#[tokio::test(start_paused = true)]
async fn a_shard_stops_before_the_record_and_says_so() {
    let world = world(OnExhausted::StopShard);
    world.poison(6, Act::Fail);
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        let checkpoint = held.checkpoint();
        held.let_go().await;
        checkpoint
    };
    assert_eq!(join!(run, script).1, Some(after(5)));
    assert_eq!(world.log().last().unwrap(), "shutdown");
    assert!(world.events().iter().any(|event| matches!(event,
        Event::ShardStopped { position, stops_worker: false, .. } if *position == Some(at(6)))));
    assert_eq!(world.stopped.leases(), [world.lease.key.clone()].into());
    assert!(world.stopped.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_shall_stop_is_told_why() {
    let world = world(OnExhausted::StopWorker);
    world.poison(1, Act::Panic);
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        held.let_go().await;
    };
    join!(run, script);
    let error = RunError::from(world.stopped.failure().unwrap()).to_string();
    assert_eq!(error, "records of shard shard-0 from 1/0 on failed too often: panicked: ouch");
}

#[tokio::test(start_paused = true)]
async fn records_before_the_one_that_is_named_are_done_and_the_rest_comes_again_in_order() {
    let plan = [Act::FailAt(4), Act::FailAt(4), Act::FailAt(5), Act::FailAt(99)];
    let world = World::new().with_records(1..=6).with_plan(plan);
    assert_eq!(run_for(&world, SECOND * 60).await, Some(after(6)));
    assert_eq!(
        said(&world),
        [
            "1/0 to 6/0 try 1",
            "4/0 to 6/0 try 2",
            "4/0 to 6/0 try 3",
            "5/0 to 6/0 try 4",
            "5/0 to 6/0 try 5",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_named_is_given_up_without_a_search() {
    let world = world(OnExhausted::DeadLetter);
    world.poison(4, Act::FailAt(4));
    assert_eq!(run_for(&world, SECOND * 60).await, Some(after(8)));
    assert_eq!(
        said(&world),
        [
            "1/0 to 8/0 try 1",
            "letter 4/0 after 1: 1 of the batch's records failed: no",
            "5/0 to 8/0 try 2",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn records_may_fail_for_so_long() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure = FailurePolicy::retry_for(SECOND * 30, OnExhausted::Skip);
    world.poison(1, Act::FailAt(1));
    run_for(&world, SECOND * 100).await;
    let passed = world.events().iter().any(|event| matches!(event, Event::Skipped { .. }));
    assert!(passed && (8..14).contains(&said(&world).len()), "{:?}", said(&world));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_between_two_halves() {
    let world = world(OnExhausted::DeadLetter);
    world.poison(7, Act::Fail);
    // The first half succeeds while the holder asks to let go.
    let (mut held, run) = world.start();
    let script = async {
        held.serve(MILLI * 50).await;
        held.order.send_replace(Order::Drain { until: held.now + SECOND * 20 });
        assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)));
        let checkpoint = held.checkpoint();
        held.let_go().await;
        checkpoint
    };
    assert_eq!(join!(run, script).1, Some(after(4)));
    assert_eq!(said(&world), ["1/0 to 8/0 try 1", "1/0 to 4/0 try 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_interrupts_a_dead_letter() {
    let world = world(OnExhausted::DeadLetter);
    world.poison(1, Act::FailAt(1));
    world.plan_letters([Act::Hang]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 5).await;
        held.order.send_replace(Order::Lost { until: None });
        assert!(held.last_word().await.is_none());
    };
    join!(run, script);
    assert_eq!(world.log().last().unwrap(), "lost");
    assert!(!world.events().iter().any(|event| matches!(event, Event::DeadLettered { .. })));
}
