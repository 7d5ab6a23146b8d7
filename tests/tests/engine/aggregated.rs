//! Aggregated records reach processors as what their producers sent.

use std::time::Duration;

use kcl_core::config::{Aggregation, CheckpointPolicy};
use kcl_core::event::Event;
use kcl_core::kpl::{Aggregator, HashRangePolicy, Malformed, seal};
use kcl_core::model::{Checkpoint, Position, SequenceNumber};
use kcl_tests::world::{Act, Call, World};

/// Long enough for anything that needs no expiry.
const SOON: Duration = Duration::from_secs(10);

/// Puts user records as one aggregate, each under the hash key that stands with it.
fn put_at(world: &World, records: &[(u128, &str)]) -> SequenceNumber {
    let mut aggregator = Aggregator::new(50_000);
    for (hash_key, record) in records {
        assert_eq!(aggregator.add("key", Some(*hash_key), record.as_bytes()), Ok(None));
    }
    let aggregate = aggregator.finish().unwrap();
    world.stream.put_at(0, "key", aggregate.data).unwrap().1
}

fn put(world: &World, records: &[&str]) -> SequenceNumber {
    put_at(world, &records.iter().map(|record| (0, *record)).collect::<Vec<_>>())
}

const fn inside(sequence: SequenceNumber, sub_sequence: u64) -> Checkpoint {
    Checkpoint::After(Position { sequence, sub_sequence })
}

fn malformed(world: &World) -> Vec<(u64, Malformed)> {
    let told = world.journal.events(|event| {
        if let Event::MalformedAggregates { count, reason, .. } = event {
            Some((*count, *reason))
        } else {
            None
        }
    });
    told.into_iter().map(|(_, _, told)| told).collect()
}

#[tokio::test(start_paused = true)]
async fn user_records_are_delivered_in_order_and_the_last_one_is_stored() {
    let world = World::new(1);
    world.put(0, ["a"]);
    put(&world, &["b", "c"]);
    let last = put(&world, &["d", "e", "f"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("f")).await;
    worker.stop().await.unwrap();
    assert_eq!(world.lease(0).checkpoint, inside(last, 2));
    let _again = world.start("w");
    world.put(0, ["g"]);
    world.until("delivered", SOON, |world| world.journal.has("g")).await;
    assert_eq!(world.journal.delivered(), ["a", "b", "c", "d", "e", "f", "g"]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_many_user_records_comes_in_several_batches() {
    let mut world = World::new(1);
    world.config.retrieval.records_max = 3;
    for aggregate in [["a", "b"], ["c", "d"], ["e", "f"]] {
        put(&world, &aggregate);
    }
    world.split(0);
    world.script(|asked| {
        let is_second =
            matches!(&asked.call, Call::Process { records, attempt: 1 } if *records == ["e", "f"]);
        if is_second { Act::Fail } else { Act::Succeed }
    });
    let _worker = world.start("w");
    let is_ended = |world: &World| world.journal.calls(0).iter().any(|it| it == "shard ended");
    world.until("the shard ended", SOON, is_ended).await;
    let calls = world.journal.calls(0);
    let batches: Vec<_> = calls.iter().filter(|it| it.starts_with("process")).collect();
    assert_eq!(batches, ["process a b c d #1", "process e f #1", "process e f #2"]);
}

/// A worker checkpoints the user record at `index` of a batch of four in two aggregates, and
/// crashes. What the next one gets:
async fn resumed_after(index: usize) -> Vec<String> {
    let mut world = World::new(1);
    world.config.delivery.checkpoints = CheckpointPolicy::Manual;
    let first = put(&world, &["a", "b", "c"]);
    let second = put(&world, &["d"]);
    world.script(move |asked| {
        let is_asked = asked.worker == "first" && matches!(asked.call, Call::Process { .. });
        if is_asked { Act::Checkpoint(index) } else { Act::Succeed }
    });
    let worker = world.start("first");
    let is_stored = |world: &World| world.find(0).is_some_and(|it| it.checkpoint.has_progressed());
    world.until("stored", SOON, is_stored).await;
    let expected = if index == 3 { inside(second, 0) } else { inside(first, index as u64) };
    assert_eq!(world.lease(0).checkpoint, expected);
    worker.crash();
    let before = world.journal.delivered().len();
    world.put(0, ["e"]);
    let _next = world.start("second");
    world.until("delivered", SOON * 3, |world| world.journal.has("e")).await;
    world.journal.delivered().split_off(before)
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_inside_an_aggregate_is_resumed_from_exactly() {
    assert_eq!(resumed_after(0).await, ["b", "c", "d", "e"]);
    assert_eq!(resumed_after(1).await, ["c", "d", "e"]);
    assert_eq!(resumed_after(2).await, ["d", "e"]);
    assert_eq!(resumed_after(3).await, ["e"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_failed_inside_an_aggregate_comes_again_from_there() {
    let world = World::new(1);
    put(&world, &["a", "b", "c"]);
    world.script(|asked| {
        let is_first = matches!(asked.call, Call::Process { attempt: 1, .. });
        if is_first { Act::CheckpointAndFail(1) } else { Act::Succeed }
    });
    let worker = world.start("w");
    world.until("again", SOON, |world| world.journal.delivered().len() > 3).await;
    worker.stop().await.unwrap();
    assert_eq!(world.journal.delivered(), ["a", "b", "c", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_valid_aggregate_is_delivered_as_it_is_and_counted() {
    let world = World::new(1);
    world.put(0, ["a"]);
    // A user record without anything, many times in one read.
    let broken = seal(b"\x1A\x00");
    for _ in 0..100 {
        world.stream.put_at(0, "key", broken.clone()).unwrap();
    }
    let last = put(&world, &["b", "c"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("c")).await;
    worker.stop().await.unwrap();
    let raw = String::from_utf8_lossy(&broken).into_owned();
    let delivered = world.journal.delivered();
    assert_eq!(delivered.iter().filter(|record| **record == raw).count(), 100);
    assert_eq!(delivered.len(), 103);
    assert_eq!(malformed(&world), [(100, Malformed::Required)]);
    assert_eq!(world.lease(0).checkpoint, inside(last, 1));
}

#[tokio::test(start_paused = true)]
async fn aggregates_are_delivered_as_they_are_where_that_is_asked_for() {
    let mut world = World::new(1);
    world.config.retrieval.aggregation = Aggregation::Raw;
    let last = put(&world, &["a", "b"]);
    world.put(0, ["c"]);
    let worker = world.start("w");
    world.until("delivered", SOON, |world| world.journal.has("c")).await;
    assert_eq!(world.journal.delivered().len(), 2);
    worker.crash();
    // Where the whole aggregate is done, nobody but its consumer knows: its user records come.
    let mut lease = world.lease(0);
    lease.checkpoint = inside(last, 0);
    world.store.insert_lease(lease);
    world.config.retrieval.aggregation = Aggregation::Expand;
    let _expanding = world.start("w");
    world.until("delivered", SOON * 3, |world| world.journal.delivered().len() == 4).await;
    assert_eq!(world.journal.delivered().split_off(2), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn user_records_of_other_shards_are_dropped_and_counted_where_that_is_asked_for() {
    for (policy, expected) in [
        (HashRangePolicy::Deliver, &["a", "b", "c", "d", "e"][..]),
        (HashRangePolicy::Drop, &["a", "c", "e"][..]),
    ] {
        let mut world = World::new(2);
        world.config.retrieval.hash_range = policy;
        let other = world.hash_range(1).start;
        put_at(&world, &[(0, "a"), (other, "b"), (other - 1, "c")]);
        put_at(&world, &[(other, "d")]);
        let last = world.put(0, ["e"]);
        let worker = world.start("w");
        world.until("delivered", SOON, |world| world.journal.has("e")).await;
        worker.stop().await.unwrap();
        assert_eq!(world.journal.delivered(), expected);
        assert_eq!(world.lease(0).checkpoint, inside(last, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_goes_on_behind_aggregates_of_which_nothing_was_left() {
    let mut world = World::new(2);
    world.config.retrieval.hash_range = HashRangePolicy::Drop;
    let worker = world.start("w");
    world.put(0, ["a"]);
    world.until("delivered", SOON, |world| world.journal.has("a")).await;
    let other = world.hash_range(1).start;
    for _ in 0..8 {
        put_at(&world, &[(other, "b")]);
    }
    world.pass(SOON).await;
    worker.faults.source(Some(|| kcl_core::backend::SourceError::Expired));
    world.pass(SOON).await;
    worker.faults.source(None);
    world.put(0, ["c"]);
    world.until("delivered", SOON * 2, |world| world.journal.has("c")).await;
    assert_eq!(world.journal.delivered(), ["a", "c"]);
    // Had it gone back to "a", all eight would have been read and counted again.
    let counts = world.journal.events(|event| {
        if let Event::OutOfRangeDropped { count, .. } = event { Some(*count) } else { None }
    });
    assert_eq!(counts.iter().map(|(_, _, count)| *count).collect::<Vec<_>>(), [8]);
}
