//! Batches in order: retries, panics, and checkpoints.

use kcl_proto::model::{Checkpoint, CheckpointPolicy};
use tokio::join;

use crate::data_side::tests::application::Call::{Initialize, New, ShutdownRequested};
use crate::data_side::tests::application::{Act, attempt, batch};
use crate::data_side::tests::clock::{MILLI, SECOND, time_of_day};
use crate::data_side::tests::stream::{after, at};
use crate::data_side::tests::world::World;
use crate::report::error::CheckpointError;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn records_are_delivered_and_checkpointed_in_order() {
    let mut world = World::new().with_records(1..=5);
    world.config.retrieval.records_max = 2;
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(5)));
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            batch(3..=4),
            batch(5..=5),
            ShutdownRequested,
        ]
    );
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn unfinished_batch_is_not_checkpointed() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Ok, Act::Hang]);
    world.config.retrieval.records_max = 2;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            assert_eq!(holder.checkpoint(), Some(after(2)));
            assert_eq!(holder.caught_up_at(), None);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn failed_batch_is_retried_until_it_succeeds() {
    let world = World::new().with_records(1..=2).with_plan([Act::Fail, Act::Fail]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(2)));
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            attempt(2, 1..=2),
            attempt(3, 1..=2),
            ShutdownRequested,
        ]
    );
    let pauses: Vec<_> = world
        .events()
        .into_iter()
        .map(|event| {
            let Event::BatchFailed { attempt, retry_in, .. } = event else {
                panic!("{event:?}");
            };
            (attempt, retry_in)
        })
        .collect();
    assert_eq!(pauses.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(pauses[0].1 <= MILLI * 100 && pauses[1].1 > MILLI * 99, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn panic_redelivers_to_a_new_processor() {
    let world = World::new().with_records(1..=2).with_plan([Act::Panic]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(2)));
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            New(Checkpoint::TrimHorizon),
            Initialize,
            attempt(2, 1..=2),
            ShutdownRequested,
        ]
    );
    assert!(matches!(&world.events()[..],
        [Event::BatchFailed { error, .. }] if error == "panicked: ouch"));
}

#[tokio::test(start_paused = true)]
async fn processor_that_fails_to_initialize_is_replaced() {
    let world = World::new().with_records(1..=1).with_plan([Act::FailToInitialize]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(1)));
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=1),
            ShutdownRequested,
        ]
    );
    assert!(matches!(
        &world.events()[..],
        [Event::ProcessorFailed { call: "initialize", attempt: 1, .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn explicit_checkpoint_shortens_the_retry() {
    let world = World::new().with_records(1..=4).with_plan([Act::CheckpointAndFail(2)]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(4)));
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=4),
            attempt(2, 3..=4),
            ShutdownRequested,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn failed_batch_checkpointed_to_its_end_is_done() {
    let world = World::new().with_records(1..=4).with_plan([Act::CheckpointAndFail(4)]);
    world.run_for(SECOND * 3).await;
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=4), ShutdownRequested];
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn one_batch_is_read_ahead_of_the_processor() {
    let mut world = World::new().with_records(1..=9).with_plan([Act::Sleep(SECOND * 60)]);
    world.config.retrieval.records_max = 1;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 30).await;
            assert_eq!(world.stream.reads(), 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn manual_policy_checkpoints_nothing_by_itself() {
    let mut world = World::new().with_records(1..=4);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.retrieval.records_max = 2;
    assert_eq!(world.run_for(SECOND * 3).await, None);
}

#[tokio::test(start_paused = true)]
async fn manual_policy_redelivers_everything_not_stored() {
    let plan = [Act::Ok, Act::CheckpointAndPanic(3)];
    let mut world = World::new().with_records(1..=6).with_plan(plan);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.retrieval.records_max = 2;
    world.run_for(SECOND * 5).await;
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            batch(3..=4),
            New(after(3)),
            Initialize,
            attempt(2, 4..=4),
            batch(5..=6),
            ShutdownRequested,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn checkpointer_of_a_replaced_processor_stores_nothing() {
    let world = World::new().with_records(1..=2).with_plan([Act::Sleep(SECOND), Act::Panic]);
    world
        .run_during(async |holder| {
            holder.serve(MILLI * 500).await;
            let former = world.app.checkpointer();
            let early = former.checkpoint(at(3)).await;
            assert!(matches!(early, Err(CheckpointError::OutOfRange { .. })));
            holder.serve(SECOND).await;
            world.stream.put([at(3)]); // The processor panics at it.
            holder.serve(SECOND * 3).await;
            assert!(matches!(former.checkpoint(at(3)).await, Err(CheckpointError::LeaseLost)));
            let checkpointer = world.app.checkpointer();
            let (stored, ()) = join!(checkpointer.checkpoint(at(3)), holder.serve(SECOND));
            stored.unwrap();
            assert_eq!(holder.stored, [after(3)]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn caught_up_is_reported_once_all_is_acknowledged() {
    let world = World::new().with_records(1..=2).with_plan([Act::Sleep(SECOND * 9)]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 8).await;
            assert_eq!(holder.caught_up_at(), None);
            holder.serve(SECOND * 4).await;
            let caught_up_at = holder.caught_up_at().unwrap();
            assert!(caught_up_at >= time_of_day(SECOND * 8), "{caught_up_at:?}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn manual_policy_reports_caught_up_once_all_is_stored() {
    let mut world = World::new().with_records(1..=2);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            assert_eq!(holder.caught_up_at(), None);
            let checkpointer = world.app.checkpointer();
            let (stored, ()) = join!(checkpointer.checkpoint(at(2)), holder.serve(SECOND * 3));
            stored.unwrap();
            assert!(holder.caught_up_at().unwrap() > time_of_day(SECOND * 3));
            let (again, ()) = join!(checkpointer.checkpoint(at(2)), holder.serve(SECOND));
            again.unwrap();
            let back = checkpointer.checkpoint(at(1)).await;
            assert!(matches!(back, Err(CheckpointError::OutOfRange { .. })));
        })
        .await;
}
