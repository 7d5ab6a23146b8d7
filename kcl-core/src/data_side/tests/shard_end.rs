//! A shard's end: its children, and the processor's consent.

use kcl_proto::model::{Checkpoint, CheckpointPolicy, ChildShard, Shard, ShardId};
use tokio::join;
use tokio::time::sleep;

use crate::data_side::tests::ids;
use crate::data_side::tests::kit::{Act, SECOND, World, after, at, child};
use crate::messages::FromConsumer;
use crate::report::error::CheckpointError;
use crate::report::event::Event;

fn children() -> [Shard; 2] {
    [child("left", 0, 49), child("right", 50, 99)]
}

async fn end(world: &World) -> (Option<Checkpoint>, Vec<ChildShard>) {
    let (mut held, run) = world.start();
    let script = async {
        let Some(FromConsumer::ShardEnded { children }) = held.last_word().await else {
            panic!("the consumer left without the shard's end");
        };
        let checkpoint = held.checkpoint();
        held.let_go().await;
        (checkpoint, children)
    };
    let (_, (checkpoint, children)) = join!(run, script);
    let ids = children.iter().map(|child| child.id.clone()).collect();
    let told = Event::ShardEnded { shard: "shard-0".into(), children: ids };
    assert_eq!(world.take_event(), Some(told));
    (checkpoint, children)
}

#[tokio::test(start_paused = true)]
async fn children_that_the_end_tells_are_taken_from_there() {
    let world = World::new().with_records(1..=2);
    world.close(&children().map(|child| ChildShard::from(&child)));
    let (checkpoint, found) = end(&world).await;
    assert_eq!((checkpoint, ids(&found)), (Some(after(2)), vec!["left", "right"]));
    world.check_log(&["new after TRIM_HORIZON", "initialize", "1/0 to 2/0 try 1", "ended"]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn children_that_the_end_does_not_tell_are_listed_until_they_cover_the_shard() {
    let world = World::new().with_records(1..=2);
    let [left, right] = children();
    world.close(&[ChildShard::from(&left)]);
    world.list(vec![left.clone()]);
    let later = async {
        sleep(SECOND * 20).await;
        assert_eq!(world.log_len(), 3);
        world.list(vec![left.clone(), right.clone()]);
    };
    let ((_, found), ()) = join!(end(&world), later);
    assert_eq!(ids(&found), ["left", "right"]);
    assert!(world.events().iter().all(|event| matches!(event, Event::FetchFailed { .. })));
    assert!(world.events().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_shard_ends_after_the_processor_agreed() {
    let plan = [Act::Ok, Act::Fail, Act::Panic];
    let world = World::new().with_records(1..=2).with_plan(plan);
    world.close(&children().map(|child| ChildShard::from(&child)));
    end(&world).await;
    world.check_log(&[
        "new after TRIM_HORIZON",
        "initialize",
        "1/0 to 2/0 try 1",
        "ended",
        "ended",
        "new after 2/0",
        "initialize",
        "ended",
    ]);
    assert!(matches!(
        &world.events()[..],
        [
            Event::ProcessorFailed { call: "shard_ended", attempt: 1, .. },
            Event::ProcessorFailed { call: "shard_ended", attempt: 2, .. }
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn with_manual_checkpoints_too_the_end_is_stored_once_the_processor_agreed() {
    let mut world = World::new().with_records(1..=2);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.close(&children().map(|child| ChildShard::from(&child)));
    let (checkpoint, found) = end(&world).await;
    assert_eq!((checkpoint, found.len()), (None, 2));
    let late = world.checkpointer().checkpoint(at(2)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_was_trimmed_as_a_whole_ends_and_its_records_are_reported_lost() {
    let mut world = World::new();
    world.lease.checkpoint = after(7);
    world.remove_shard();
    world.list(children().to_vec());
    let (_, found) = end(&world).await;
    assert_eq!(found.len(), 2);
    let lost = Event::DataLost {
        shard: ShardId::from("shard-0"),
        from: after(7),
        to: Checkpoint::ShardEnd,
        caught_up_at: None,
    };
    assert_eq!(world.events(), [lost]);
}

#[tokio::test(start_paused = true)]
async fn trimmed_children_are_reported_and_replaced_by_what_is_left() {
    let world = World::new().with_records(1..=2);
    let mut grandchild = child("grandchild", 50, 99);
    grandchild.parents = vec!["right".into()];
    world.close(&[]);
    world.list(vec![child("left", 0, 49), grandchild]);
    let (_, found) = end(&world).await;
    assert_eq!(ids(&found), ["left", "grandchild"]);
    assert!(matches!(&world.events()[..], [Event::DataLost { from: Checkpoint::ShardEnd, .. }]));
}
