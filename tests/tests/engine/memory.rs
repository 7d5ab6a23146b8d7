//! The records of all shards keep to one budget of memory, and no shard waits for a slow one.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kcl_core::ShardContext;
use kcl_core::for_each;
use kcl_core::kpl::Aggregator;
use kcl_core::model::ShardId;
use kcl_core::{BoxError, Record, RecordBatch, RecordProcessor};
use kcl_tests::world::{Member, World};
use tokio::sync::Semaphore;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

/// How many records each shard has delivered, and the most that was in use at any time.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<BTreeMap<ShardId, usize>>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, usize>> {
        self.0.lock().unwrap()
    }

    fn of(&self, world: &World, shard: usize) -> usize {
        self.lock().get(&world.shard(shard)).copied().unwrap_or(0)
    }
}

/// Counts records. Some never come to an end with their first batch.
struct Counting {
    counts: Counts,
    hangs: bool,
}

impl RecordProcessor for Counting {
    async fn process_records(
        &mut self,
        batch: RecordBatch,
        shard: &ShardContext,
    ) -> Result<(), BoxError> {
        *self.counts.lock().entry(shard.shard_id().clone()).or_default() += batch.len();
        if self.hangs { pending().await } else { Ok(()) }
    }
}

fn start(world: &World, counts: &Counts, hang: usize) -> Member {
    let (counts, hanging) = (counts.clone(), (0..hang).map(|it| world.shard(it)).collect());
    let hanging: Vec<ShardId> = hanging;
    world.start_processor("w", world.stream.clone(), move |shard: &ShardContext| Counting {
        counts: counts.clone(),
        hangs: hanging.contains(shard.shard_id()),
    })
}

/// A stream full of records of a quarter of a MiB.
fn world(shards: usize, records: usize, memory_max: usize) -> World {
    let mut world = World::new(shards);
    world.config.retrieval.memory_max = memory_max;
    let record = "x".repeat(MIB / 4);
    for shard in 0..shards {
        world.put(shard, std::iter::repeat_n(record.as_str(), records));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn processors_that_hang_keep_no_other_shard_from_its_records() {
    let (shards, hanging, records) = (16, 6, 40);
    let world = world(shards, records, 8 * MIB);
    let counts = Counts::default();
    let worker = start(&world, &counts, hanging);
    let most = async {
        let mut most = 0;
        while (hanging..shards).any(|shard| counts.of(&world, shard) < records) {
            most = most.max(worker.handle.status().memory.used);
            sleep(SECOND / 10).await;
        }
        most
    };
    let most =
        tokio::time::timeout(SECOND * 600, most).await.expect("every shard comes to its end");
    assert!((0..hanging).all(|shard| counts.of(&world, shard) > 0), "each had a turn");
    let turns = shards * (MIB / 4 + 1_000);
    assert!(most <= u64::try_from(8 * MIB + turns).unwrap(), "{most} bytes");
    assert!(most >= u64::try_from(2 * MIB).unwrap(), "the status tells what is used: {most}");
}

#[tokio::test(start_paused = true)]
async fn memory_is_given_back_when_batches_are_done() {
    let world = world(4, 20, 64 * MIB);
    let counts = Counts::default();
    let worker = start(&world, &counts, 0);
    let done = |_: &World| (0..4).all(|shard| counts.of(&world, shard) == 20);
    world.until("processed", SECOND * 60, done).await;
    let is_free = |_: &World| worker.handle.status().memory.used == 0;
    world.until("free", SECOND * 30, is_free).await;
    assert_eq!(worker.handle.status().memory.budget, u64::try_from(64 * MIB).unwrap());
    worker.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_smallest_budget_still_moves_every_shard() {
    let world = world(3, 10, MIB);
    let counts = Counts::default();
    let _worker = start(&world, &counts, 0);
    let done = |_: &World| (0..3).all(|shard| counts.of(&world, shard) == 10);
    world.until("processed", SECOND * 60, done).await;
}

#[tokio::test(start_paused = true)]
async fn user_records_count_for_what_they_take_once_they_are_expanded() {
    let mut world = World::new(1);
    world.config.retrieval.memory_max = 64 * MIB;
    let mut aggregator = Aggregator::new(50_000);
    let user_records = 1_000;
    for _ in 0..user_records {
        assert_eq!(aggregator.add("key", None, b"tiny"), Ok(None));
    }
    let aggregate = aggregator.finish().unwrap().data;
    for _ in 0..20 {
        world.stream.put_at(0, "key", aggregate.clone()).unwrap();
    }
    let counts = Counts::default();
    let worker = start(&world, &counts, 1);
    let in_hand = |_: &World| counts.of(&world, 0) > 0;
    world.until("delivered", SECOND * 60, in_hand).await;
    world.pass(SECOND).await; // The status is told now and then.
    let each = size_of::<Record>() + aggregate.len() / user_records;
    let taken = counts.of(&world, 0) * each;
    let used = worker.handle.status().memory.used;
    assert!(used >= u64::try_from(taken).unwrap(), "{used} bytes for {taken}");
}

#[tokio::test(start_paused = true)]
async fn records_under_way_keep_to_the_budget_until_they_are_done() {
    let (shards, records, budget) = (2, 40, 4 * MIB);
    let world = world(shards, records, budget);
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0)));
    let (waits, counts) = (Arc::clone(&gate), Arc::clone(&begun));
    let processor = for_each(move |_record| {
        let (waits, counts) = (Arc::clone(&waits), Arc::clone(&counts));
        async move {
            *counts.lock().unwrap() += 1;
            waits.acquire().await?.forget();
            Ok(())
        }
    });
    let worker = world.start_processor("w", world.stream.clone(), processor);
    let turns = u64::try_from(budget + shards * (MIB / 4 + 1_000)).unwrap();
    let used = || worker.handle.status().memory.used;
    for _ in 0..300 {
        world.pass(SECOND / 10).await;
        assert!(used() <= turns, "{} bytes", used());
    }
    assert!(used() >= u64::try_from(MIB / 2).unwrap(), "each shard has a record: {}", used());
    while *begun.lock().unwrap() < shards * records {
        gate.add_permits(1);
        world.pass(SECOND / 10).await;
        assert!(used() <= turns, "{} bytes", used());
    }
    gate.add_permits(shards * records);
    world.until("free", SECOND * 30, |_: &World| used() == 0).await;
    worker.stop().await.unwrap();
}
