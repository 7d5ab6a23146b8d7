//! The memory of expanded records.

use kcl_proto::kpl::{Aggregator, Malformed, USER_RECORDS_MAX, seal};
use kcl_proto::model::{Record, ShardId};

use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::SECOND;
use crate::data_side::tests::stream::at;
use crate::data_side::tests::world::World;
use crate::report::event::Event;

fn aggregate(number: u128, user_records: usize) -> Record {
    let mut aggregator = Aggregator::new(1_000_000);
    for _ in 0..user_records {
        assert_eq!(aggregator.add("key", None, b""), Ok(None));
    }
    Record::new(at(number), "key", aggregator.finish().unwrap().data, None)
}

#[tokio::test(start_paused = true)]
async fn each_batch_counts_with_its_own_expansion() {
    let mut world = World::new().with_plan([Act::Ok, Act::Hang]);
    world.config.retrieval.records_max = 2;
    world.stream.put_records([aggregate(1, 2), aggregate(2, 10_000)]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            let used = usize::try_from(world.memory.usage().used).unwrap();
            let least = 10_000 * size_of::<Record>();
            assert!((least..least * 2).contains(&used), "{used} bytes, at least {least}");
        })
        .await;
    assert_eq!(world.memory.usage().used, 0);
}

#[tokio::test(start_paused = true)]
async fn oversized_aggregate_is_delivered_raw() {
    let world = World::new();
    let empty = b"\x1A\x04\x08\x00\x1A\x00".repeat(USER_RECORDS_MAX + 1);
    let message = [b"\x0A\x01a".as_slice(), &empty].concat();
    world.stream.put_records([Record::new(at(1), "key", seal(&message), None)]);
    world.run_for(SECOND * 3).await;
    assert_eq!(world.calls()[2], batch(1..=1));
    let (shard, last) = (ShardId::from("shard-0"), 1.into());
    let reason = Malformed::TooMany;
    assert_eq!(world.events(), [Event::MalformedAggregates { shard, count: 1, last, reason }]);
}

#[tokio::test(start_paused = true)]
async fn reply_counts_as_read_with_its_last_batch() {
    let mut world = World::new().with_plan([Act::Ok, Act::Sleep(SECOND * 5)]);
    world.config.retrieval.records_max = 2;
    world.stream.put_records([aggregate(1, 2), aggregate(2, 2)]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
            assert_eq!(world.calls().iter().filter(|call| call.is_batch()).count(), 2);
            assert_eq!(holder.caught_up_at(), None, "the second batch is in hand");
            holder.serve(SECOND * 5).await;
            assert!(holder.caught_up_at().is_some());
        })
        .await;
}
