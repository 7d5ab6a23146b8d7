//! Batches: order, failures, panics, checkpoints.

use kcl_proto::model::CheckpointPolicy;
use tokio::join;

use crate::data_side::tests::clock::time_of_day;
use crate::data_side::tests::kit::{Act, MILLI, SECOND, World, after, at};
use crate::data_side::tests::run_for;
use crate::report::error::CheckpointError;
use crate::report::event::Event;

#[tokio::test(start_paused = true)]
async fn records_are_delivered_in_order_and_progress_is_what_was_acknowledged() {
    let mut world = World::new().with_records(1..=5);
    world.config.retrieval.records_max = 2;
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(5)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "3/0 to 4/0 try 1",
        "5/0 to 5/0 try 1",
        "shutdown",
    ]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn progress_is_never_what_was_only_delivered() {
    let mut world = World::new().with_records(1..=4).with_plan([Act::Ok, Act::Hang]);
    world.config.retrieval.records_max = 2;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        assert_eq!(held.checkpoint(), Some(after(2)));
        assert_eq!(held.progress.borrow().caught_up_at, None);
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_comes_again_until_it_works() {
    let world = World::new().with_records(1..=2).with_plan([Act::Fail, Act::Fail]);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(2)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "1/0 to 2/0 try 2",
        "1/0 to 2/0 try 3",
        "shutdown",
    ]);
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
async fn a_panic_brings_the_batch_to_a_new_processor() {
    let world = World::new().with_records(1..=2).with_plan([Act::Panic]);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(2)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 2",
        "shutdown",
    ]);
    assert!(matches!(&world.events()[..],
        [Event::BatchFailed { error, .. }] if error == "panicked: ouch"));
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_does_not_start_is_replaced() {
    let world = World::new().with_records(1..=1).with_plan([Act::FailToStart]);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(1)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 1/0 try 1",
        "shutdown",
    ]);
    assert!(matches!(
        &world.events()[..],
        [Event::ProcessorFailed { call: "initialize", attempt: 1, .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn an_explicit_checkpoint_shortens_the_retry() {
    let world = World::new().with_records(1..=4).with_plan([Act::CheckpointAndFail(2)]);
    assert_eq!(run_for(&world, SECOND * 3).await, Some(after(4)));
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 4/0 try 1",
        "3/0 to 4/0 try 2",
        "shutdown",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_checkpointed_and_then_failed_is_done() {
    let world = World::new().with_records(1..=4).with_plan([Act::CheckpointAndFail(4)]);
    run_for(&world, SECOND * 3).await;
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 4/0 try 1", "shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_is_read_while_the_processor_works_and_no_more() {
    let mut world = World::new().with_records(1..=9).with_plan([Act::Take(SECOND * 60)]);
    world.config.retrieval.records_max = 1;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 30).await;
        assert_eq!(world.reads(), 2);
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn manual_checkpoints_are_the_applications_alone() {
    let mut world = World::new().with_records(1..=4);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.retrieval.records_max = 2;
    assert_eq!(run_for(&world, SECOND * 3).await, None);
}

#[tokio::test(start_paused = true)]
async fn with_manual_checkpoints_a_new_processor_gets_all_that_is_not_stored() {
    let plan = [Act::Ok, Act::CheckpointAndPanic(3)];
    let mut world = World::new().with_records(1..=6).with_plan(plan);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.config.retrieval.records_max = 2;
    run_for(&world, SECOND * 5).await;
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "3/0 to 4/0 try 1",
        "new after 3/0",
        "initialize",
        "4/0 to 4/0 try 2",
        "5/0 to 6/0 try 1",
        "shutdown",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_former_processors_checkpointer_stores_nothing() {
    let world = World::new().with_records(1..=2).with_plan([Act::Take(SECOND), Act::Panic]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(MILLI * 500).await;
        let former = world.checkpointer();
        assert!(matches!(former.checkpoint(at(3)).await, Err(CheckpointError::OutOfRange { .. })));
        held.serve(SECOND).await;
        world.put([at(3)]); // The processor panics at it.
        held.serve(SECOND * 3).await;
        assert!(matches!(former.checkpoint(at(3)).await, Err(CheckpointError::LeaseLost)));
        let (stored, ()) =
            join!(async { world.checkpointer().checkpoint(at(3)).await }, held.serve(SECOND));
        stored.unwrap();
        assert_eq!(held.stored, [after(3)]);
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn being_caught_up_is_noted_once_everything_is_acknowledged() {
    let world = World::new().with_records(1..=2).with_plan([Act::Take(SECOND * 9)]);
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 8).await;
        assert_eq!(held.progress.borrow().caught_up_at, None);
        held.serve(SECOND * 4).await;
        let noted = held.progress.borrow().caught_up_at.unwrap();
        assert!(noted >= time_of_day(SECOND * 8), "{noted:?}");
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}

#[tokio::test(start_paused = true)]
async fn with_manual_checkpoints_being_caught_up_is_noted_once_everything_is_stored() {
    let mut world = World::new().with_records(1..=2);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    let (mut held, run) = world.start();
    let script = async {
        held.serve(SECOND * 3).await;
        assert_eq!(held.progress.borrow().caught_up_at, None);
        let checkpointer = world.checkpointer();
        let (stored, ()) = join!(checkpointer.checkpoint(at(2)), held.serve(SECOND * 3));
        stored.unwrap();
        assert!(held.progress.borrow().caught_up_at.unwrap() > time_of_day(SECOND * 3));
        let (again, ()) = join!(checkpointer.checkpoint(at(2)), held.serve(SECOND));
        again.unwrap();
        let back = checkpointer.checkpoint(at(1)).await;
        assert!(matches!(back, Err(CheckpointError::OutOfRange { .. })));
    };
    tokio::select! { () = script => {}, () = run => unreachable!() }
}
