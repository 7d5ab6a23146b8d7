//! A drained or lost lease, and the processor's last calls.

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::{Checkpoint, CheckpointPolicy};
use tokio::join;
use tokio::time::Instant;

use crate::data_side::tests::application::Call::{
    Cancelled, Initialize, LeaseLost, New, ShutdownRequested,
};
use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::stream::{after, at};
use crate::data_side::tests::world::World;
use crate::report::error::CheckpointError;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn drain_finishes_the_batch_and_starts_no_other() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Sleep(SECOND * 5)]);
    world.config.retrieval.records_max = 2;
    assert_eq!(world.run_for(SECOND * 2).await, Some(after(2)));
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=2), ShutdownRequested];
    assert_eq!(world.calls(), calls);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn failed_batch_is_retried_until_the_drain_ends() {
    let plan = [Act::Sleep(SECOND * 5), Act::Ok];
    let world = World::new().with_records(1..=2).with_plan([Act::Fail; 3]).with_plan(plan);
    assert_eq!(world.run_for(MILLI * 50).await, Some(after(2)));
    let world = World::new().with_records(1..=2).with_plan([Act::Fail; 99]);
    assert_eq!(world.run_for(MILLI * 50).await, None);
    let attempts = world.calls().len() - 3;
    assert!((6..12).contains(&attempts), "{attempts}");
    assert!(!world.events().iter().any(|event| matches!(event, Event::Stalled { .. })));
}

#[tokio::test(start_paused = true)]
async fn end_of_the_drain_drops_the_batch() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Ok, Act::Hang]);
    world.config.retrieval.records_max = 2;
    assert_eq!(world.run_for(SECOND * 2).await, Some(after(2)));
    assert_eq!(
        world.calls(),
        [New(Checkpoint::TrimHorizon), Initialize, batch(1..=2), batch(3..=4), LeaseLost]
    );
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn loss_cancels_the_call_and_ends_delivery() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::UntilCancelled]);
    world.config.retrieval.records_max = 2;
    world
        .run(async |holder| {
            holder.serve(SECOND * 2).await;
            holder.lose();
            assert_eq!(holder.end().await, None);
            assert_eq!(holder.checkpoint(), None);
        })
        .await;
    assert_eq!(
        world.calls(),
        [New(Checkpoint::TrimHorizon), Initialize, batch(1..=2), Cancelled, LeaseLost]
    );
    let late = world.app.checkpointer().checkpoint(at(2)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn processor_that_ignores_a_loss_is_dropped_after_grace() {
    let world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    let begun = Instant::now();
    world
        .run(async |holder| {
            holder.serve(SECOND * 2).await;
            holder.lose();
        })
        .await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4), LeaseLost];
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn loss_ends_a_retry_pause_at_once() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Fail]);
    world.config.delivery.retry_min = SECOND * 60;
    world.config.delivery.retry_max = SECOND * 60;
    let begun = Instant::now();
    world
        .run(async |holder| {
            holder.serve(SECOND * 2).await;
            holder.lose();
        })
        .await;
    assert_eq!(begun.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropped_holder_is_a_loss() {
    let world = World::new().with_records(1..=4).with_plan([Act::UntilCancelled]);
    let (mut holder, consumer) = world.start();
    let script = async {
        holder.serve(SECOND * 2).await;
        drop(holder);
    };
    join!(consumer, script);
    assert_eq!(
        world.calls(),
        [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4), Cancelled, LeaseLost]
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_consumer_cancels_its_processor() {
    let world = World::new().with_records(1..=4).with_plan([Act::Hang]);
    let (mut holder, consumer) = world.start();
    tokio::select! { () = holder.serve(SECOND) => {}, () = consumer => unreachable!() }
    let late = world.app.checkpointer().checkpoint(at(1)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
    assert_eq!(holder.end().await, None);
}

#[tokio::test(start_paused = true)]
async fn panicked_processor_is_not_called_again() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Panic]);
    world.config.delivery.retry_min = SECOND * 60;
    world.config.delivery.retry_max = SECOND * 60;
    world
        .run(async |holder| {
            holder.serve(SECOND * 2).await;
            holder.lose();
        })
        .await;
    assert_eq!(world.calls(), [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4)]);
}

#[tokio::test(start_paused = true)]
async fn failed_shutdown_request_is_reported_and_drained() {
    let world = World::new().with_records(1..=1).with_plan([Act::Ok, Act::Fail]);
    assert_eq!(world.run_for(SECOND * 2).await, Some(after(1)));
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=1), ShutdownRequested];
    assert_eq!(world.calls(), calls);
    assert!(matches!(
        &world.events()[..],
        [Event::ProcessorFailed { call: "shutdown_requested", retry_in: None, .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn hanging_shutdown_request_ends_with_the_drain() {
    let world = World::new().with_records(1..=1).with_plan([Act::Ok, Act::Hang]);
    let begun = Instant::now();
    assert_eq!(world.run_for(SECOND * 2).await, Some(after(1)));
    assert_eq!(begun.elapsed().as_secs(), 22);
    assert_eq!(
        world.calls(),
        [New(Checkpoint::TrimHorizon), Initialize, batch(1..=1), ShutdownRequested, LeaseLost]
    );
    assert_eq!(world.events(), [Event::Stalled { shard: "shard-0".into() }]);
}

#[tokio::test(start_paused = true)]
async fn checkpoint_of_the_shutdown_request_is_stored() {
    let mut world = World::new().with_records(1..=3);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    let world = world.with_plan([Act::Ok, Act::CheckpointAndFail(3)]);
    world
        .run(async |holder| {
            holder.serve(SECOND * 2).await;
            holder.drain(SECOND * 20);
            assert_eq!(holder.end().await, Some(ConsumerEnd::Drained));
            assert_eq!(holder.stored, [after(3)]);
            holder.release().await;
        })
        .await;
}
