//! Records that the service sends as they come.

use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::{MILLI, SECOND, time_of_day};
use crate::data_side::tests::stream::at;
use crate::data_side::tests::world::World;

const MIB: u64 = 1024 * 1024;

/// A world whose stream pushes events that are said to have `bytes` bytes.
fn pushing(bytes: u64) -> World {
    let mut world = World::new().with_records(1..=1);
    world.config.retrieval.records_max = 1;
    world.stream.push(bytes);
    world
}

#[tokio::test(start_paused = true)]
async fn event_is_read_as_it_comes_and_the_next_one_at_once() {
    let world = pushing(100);
    world
        .run_during(async |holder| {
            holder.serve(SECOND).await;
            world.stream.put((2..=21).map(at));
            holder.serve(MILLI * 500).await;
        })
        .await;
    let last = world.calls().last().cloned();
    assert_eq!(last, Some(batch(21..=21)), "a poll would have read twice a second");
}

#[tokio::test(start_paused = true)]
async fn shard_that_waits_for_an_event_holds_no_memory() {
    let world = pushing(MIB);
    world
        .run_during(async |holder| {
            holder.serve(SECOND).await;
            for _ in 0..1_000 {
                holder.serve(MILLI).await;
                assert_eq!(world.memory.usage().used, 0);
            }
            world.stream.put([at(2)]);
            let mut peak = 0;
            for _ in 0..100 {
                holder.serve(MILLI).await;
                peak = peak.max(world.memory.usage().used);
            }
            assert_eq!(peak, 3 * MIB, "three copies of the event that came");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn event_larger_than_the_budget_has_its_turn() {
    let world = pushing(1 << 40);
    world
        .run_during(async |holder| {
            world.stream.put([at(2)]);
            holder.serve(SECOND).await;
        })
        .await;
    assert_eq!(world.calls().last(), Some(&batch(2..=2)));
}

#[tokio::test(start_paused = true)]
async fn event_that_lay_unread_tells_when_the_shard_was_last_seen_empty() {
    let world = pushing(100).with_plan([Act::Sleep(MILLI), Act::Sleep(SECOND * 60)]);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 2).await;
            world.stream.put((2..=4).map(at));
            holder.serve(SECOND).await;
            // The third one was read ahead, and the fourth one lies until the second is done.
            holder.serve(SECOND * 60).await;
            let seen = holder.caught_up_at().expect("it was empty before");
            assert!(seen < time_of_day(SECOND * 3), "{seen:?}");
        })
        .await;
    assert_eq!(world.calls().last(), Some(&batch(4..=4)));
}
