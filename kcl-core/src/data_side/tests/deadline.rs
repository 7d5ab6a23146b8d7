//! No code of the application runs after the deadline.

use std::time::Duration;

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::Checkpoint;
use tokio::join;
use tokio::time::Instant;

use crate::data_side::tests::application::Call::{Initialize, LeaseLost, New};
use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::world::World;

/// Records 1 to 4, and a processor that does this with them.
fn world(act: Act) -> World {
    World::new().with_records(1..=4).with_plan([act])
}

#[tokio::test(start_paused = true)]
async fn processor_is_dropped_at_an_unrenewed_deadline() {
    let world = world(Act::Hang);
    let begun = Instant::now();
    world
        .run(async |holder| {
            holder.expire_in(SECOND * 7);
            holder.serve(SECOND * 5).await;
            holder.expire_in(SECOND * 7);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
        })
        .await;
    assert_eq!(begun.elapsed().as_secs(), 12);
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4), LeaseLost];
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn success_after_the_deadline_does_not_count() {
    let world = world(Act::Block(SECOND * 30));
    world
        .run(async |holder| {
            holder.expire_in(SECOND * 7);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
            assert_eq!(holder.checkpoint(), None);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn ready_future_is_not_polled_after_a_suspend() {
    let world = world(Act::Sleep(SECOND));
    world
        .run(async |holder| {
            holder.expire_in(SECOND * 7);
            holder.serve(MILLI * 500).await;
            world.clock.suspend(SECOND * 10);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
            assert_eq!(holder.checkpoint(), None);
        })
        .await;
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4), LeaseLost];
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn no_processor_is_created_after_the_deadline() {
    let world = World::new().with_records(1..=4);
    world
        .run(async |holder| {
            holder.expire_in(Duration::ZERO);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Failed));
        })
        .await;
    assert_eq!(world.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn grace_of_a_loss_ends_at_the_deadline() {
    let mut world = world(Act::Hang);
    world.config.delivery.cancel_grace = SECOND * 60;
    let begun = Instant::now();
    world
        .run(async |holder| {
            holder.expire_in(SECOND * 7);
            holder.serve(SECOND * 5).await;
            holder.lose();
        })
        .await;
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn grace_of_a_loss_ends_with_the_drain() {
    let mut world = world(Act::Hang);
    world.config.delivery.cancel_grace = SECOND * 60;
    let begun = Instant::now();
    world
        .run(async |holder| {
            holder.serve(SECOND * 5).await;
            // The consumer may see only the last order.
            holder.drain(SECOND * 2);
            holder.lose();
        })
        .await;
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn grace_without_a_holder_ends_with_the_drain() {
    let mut world = world(Act::Hang);
    world.config.delivery.cancel_grace = SECOND * 60;
    let (mut holder, consumer) = world.start();
    let begun = Instant::now();
    let script = async {
        holder.serve(SECOND * 5).await;
        holder.drain(SECOND * 2);
        drop(holder);
    };
    join!(consumer, script);
    assert_eq!(begun.elapsed().as_secs(), 7);
}
