//! Drains and losses.

use kcl_proto::model::CheckpointPolicy;
use tokio::join;

use crate::backend::Clock;
use crate::data_side::tests::kit::{Act, MILLI, SECOND, World, after, at};
use crate::data_side::tests::run_for;
use crate::messages::{FromConsumer, Order};
use crate::report::error::CheckpointError;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_the_batch_and_starts_no_other() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Take(SECOND * 5)]);
    world.config.retrieval.records_max = 2;
    assert_eq!(run_for(&world, SECOND * 2).await, Some(after(2)));
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 2/0 try 1", "shutdown"]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_during_a_drain_is_retried_while_there_is_time() {
    let plan = [Act::Take(SECOND * 5), Act::Ok];
    let world = World::new().with_records(1..=2).with_plan([Act::Fail; 3]).with_plan(plan);
    assert_eq!(run_for(&world, MILLI * 50).await, Some(after(2)));
    let world = World::new().with_records(1..=2).with_plan([Act::Fail; 99]);
    assert_eq!(run_for(&world, MILLI * 50).await, None);
    let tries = world.log_len() - 3;
    assert!((6..12).contains(&tries), "{tries}");
    assert!(!world.events().iter().any(|event| matches!(event, Event::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_drain_deadline_drops_the_batch() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Ok, Act::Hang]);
    world.config.retrieval.records_max = 2;
    assert_eq!(run_for(&world, SECOND * 2).await, Some(after(2)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "3/0 to 4/0 try 1",
        "lost",
    ]);
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_cancels_and_is_announced_and_nothing_is_delivered_after() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::UntilCancelled]);
    world.config.retrieval.records_max = 2;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 2).await;
        held.order.send_replace(Order::Lost { until: None });
        assert!(held.last_word().await.is_none());
        held.checkpoint()
    };
    assert_eq!(join!(run, script).1, None);
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "cancelled",
        "lost",
    ]);
    let late = world.checkpointer().checkpoint(at(2)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_ignores_a_loss_is_dropped_after_the_grace() {
    let world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    let (mut held, run) = world.start();
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 2).await;
        held.order.send_replace(Order::Lost { until: None });
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 3);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1", "lost"]);
}

#[tokio::test(start_paused = true)]
async fn a_loss_ends_a_retry_pause_at_once() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Fail]);
    world.config.delivery.retry_min = SECOND * 60;
    world.config.delivery.retry_max = SECOND * 60;
    let (mut held, run) = world.start();
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 2).await;
        held.order.send_replace(Order::Lost { until: None });
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_is_a_loss() {
    let world = World::new().with_records(1..=4).with_plan([Act::UntilCancelled]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 2).await;
        drop(held);
    };
    join!(run, script);
    let log = ["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1", "cancelled", "lost"];
    world.check_log(&log);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_cancels_its_processor() {
    let world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    let (mut held, run) = world.start();
    tokio::select! { () = held.serve(SECOND) => {}, () = run => unreachable!() }
    let late = world.checkpointer().checkpoint(at(1)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
    assert!(held.last_word().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_panicked_is_not_called_again() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Panic]);
    world.config.delivery.retry_min = SECOND * 60;
    world.config.delivery.retry_max = SECOND * 60;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 2).await;
        held.order.send_replace(Order::Lost { until: None });
    };
    join!(run, script);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_request_that_fails_is_told_and_the_lease_let_go() {
    let world = World::new().with_records(1..=1).with_plan([Act::Ok, Act::Fail]);
    assert_eq!(run_for(&world, SECOND * 2).await, Some(after(1)));
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 1/0 try 1", "shutdown"]);
    assert!(matches!(
        &world.events()[..],
        [Event::ProcessorFailed { call: "shutdown_requested", retry_in: None, .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_request_that_hangs_ends_with_the_drain() {
    let world = World::new().with_records(1..=1).with_plan([Act::Ok, Act::Hang]);
    let begun = tokio::time::Instant::now();
    assert_eq!(run_for(&world, SECOND * 2).await, Some(after(1)));
    assert_eq!(begun.elapsed().as_secs(), 22);
    let log = ["new after TRIM_HORIZON", "initialize", "1/0 to 1/0 try 1", "shutdown", "lost"];
    world.check_log(&log);
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_the_shutdown_request_is_stored() {
    let mut world = World::new().with_records(1..=3);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    let world = world.with_plan([Act::Ok, Act::CheckpointAndFail(3)]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 2).await;
        held.order.send_replace(Order::Drain { until: world.clock.now() + SECOND * 20 });
        assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)));
        assert_eq!(held.stored, [after(3)]);
        held.let_go().await;
    };
    join!(run, script);
}
