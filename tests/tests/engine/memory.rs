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
use kcl_sim::story::{Member, Story};
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

/// How many records each shard has delivered, and the most that was in use at any time.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<BTreeMap<ShardId, usize>>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, usize>> {
        self.0.lock().unwrap()
    }

    fn of(&self, story: &Story, shard: usize) -> usize {
        self.lock().get(&story.shard(shard)).copied().unwrap_or(0)
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

fn start(story: &Story, counts: &Counts, hang: usize) -> Member {
    let (counts, hanging) = (counts.clone(), (0..hang).map(|it| story.shard(it)).collect());
    let hanging: Vec<ShardId> = hanging;
    story.start_with("w", move |shard: &ShardContext| Counting {
        counts: counts.clone(),
        hangs: hanging.contains(shard.shard_id()),
    })
}

/// A stream full of records of a quarter of a MiB.
fn full(shards: usize, records: usize, memory_max: usize) -> Story {
    let story = Story::new(shards);
    story.configure(|config| config.retrieval.memory_max = memory_max);
    let record = "x".repeat(MIB / 4);
    for shard in 0..shards {
        story.put(shard, std::iter::repeat_n(record.as_str(), records));
    }
    story
}

#[test]
fn hanging_processors_do_not_block_other_shards() {
    let (shards, hanging, records) = (16, 6, 40);
    let story = full(shards, records, 8 * MIB);
    let counts = Counts::default();
    let worker = start(&story, &counts, hanging);
    let mut most = 0;
    story.until("all of the other shards is processed", SECOND * 600, |story| {
        most = most.max(worker.status().memory.used);
        (hanging..shards).all(|shard| counts.of(story, shard) == records)
    });
    assert!((0..hanging).all(|shard| counts.of(&story, shard) > 0), "each had a turn");
    let turns = shards * (MIB / 4 + 1_000);
    assert!(most <= u64::try_from(8 * MIB + turns).unwrap(), "{most} bytes");
    assert!(most >= u64::try_from(2 * MIB).unwrap(), "the status shows what is used: {most}");
    worker.crash();
}

#[test]
fn memory_is_returned_when_batches_are_done() {
    let story = full(4, 20, 64 * MIB);
    let counts = Counts::default();
    let worker = start(&story, &counts, 0);
    let done = |_: &Story| (0..4).all(|shard| counts.of(&story, shard) == 20);
    story.until("processed", SECOND * 60, done);
    let is_free = |_: &Story| worker.status().memory.used == 0;
    story.until("free", SECOND * 30, is_free);
    assert_eq!(worker.status().memory.budget, u64::try_from(64 * MIB).unwrap());
    worker.stop().unwrap();
}

#[test]
fn smallest_budget_moves_every_shard() {
    let story = full(3, 10, MIB);
    let counts = Counts::default();
    start(&story, &counts, 0);
    let done = |_: &Story| (0..3).all(|shard| counts.of(&story, shard) == 10);
    story.until("processed", SECOND * 60, done);
}

#[test]
fn user_records_count_with_their_expanded_size() {
    let story = Story::new(1);
    story.configure(|config| config.retrieval.memory_max = 64 * MIB);
    let mut aggregator = Aggregator::new(50_000);
    let user_records = 1_000;
    for _ in 0..user_records {
        assert_eq!(aggregator.add("key", None, b"tiny"), Ok(None));
    }
    let aggregate = aggregator.finish().unwrap().data;
    for _ in 0..20 {
        story.put_aggregate(0, aggregate.clone(), 0..1_000);
    }
    let counts = Counts::default();
    let worker = start(&story, &counts, 1);
    let in_hand = |_: &Story| counts.of(&story, 0) > 0;
    story.until("delivered", SECOND * 60, in_hand);
    story.pass(SECOND); // The status is reported now and then.
    let each = size_of::<Record>() + aggregate.len() / user_records;
    let taken = counts.of(&story, 0) * each;
    let used = worker.status().memory.used;
    assert!(used >= u64::try_from(taken).unwrap(), "{used} bytes for {taken}");
    worker.crash();
}

#[test]
fn records_in_flight_keep_to_the_budget() {
    let (shards, records, budget) = (2, 40, 4 * MIB);
    let story = full(shards, records, budget);
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
    let worker = story.start_with("w", processor);
    let turns = u64::try_from(budget + shards * (MIB / 4 + 1_000)).unwrap();
    let used = || worker.status().memory.used;
    for _ in 0..300 {
        story.pass(SECOND / 10);
        assert!(used() <= turns, "{} bytes", used());
    }
    assert!(used() >= u64::try_from(MIB / 2).unwrap(), "each shard has a record: {}", used());
    while *begun.lock().unwrap() < shards * records {
        gate.add_permits(1);
        story.pass(SECOND / 10);
        assert!(used() <= turns, "{} bytes", used());
    }
    gate.add_permits(shards * records);
    story.until("free", SECOND * 30, |_: &Story| used() == 0);
    worker.stop().unwrap();
}
