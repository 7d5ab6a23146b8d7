//! Records that leave nothing to process: dropped user records, and aggregates without any.

use kcl_proto::kpl::{Aggregator, HashRangePolicy, seal};
use kcl_proto::model::{Checkpoint, CheckpointPolicy, Record, ShardId};

use crate::data_side::tests::application::Call::{self, Initialize, New, ShutdownRequested};
use crate::data_side::tests::application::batch;
use crate::data_side::tests::clock::SECOND;
use crate::data_side::tests::stream::{after, at};
use crate::data_side::tests::world::World;
use crate::report::event::Event;

/// A record with a user record for each of these hash keys. The shard has 0 to 99.
fn aggregate(number: u128, hash_keys: &[u128]) -> Record {
    let mut aggregator = Aggregator::new(1_000);
    for hash_key in hash_keys {
        assert_eq!(aggregator.add("key", Some(*hash_key), b"data"), Ok(None));
    }
    Record::new(at(number), "key", aggregator.finish().unwrap().data, None)
}

/// A record without user records.
fn hollow(number: u128) -> Record {
    Record::new(at(number), "key", seal(b"\x0A\x01a"), None)
}

/// A world that drops what is out of range.
fn world() -> World {
    let mut world = World::new();
    world.config.retrieval.hash_range = HashRangePolicy::Drop;
    world
}

fn dropped(count: u64, last: u128) -> Event {
    Event::OutOfRangeDropped { shard: ShardId::from("shard-0"), count, last: last.into() }
}

#[tokio::test(start_paused = true)]
async fn dropped_records_move_the_checkpoint() {
    for policy in [CheckpointPolicy::Automatic, CheckpointPolicy::Manual] {
        let mut world = world();
        world.config.delivery.checkpoints = policy;
        world.stream.put_records((1..=8).map(|number| aggregate(number, &[200])));
        assert_eq!(world.run_for(SECOND * 3).await, Some(after(8)), "{policy:?}");
        assert_eq!(world.calls(), [New(Checkpoint::TrimHorizon), Initialize, ShutdownRequested]);
        assert_eq!(world.events(), [dropped(8, 8)]);

        // After a restart the record at the checkpoint is read again, and not counted again.
        world.lease.checkpoint = after(8);
        world.take_event();
        world.run_for(SECOND * 3).await;
        assert_eq!(world.events(), [], "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hollow_aggregates_move_the_checkpoint() {
    let world = World::new();
    world.stream.put_records([hollow(1), hollow(2)]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(2)));
    assert_eq!(world.events(), []);
}

#[tokio::test(start_paused = true)]
async fn dropped_records_after_a_batch_are_passed_with_it() {
    let world = world();
    world.stream.put_records([aggregate(1, &[5, 200]), aggregate(2, &[200]), hollow(3)]);
    assert_eq!(world.run_for(SECOND * 3).await, Some(after(3)));
    let calls = [New(Checkpoint::TrimHorizon), Initialize, batch(1..=1), ShutdownRequested];
    assert_eq!(world.calls(), calls);
    assert_eq!(world.events(), [dropped(2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn dropped_records_do_not_pass_outstanding_ones() {
    let world = world();
    world.app.detach();
    world.stream.put_records([aggregate(1, &[5]), aggregate(2, &[200])]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 2).await;
            world.stream.put_records([aggregate(3, &[200])]);
            holder.serve(SECOND * 2).await;
            assert_eq!(holder.checkpoint(), None, "record 1 is outstanding");
            world.app.ack(1).done();
            holder.serve(SECOND * 2).await;
            assert_eq!(holder.checkpoint(), Some(after(3)));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn manual_checkpoints_wait_for_the_application() {
    let mut world = world();
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    world.stream.put_records([aggregate(1, &[5]), aggregate(2, &[200])]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 2).await;
            assert_eq!(holder.checkpoint(), None, "record 1 is not checkpointed");
            for expected in [after(1), after(2), after(2)] {
                let checkpointer = world.app.checkpointer();
                let stored = async { checkpointer.checkpoint(at(1)).await.unwrap() };
                tokio::select! {
                    () = stored => {}
                    end = holder.end() => panic!("the consumer ended: {end:?}"),
                }
                assert_eq!(holder.stored.last(), Some(&expected), "it may be repeated");
            }
            holder.serve(SECOND * 2).await;
            assert_eq!(holder.checkpoint(), Some(after(2)));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn partly_done_aggregate_is_not_counted_again() {
    let mut world = world();
    world.stream.put_records([aggregate(1, &[200, 5, 200, 6, 200])]);
    let inside = |sub_sequence| kcl_proto::model::Position { sub_sequence, ..at(1) };
    for (done, counted) in [(None, 3), (Some(inside(1)), 2), (Some(inside(3)), 0)] {
        world.lease.checkpoint = done.map_or(Checkpoint::TrimHorizon, Checkpoint::After);
        world.run_for(SECOND * 3).await;
        let expected = (counted > 0).then(|| dropped(counted, 1));
        assert_eq!(world.take_event(), expected, "{done:?}");
    }
    assert!(world.calls().contains(&Call::Batch { first: inside(3), last: inside(3), attempt: 1 }));
}
