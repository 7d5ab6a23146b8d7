//! `initialize` and `shard_ended` that keep failing.

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::{FailurePolicy, OnExhausted};

use crate::data_side::tests::application::{Act, Call};
use crate::data_side::tests::clock::SECOND;
use crate::data_side::tests::stream::child;
use crate::data_side::tests::world::World;
use crate::report::error::RunError;
use crate::report::event::Event;

/// A closed shard of one record, and a planned processor.
fn world(then: OnExhausted, plan: &[Act]) -> World {
    let mut world = World::new().with_records(1..=1).with_plan(plan.iter().copied());
    world.stream.close(&[child("next", 0, 99)]);
    world.config.delivery.failure = FailurePolicy::attempts(3, then);
    world
}

async fn run_until_stopped(world: &World) {
    world.run_to_failure().await;
    assert_eq!(world.stopped.leases(), [world.lease.key.clone()].into());
}

#[tokio::test(start_paused = true)]
async fn failing_initialize_stops_the_shard() {
    let world = world(OnExhausted::StopShard, &[Act::FailToInitialize; 100]);
    run_until_stopped(&world).await;
    assert_eq!(world.app.count(&Call::Initialize), 3);
    assert_eq!(world.calls().last(), Some(&Call::Initialize), "no call follows");
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
async fn failing_shard_ended_stops_the_shard_before_its_end() {
    for act in [Act::Fail, Act::Panic] {
        let world = world(OnExhausted::StopWorker, &[Act::Ok, act, act, act]);
        run_until_stopped(&world).await;
        assert_eq!(world.app.count(&Call::ShardEnded), 3, "{act:?}");
        let error = RunError::from(world.stopped.failure().unwrap()).to_string();
        assert!(error.starts_with("shard_ended of shard shard-0 failed too often: "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_attempts_of_a_call() {
    // Each panic of `shard_ended` makes a new processor, which fails to initialize twice.
    let mut plan = vec![Act::FailToInitialize, Act::FailToInitialize, Act::Ok];
    for _ in 0..2 {
        plan.extend([Act::Panic, Act::FailToInitialize, Act::FailToInitialize]);
    }
    let world = world(OnExhausted::StopShard, &plan);
    world
        .run(async |holder| {
            assert_eq!(holder.end().await, Some(ConsumerEnd::ShardEnded));
            holder.release().await;
        })
        .await;
    assert_eq!(world.app.count(&Call::Initialize), 9);
    assert_eq!(world.app.count(&Call::ShardEnded), 3);
}

#[tokio::test(start_paused = true)]
async fn record_policies_retry_initialize_indefinitely() {
    for then in [OnExhausted::DeadLetter, OnExhausted::Skip] {
        let world = world(then, &[Act::FailToInitialize; 1_000]);
        world.run_for(SECOND * 120).await;
        assert!(world.app.count(&Call::Initialize) > 10, "{then:?}");
        assert!(world.stopped.leases().is_empty());
    }
}
