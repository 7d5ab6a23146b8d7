//! `initialize` and `shard_ended` that fail again and again.

use kcl_proto::model::{ChildShard, FailurePolicy, OnExhausted};
use tokio::join;

use crate::data_side::tests::kit::{Act, SECOND, World, child};
use crate::data_side::tests::run_for;
use crate::messages::FromConsumer;
use crate::report::error::RunError;
use crate::report::event::Event;

/// A closed shard of one record, and a processor that does as planned.
fn world(then: OnExhausted, plan: &[Act]) -> World {
    let mut world = World::new().with_records(1..=1).with_plan(plan.iter().copied());
    world.close(&[ChildShard::from(&child("next", 0, 99))]);
    world.config.delivery.failure = FailurePolicy::attempts(3, then);
    world
}

async fn given_up(world: &World) {
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        held.let_go().await;
    };
    join!(run, script);
    assert_eq!(world.stopped.leases(), [world.lease.key.clone()].into());
}

fn count(world: &World, call: &str) -> usize {
    world.log().iter().filter(|line| *line == call).count()
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_initialized_stops_after_its_attempts() {
    let world = world(OnExhausted::StopShard, &[Act::FailToStart; 100]);
    given_up(&world).await;
    assert_eq!(count(&world, "initialize"), 3);
    assert_eq!(world.log().last().unwrap(), "initialize", "no call follows");
    let stopped = Event::ShardStopped {
        shard: "shard-0".into(),
        call: "initialize",
        position: None,
        error: "not yet".to_owned(),
        stops_worker: false,
    };
    assert_eq!(world.take_event(), Some(stopped));
    assert!(world.stopped.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_end_is_refused_stops_after_its_attempts_and_is_not_ended() {
    for act in [Act::Fail, Act::Panic] {
        let world = world(OnExhausted::StopWorker, &[Act::Ok, act, act, act]);
        given_up(&world).await;
        assert_eq!(count(&world, "ended"), 3, "{act:?}");
        let error = RunError::from(world.stopped.failure().unwrap()).to_string();
        assert!(error.starts_with("shard_ended of shard shard-0 failed too often: "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn successes_in_between_count_calls_anew() {
    // It is initialized anew after each panic of `shard_ended`, and fails twice each time.
    let mut plan = vec![Act::FailToStart, Act::FailToStart, Act::Ok];
    for _ in 0..2 {
        plan.extend([Act::Panic, Act::FailToStart, Act::FailToStart]);
    }
    let world = world(OnExhausted::StopShard, &plan);
    let (mut held, run) = world.start();
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::ShardEnded { .. })));
        held.let_go().await;
    };
    join!(run, script);
    assert_eq!((count(&world, "initialize"), count(&world, "ended")), (9, 3));
}

#[tokio::test(start_paused = true)]
async fn where_records_are_set_aside_calls_without_records_are_made_for_ever() {
    for then in [OnExhausted::DeadLetter, OnExhausted::Skip] {
        let world = world(then, &[Act::FailToStart; 1_000]);
        run_for(&world, SECOND * 120).await;
        assert!(count(&world, "initialize") > 10, "{then:?}");
        assert!(world.stopped.leases().is_empty());
    }
}
