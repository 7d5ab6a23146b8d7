//! Nothing runs after the deadline.

use tokio::join;

use crate::backend::Clock;
use crate::data_side::tests::kit::{Act, MILLI, SECOND, World};
use crate::messages::{FromConsumer, Order};

#[tokio::test(start_paused = true)]
async fn a_processor_is_dropped_when_the_deadline_passes_without_word() {
    let world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    let (mut held, run) = world.start();
    held.deadline.send_replace(world.clock.now() + SECOND * 7);
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 5).await;
        held.deadline.send_replace(world.clock.now() + SECOND * 7);
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 12);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1", "lost"]);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_comes_after_the_deadline_does_not_count() {
    let world = World::new().with_records(1..=4).with_plan([Act::Block(SECOND * 30)]);
    let (mut held, run) = world.start();
    held.deadline.send_replace(world.clock.now() + SECOND * 7);
    let script = async {
        let word = held.last_word().await;
        assert!(matches!(word, Some(FromConsumer::Failed)), "{word:?}");
        held.checkpoint()
    };
    assert_eq!(join!(run, script).1, None);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_ready_is_not_polled_after_the_machine_slept_through_the_deadline() {
    let world = World::new().with_records(1..=4).with_plan([Act::Take(SECOND)]);
    let (mut held, run) = world.start();
    held.deadline.send_replace(world.clock.now() + SECOND * 7);
    let script = async {
        held.serve(MILLI * 500).await;
        world.clock.suspend(SECOND * 10);
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
        held.checkpoint()
    };
    assert_eq!(join!(run, script).1, None);
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1", "lost"]);
}

#[tokio::test(start_paused = true)]
async fn no_processor_is_made_after_the_deadline() {
    let world = World::new().with_records(1..=4);
    let (mut held, run) = world.start();
    held.deadline.send_replace(world.clock.now());
    let script = async {
        assert!(matches!(held.last_word().await, Some(FromConsumer::Failed)));
    };
    join!(run, script);
    world.check_log(&[]);
}

#[tokio::test(start_paused = true)]
async fn a_loss_gives_no_grace_beyond_the_deadline() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    world.config.delivery.cancel_grace = SECOND * 60;
    let (mut held, run) = world.start();
    held.deadline.send_replace(world.clock.now() + SECOND * 7);
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 5).await;
        held.order.send_replace(Order::Lost { until: None });
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_loss_gives_no_grace_beyond_the_end_of_the_drain() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    world.config.delivery.cancel_grace = SECOND * 60;
    let (mut held, run) = world.start();
    let until = world.clock.now() + SECOND * 7;
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 5).await;
        // The consumer may see no order but the last.
        held.order.send_replace(Order::Drain { until });
        held.order.send_replace(Order::Lost { until: Some(until) });
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_gives_no_grace_beyond_the_end_of_the_drain() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    world.config.delivery.cancel_grace = SECOND * 60;
    let (mut held, run) = world.start();
    let until = world.clock.now() + SECOND * 7;
    let begun = tokio::time::Instant::now();
    let script = async {
        held.serve(SECOND * 5).await;
        held.order.send_replace(Order::Drain { until });
        drop(held);
    };
    join!(run, script);
    assert_eq!(begun.elapsed().as_secs(), 7);
}
