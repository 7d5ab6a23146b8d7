//! Memory that records keep beyond their data: that of the reply they are parts of.

use crate::data_side::tests::application::{Act, batch};
use crate::data_side::tests::clock::{MILLI, SECOND};
use crate::data_side::tests::stream::at;
use crate::data_side::tests::world::World;

const MIB: u64 = 1024 * 1024;

/// More than the throughput of a shard in a minute.
const REPLY: u64 = 128 * MIB;

/// The most memory that was used in each millisecond of a second.
async fn peak(world: &World, holder: &mut crate::data_side::tests::holder::Holder) -> u64 {
    let mut peak = 0;
    for _ in 0..1_000 {
        holder.serve(MILLI).await;
        peak = peak.max(world.memory.usage().used);
    }
    peak
}

#[tokio::test(start_paused = true)]
async fn reply_counts_until_its_batch_is_done() {
    let world = World::new().with_records(1..=2).with_plan([Act::Sleep(SECOND * 5)]);
    world.stream.hold(REPLY, 1);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 4).await;
            let used = world.memory.usage().used;
            assert!((REPLY..REPLY + MIB).contains(&used), "{used} bytes");
            holder.serve(SECOND * 3).await;
            assert!(peak(&world, holder).await > 0, "reads reserve memory");
        })
        .await;
    assert_eq!(world.memory.usage().used, 0);
}

#[tokio::test(start_paused = true)]
async fn memory_that_is_kept_does_not_slow_reads_down() {
    let mut world = World::new().with_records(1..=3);
    world.config.retrieval.records_max = 1;
    world.stream.hold(REPLY, 1);
    world
        .run_during(async |holder| {
            holder.serve(SECOND * 3).await;
        })
        .await;
    assert_eq!(world.calls().last(), Some(&batch(3..=3)), "the service counts the data alone");
}

#[tokio::test(start_paused = true)]
async fn read_reserves_the_copies_of_its_reader() {
    for copies in [1, 3] {
        let mut world = World::new().with_records(1..=1);
        world.config.retrieval.records_max = 1;
        world.stream.hold(MIB, copies);
        world
            .run_during(async |holder| {
                holder.serve(SECOND * 2).await;
                world.stream.put([at(2)]);
                let peak = peak(&world, holder).await;
                assert!((copies * MIB..(copies + 1) * MIB).contains(&peak), "{copies}: {peak}");
            })
            .await;
    }
}
