//! Records that keep failing: halves, dead letters, skips, and stops.

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::{CheckpointPolicy, FailurePolicy, OnExhausted};
use tokio::time::Instant;

use crate::data_side::tests::application::{Act, Call, attempt, batch, dead_letter};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::stream::{after, at};
use crate::data_side::tests::world::World;
use crate::report::error::RunError;
use crate::report::event::Event;

/// Records 1 to 8. One failure exhausts the attempts of a batch.
fn world(then: OnExhausted) -> World {
    let mut world = World::new().with_records(1..=8);
    world.config.delivery.failure = FailurePolicy::attempts(1, then);
    world
}

/// The batches and dead letters.
fn deliveries(world: &World) -> Vec<Call> {
    let calls = world.calls().into_iter();
    calls.filter(|call| call.is_batch() || call.is_dead_letter()).collect()
}

#[tokio::test(start_paused = true)]
async fn poison_record_is_dead_lettered_alone() {
    for poison in 1..=8 {
        let world = world(OnExhausted::DeadLetter);
        world.app.poison(poison, Act::Fail);
        assert_eq!(world.run_for(SECOND * 60).await, Some(after(8)));
        let calls = world.calls();
        let letters: Vec<_> = calls.iter().filter(|call| call.is_dead_letter()).collect();
        assert_eq!(letters, [&dead_letter(poison, 4, "no")]);
        let batches = calls.iter().filter_map(Call::numbers);
        let done: Vec<_> = batches.filter(|numbers| !numbers.contains(&poison)).flatten().collect();
        assert_eq!(done, (1..=8).filter(|number| *number != poison).collect::<Vec<_>>());
        assert!(world.events().iter().any(|event| matches!(event,
            Event::DeadLettered { position, attempts: 4, .. } if *position == at(poison))));
    }
}

#[tokio::test(start_paused = true)]
async fn halves_are_tried_in_order_down_to_one_record() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure.attempts_max = Some(2);
    world.app.poison(3, Act::Fail);
    world.run_for(SECOND * 60).await;
    assert_eq!(
        deliveries(&world),
        [
            attempt(1, 1..=8),
            attempt(2, 1..=8),
            attempt(3, 1..=4),
            attempt(4, 1..=2),
            attempt(4, 3..=4),
            attempt(5, 3..=3),
            attempt(6, 3..=3),
            attempt(5, 4..=4),
            attempt(3, 5..=8),
        ]
    );
    assert!(world.events().iter().any(|event| matches!(event,
        Event::Skipped { position, attempts: 6, skipped: 1, .. } if *position == at(3))));
}

#[tokio::test(start_paused = true)]
async fn whole_batch_is_skipped_without_bisecting() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure.bisect = false;
    world.config.retrieval.records_max = 4;
    world.app.poison(3, Act::Fail);
    assert_eq!(world.run_for(SECOND * 60).await, Some(after(8)));
    assert_eq!(deliveries(&world), [batch(1..=4), batch(5..=8)]);
    let skipped = world.events().iter().filter(|it| matches!(it, Event::Skipped { .. })).count();
    assert_eq!(skipped, 4);
}

#[tokio::test(start_paused = true)]
async fn panicking_record_does_not_reach_the_next_processor() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let mut world = world(OnExhausted::DeadLetter);
        world.config.delivery.checkpoints = policy;
        world.config.retrieval.records_max = 3;
        world.app.poison(5, Act::Panic);
        world.run_for(SECOND * 60).await;
        let calls = deliveries(&world);
        let letter = calls.iter().position(Call::is_dead_letter).unwrap();
        assert_eq!(calls[letter], dead_letter(5, 3, "panicked: ouch"), "{calls:?}");
        assert_eq!(calls.iter().filter(|call| call.is_dead_letter()).count(), 1, "{calls:?}");
        assert_eq!(calls.last().unwrap().numbers(), Some(7..=8), "{policy:?} {calls:?}");
        assert!(calls[letter..].iter().any(|call| call.numbers() == Some(6..=6)), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_dead_letter_is_retried_before_the_next_record() {
    let world = world(OnExhausted::DeadLetter);
    world.app.poison(1, Act::Fail);
    world.app.plan_dead_letter([Act::Fail, Act::Panic, Act::Fail]);
    assert_eq!(world.run_for(SECOND * 60).await, Some(after(8)));
    let calls = deliveries(&world);
    let letters: Vec<_> = (0..calls.len()).filter(|index| calls[*index].is_dead_letter()).collect();
    assert_eq!(letters, (letters[0]..letters[0] + 4).collect::<Vec<_>>(), "{calls:?}");
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
async fn failing_dead_letter_ends_with_the_drain() {
    let world = world(OnExhausted::DeadLetter);
    world.app.poison(3, Act::FailAt(3));
    world.app.plan_dead_letter([Act::Fail; 1_000]);
    let begun = Instant::now();
    assert_eq!(world.run_for(SECOND * 60).await, Some(after(2)));
    assert!(begun.elapsed() < SECOND * 81, "{:?}", begun.elapsed());
    assert_eq!(world.calls().last(), Some(&Call::ShutdownRequested));
}

#[tokio::test(start_paused = true)]
async fn shard_stops_before_the_record_and_reports_it() {
    let world = world(OnExhausted::StopShard);
    world.app.poison(6, Act::Fail);
    assert_eq!(world.run_to_failure().await, Some(after(5)));
    assert_eq!(world.calls().last(), Some(&Call::ShutdownRequested));
    assert!(world.events().iter().any(|event| matches!(event,
        Event::ShardStopped { position, stops_worker: false, .. } if *position == Some(at(6)))));
    assert_eq!(world.stopped.leases(), [world.lease.key.clone()].into());
    assert!(world.stopped.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn stopped_worker_returns_the_error_of_the_record() {
    let world = world(OnExhausted::StopWorker);
    world.app.poison(1, Act::Panic);
    world.run_to_failure().await;
    let error = RunError::from(world.stopped.failure().unwrap()).to_string();
    assert_eq!(error, "records of shard shard-0 from 1/0 on failed too often: panicked: ouch");
}

#[tokio::test(start_paused = true)]
async fn records_before_the_named_one_are_done() {
    let plan = [Act::FailAt(4), Act::FailAt(4), Act::FailAt(5), Act::FailAt(99)];
    let world = World::new().with_records(1..=6).with_plan(plan);
    assert_eq!(world.run_for(SECOND * 60).await, Some(after(6)));
    assert_eq!(
        deliveries(&world),
        [
            attempt(1, 1..=6),
            attempt(2, 4..=6),
            attempt(3, 4..=6),
            attempt(4, 5..=6),
            attempt(5, 5..=6),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn named_record_is_dead_lettered_without_bisecting() {
    let world = world(OnExhausted::DeadLetter);
    world.app.poison(4, Act::FailAt(4));
    assert_eq!(world.run_for(SECOND * 60).await, Some(after(8)));
    let letter = dead_letter(4, 1, "1 of the batch's records failed: no");
    assert_eq!(deliveries(&world), [batch(1..=8), letter, attempt(2, 5..=8)]);
}

#[tokio::test(start_paused = true)]
async fn retry_for_limits_the_time_of_a_record() {
    let mut world = world(OnExhausted::Skip);
    world.config.delivery.failure = FailurePolicy::retry_for(SECOND * 30, OnExhausted::Skip);
    world.app.poison(1, Act::FailAt(1));
    world.run_for(SECOND * 100).await;
    assert!(world.events().iter().any(|event| matches!(event, Event::Skipped { .. })));
    let calls = deliveries(&world);
    assert!((8..14).contains(&calls.len()), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn drain_ends_between_two_halves() {
    let world = world(OnExhausted::DeadLetter);
    world.app.poison(7, Act::Fail);
    let checkpoint = world
        .run(async |holder| {
            holder.serve(MILLI * 50).await;
            holder.drain(SECOND * 20); // The first half succeeds afterwards.
            assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
            let checkpoint = holder.checkpoint();
            holder.release().await;
            checkpoint
        })
        .await;
    assert_eq!(checkpoint, Some(after(4)));
    assert_eq!(deliveries(&world), [attempt(1, 1..=8), attempt(2, 1..=4)]);
}

#[tokio::test(start_paused = true)]
async fn loss_interrupts_a_dead_letter() {
    let world = world(OnExhausted::DeadLetter);
    world.app.poison(1, Act::FailAt(1));
    world.app.plan_dead_letter([Act::Hang]);
    world
        .run(async |holder| {
            holder.serve(SECOND * 5).await;
            holder.lose();
            assert_eq!(holder.end().await, None);
        })
        .await;
    assert_eq!(world.calls().last(), Some(&Call::LeaseLost));
    assert!(!world.events().iter().any(|event| matches!(event, Event::DeadLettered { .. })));
}
