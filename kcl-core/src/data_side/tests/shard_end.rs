//! The end of a shard: its children, and the processor's `Ok`.

use kcl_proto::consumer::end_watch::QUIET;
use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::model::{Checkpoint, CheckpointPolicy, ChildShard, ReadFrom, Shard, ShardId};
use tokio::join;
use tokio::time::sleep;

use crate::data_side::tests::application::Call::{Initialize, New, ShardEnded};
use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::SECOND;
use crate::data_side::tests::stream::{after, at, child, itself};
use crate::data_side::tests::world::World;
use crate::report::error::CheckpointError;
use crate::report::event::Event;

fn children() -> [Shard; 2] {
    [child("left", 0, 49), child("right", 50, 99)]
}

fn ids(children: &[ChildShard]) -> Vec<&str> {
    children.iter().map(|child| child.id.as_str()).collect()
}

/// Runs a consumer to its shard's end. Returns its checkpoint and the children that it reports.
async fn end(world: &World) -> (Option<Checkpoint>, Vec<ChildShard>) {
    let (checkpoint, children) = world
        .run(async |holder| {
            assert_eq!(holder.end().await, Some(ConsumerEnd::ShardEnded));
            let checkpoint = holder.checkpoint();
            holder.release().await;
            (checkpoint, holder.children.clone())
        })
        .await;
    let ids = children.iter().map(|child| child.id.clone()).collect();
    let ended = Event::ShardEnded { shard: "shard-0".into(), children: ids };
    assert_eq!(world.take_event(), Some(ended));
    (checkpoint, children)
}

#[tokio::test(start_paused = true)]
async fn children_come_from_the_last_read() {
    let world = World::new().with_records(1..=2);
    world.stream.close(&children());
    let (checkpoint, found) = end(&world).await;
    assert_eq!((checkpoint, ids(&found)), (Some(after(2)), vec!["left", "right"]));
    assert_eq!(world.calls(), [New(Checkpoint::TrimHorizon), Initialize, batch(1..=2), ShardEnded]);
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn missing_children_are_listed_until_they_cover_it() {
    let world = World::new().with_records(1..=2);
    let [left, right] = children();
    world.stream.close([&left]);
    world.stream.list(vec![left.clone()]);
    let later = async {
        sleep(SECOND * 20).await;
        assert_eq!(world.calls().len(), 3);
        world.stream.list(vec![left.clone(), right.clone()]);
    };
    let ((_, found), ()) = join!(end(&world), later);
    assert_eq!(ids(&found), ["left", "right"]);
    assert!(world.events().iter().all(|event| matches!(event, Event::FetchFailed { .. })));
    assert!(world.events().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn shard_ends_once_the_processor_returns_ok() {
    let plan = [Act::Ok, Act::Fail, Act::Panic];
    let world = World::new().with_records(1..=2).with_plan(plan);
    world.stream.close(&children());
    end(&world).await;
    assert_eq!(
        world.calls(),
        [
            New(Checkpoint::TrimHorizon),
            Initialize,
            batch(1..=2),
            ShardEnded,
            ShardEnded,
            New(after(2)),
            Initialize,
            ShardEnded,
        ]
    );
    assert!(matches!(
        &world.events()[..],
        [
            Event::ProcessorFailed { call: "shard_ended", attempt: 1, .. },
            Event::ProcessorFailed { call: "shard_ended", attempt: 2, .. }
        ]
    ));
}

#[tokio::test(start_paused = true)]
async fn manual_policy_ends_the_shard_by_the_same_ok() {
    let mut world = World::new().with_records(1..=2);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.stream.close(&children());
    let (checkpoint, found) = end(&world).await;
    assert_eq!((checkpoint, found.len()), (None, 2));
    let late = world.app.checkpointer().checkpoint(at(2)).await;
    assert!(matches!(late, Err(CheckpointError::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn wholly_trimmed_shard_ends_and_reports_its_loss() {
    let mut world = World::new();
    world.lease.checkpoint = after(7);
    world.stream.remove_shard();
    world.stream.list(children().to_vec());
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
async fn trimmed_child_is_reported_and_replaced_by_its_own() {
    let world = World::new().with_records(1..=2);
    let mut grandchild = child("grandchild", 50, 99);
    grandchild.parents = vec!["right".into()];
    world.stream.close(&[]);
    world.stream.list(vec![child("left", 0, 49), grandchild]);
    let (_, found) = end(&world).await;
    assert_eq!(ids(&found), ["left", "grandchild"]);
    assert!(matches!(&world.events()[..], [Event::DataLost { from: Checkpoint::ShardEnd, .. }]));
}

#[tokio::test(start_paused = true)]
async fn end_of_an_open_shard_is_not_believed() {
    let world = World::new().with_records(1..=2);
    world.stream.list(vec![itself(None)]);
    world.stream.end_falsely(1);
    world
        .run_during(async |holder| {
            holder.serve(SECOND).await;
            world.stream.put([at(3)]);
            holder.serve(SECOND * 2).await;
        })
        .await;
    assert_eq!(world.calls().last(), Some(&batch(3..=3)));
    assert_eq!(world.stream.opened(), [ReadFrom::TrimHorizon, ReadFrom::At(2.into())]);
    let [Event::FetchFailed { error, .. }] = &world.events()[..] else { unreachable!() };
    assert!(error.contains("end of shard shard-0 is not confirmed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn shard_whose_reads_end_without_its_end_is_released() {
    let world = World::new();
    world.stream.list(vec![itself(None)]);
    world.stream.end_falsely(usize::MAX);
    world.run_to_failure().await;
    let reads = world.stream.reads();
    assert!((60..100).contains(&reads), "about every 5 s for 5 min, not {reads}");
}

/// The events of a world that say that the end is overdue.
fn overdue(world: &World) -> usize {
    let is_overdue = |event: &&Event| matches!(event, Event::ShardEndOverdue { .. });
    world.events().iter().filter(is_overdue).count()
}

#[tokio::test(start_paused = true)]
async fn end_that_is_not_announced_is_taken_as_proven() {
    let world = World::new().with_records(1..=2);
    let later = async {
        sleep(QUIET * 3).await;
        assert_eq!((overdue(&world), world.calls().len()), (0, 3), "the shard is open");
        world.stream.list([vec![itself(Some(9))], children().to_vec()].concat());
        sleep(SECOND * 200).await;
        assert_eq!((overdue(&world), world.calls().len()), (1, 3));
        world.stream.put([at(3)]); // One emulator stores records in closed shards.
        sleep(QUIET - SECOND).await;
        assert_eq!(world.calls().last(), Some(&batch(3..=3)));
    };
    let ((checkpoint, found), ()) = join!(end(&world), later);
    assert_eq!((checkpoint, ids(&found)), (Some(after(3)), vec!["left", "right"]));
    assert_eq!(overdue(&world), 1);
}
