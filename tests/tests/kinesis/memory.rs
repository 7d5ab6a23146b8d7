//! The stream in memory, on a manual clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::Clock;
use kcl_core::backend::{ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::model::{Moment, Position, SequenceNumber, Shard, ShardId, Timestamp};
use kcl_core::testing::record_source::SourceUnderTest;
use kcl_sim::memory::{LatePage, Limits, MemoryReader, MemoryStream, Pushes};

/// A clock that only the test advances, in milliseconds.
#[derive(Debug, Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment::from_origin(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn time_of_day(&self) -> Timestamp {
        let since = i64::try_from(self.0.load(Ordering::Relaxed)).unwrap();
        Timestamp::from_epoch_millis(1_700_000_000_345 + since)
    }
}

fn stream_on(name: &str, clock: &Arc<ManualClock>) -> MemoryStream {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    MemoryStream::new(name, 2, clock)
}

/// A stream of two shards in memory.
pub(crate) struct Memory {
    pub(crate) stream: MemoryStream,
    clock: Arc<ManualClock>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { stream: stream_on("orders", &clock), clock }
    }

    fn advance(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    async fn open(&self, shard: &ShardId, from: ReadFrom) -> Box<dyn ShardReader> {
        self.stream.open(shard, from).await.unwrap()
    }
}

#[async_trait]
impl SourceUnderTest for Memory {
    fn source(&self) -> Arc<dyn RecordSource> {
        Arc::new(self.stream.clone())
    }

    fn missing(&self) -> Arc<dyn RecordSource> {
        let stream = stream_on("nowhere", &self.clock);
        stream.delete();
        Arc::new(stream)
    }

    async fn put(&self, hash_key: u128, data: &str) -> (ShardId, SequenceNumber) {
        self.stream.put_at(hash_key, "key", data.to_owned()).unwrap()
    }

    async fn split(&self, shard: &ShardId, at: u128) {
        self.stream.split(shard, at).unwrap();
    }

    async fn merge(&self, one: &ShardId, other: &ShardId) {
        self.stream.merge(one, other).unwrap();
    }

    async fn pass(&self, time: Duration) {
        self.advance(time);
    }
}

fn put(memory: &Memory, data: &'static str) -> (ShardId, SequenceNumber) {
    memory.stream.put_at(0, "key", data).unwrap()
}

/// Returns the next records of a reader, as text.
async fn next(reader: &mut dyn ShardReader) -> Vec<String> {
    let records = reader.read(10).await.unwrap().records;
    records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn trimmed_position_starts_at_the_oldest_record() {
    let memory = Memory::new();
    let (shard, first) = put(&memory, "first");
    let (_, second) = put(&memory, "second");
    memory.stream.trim_before(&shard, second);
    for from in [ReadFrom::At(first), ReadFrom::TrimHorizon] {
        let mut reader = memory.open(&shard, from).await;
        assert_eq!(next(&mut *reader).await, ["second"]);
    }
}

#[tokio::test]
async fn iterator_skips_trimmed_records() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    let (_, second) = put(&memory, "second");
    memory.stream.trim_before(&shard, second);
    assert_eq!(next(&mut *reader).await, ["second"]);
}

#[tokio::test]
async fn retention_trims_records_then_closed_shards() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    memory.advance(Duration::from_hours(20));
    put(&memory, "second");
    memory.stream.split(&shard, 7).unwrap();
    memory.advance(Duration::from_hours(5));
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    assert_eq!(next(&mut *reader).await, ["second"]);
    memory.advance(Duration::from_hours(20));
    let error = memory.stream.open(&shard, ReadFrom::TrimHorizon).await.unwrap_err();
    assert!(matches!(error, SourceError::ShardMissing { .. }));
    assert_eq!(memory.stream.shards().len(), 3);
}

#[tokio::test]
async fn trimming_all_removes_records_and_closed_shards() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    memory.stream.split(&shard, 7).unwrap();
    put(&memory, "second");
    memory.stream.trim_all();
    let shards = memory.stream.list_shards(ShardFilter::All).await.unwrap();
    assert_eq!(shards.len(), 3);
    assert!(shards.iter().all(|shard| !shard.is_closed()));
    let (child, _) = put(&memory, "third");
    let mut reader = memory.open(&child, ReadFrom::TrimHorizon).await;
    assert_eq!(next(&mut *reader).await, ["third"]);
}

#[tokio::test]
async fn reader_keeps_the_end_it_has_seen() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    memory.stream.split(&shard, 7).unwrap();
    let end = reader.read(10).await.unwrap().end;
    memory.stream.trim_all();
    assert!(end.is_some());
    assert_eq!(reader.read(10).await.unwrap().end, end);
}

#[tokio::test]
async fn unused_iterator_expires() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    for _ in 0..3 {
        memory.advance(Duration::from_mins(5));
        reader.read(10).await.unwrap();
    }
    memory.advance(Duration::from_mins(5) + Duration::from_millis(1));
    assert!(matches!(reader.read(10).await, Err(SourceError::Expired)));
}

#[tokio::test]
async fn throttled_read_loses_nothing() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    memory.stream.throttle_next(1);
    assert!(matches!(reader.read(10).await, Err(SourceError::Throttled { .. })));
    assert_eq!(next(&mut *reader).await, ["first"]);

    memory.stream.set_limits(Limits { reads_per_second: Some(2), ..Limits::NONE });
    memory.advance(Duration::from_secs(1));
    reader.read(10).await.unwrap();
    reader.read(10).await.unwrap();
    assert!(matches!(reader.read(10).await, Err(SourceError::Throttled { .. })));
    memory.advance(Duration::from_secs(1));
    reader.read(10).await.unwrap();
}

#[tokio::test]
async fn reply_has_ten_mebibytes_at_most() {
    let memory = Memory::new();
    let megabyte = vec![0; 1024 * 1024];
    let (shard, _) = memory.stream.put_at(0, "key", megabyte.clone()).unwrap();
    for _ in 0..11 {
        memory.stream.put_at(0, "key", megabyte.clone()).unwrap();
    }
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    let first = reader.read(100).await.unwrap();
    assert_eq!((first.records.len(), first.is_caught_up()), (9, false));
    assert_eq!(reader.read(100).await.unwrap().records.len(), 3);
}

#[tokio::test]
async fn late_lists_are_stale_and_torn_lists_partial() {
    let memory = Memory::new();
    let (shard, _) = put(&memory, "first");
    memory.advance(Duration::from_mins(1));
    memory.stream.split(&shard, 7).unwrap();
    memory.stream.set_list_lag(Duration::from_secs(10));
    let lengths = |shards: Vec<Shard>| {
        (shards.len(), shards.iter().filter(|shard| shard.is_closed()).count())
    };
    let list = || memory.stream.list_shards(ShardFilter::All);
    assert_eq!(lengths(list().await.unwrap()), (2, 0));
    memory.stream.set_page_shards(2, LatePage::First);
    assert_eq!(lengths(list().await.unwrap()), (4, 0));
    memory.advance(Duration::from_secs(10));
    assert_eq!(lengths(list().await.unwrap()), (4, 1));
}

#[tokio::test]
async fn recreated_stream_refuses_former_positions() {
    let memory = Memory::new();
    let (shard, old) = put(&memory, "first");
    let before = memory.stream.describe().await.unwrap();
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    memory.stream.delete();
    assert!(matches!(reader.read(10).await, Err(SourceError::StreamMissing { .. })));
    memory.stream.recreate(1);
    assert!(matches!(reader.read(10).await, Err(SourceError::Expired)));
    let error = memory.stream.open(&shard, ReadFrom::At(old)).await.unwrap_err();
    assert!(matches!(error, SourceError::PositionRefused { .. }), "{error:?}");
    let after = memory.stream.describe().await.unwrap();
    assert_ne!(after.id, before.id);
    assert!(put(&memory, "again").1 > old);
}

#[tokio::test]
async fn records_keep_what_they_were_put_with() {
    let memory = Memory::new();
    memory.advance(Duration::from_millis(123));
    let (shard, sequence) = memory.stream.put("customer-7", "tea").unwrap();
    let mut reader = memory.open(&shard, ReadFrom::TrimHorizon).await;
    let records = reader.read(10).await.unwrap().records;
    assert_eq!(records[0].position, Position::of(sequence));
    assert_eq!(records[0].partition_key, "customer-7");
    assert_eq!(records[0].arrived, Some(memory.clock.time_of_day()));
}

/// A subscription from the start of the first shard of a stream that pushes.
fn subscribed(memory: &Memory, shard: &ShardId) -> MemoryReader {
    let mut reader = memory.stream.reader(shard, ReadFrom::TrimHorizon).unwrap();
    assert_eq!(reader.ready_now().unwrap(), None, "subscribes first");
    reader
}

#[test]
fn stream_pushes_what_is_put() {
    let memory = Memory::new();
    memory.stream.set_pushes(Some(Pushes::KINESIS));
    let (shard, _) = memory.stream.put_at(0, "key", "first").unwrap();
    let mut reader = subscribed(&memory, &shard);
    assert_eq!(reader.ready_now().unwrap(), Some(8));
    assert_eq!(reader.read_now(10).unwrap().records.len(), 1);
    assert_eq!(reader.ready_now().unwrap(), None);
    // A heartbeat, and no limit of reads.
    memory.stream.set_limits(Limits { reads_per_second: Some(0), ..Limits::NONE });
    memory.advance(Duration::from_secs(5));
    assert_eq!(reader.ready_now().unwrap(), Some(0));
    assert!(reader.read_now(10).unwrap().is_caught_up());
    // The end comes apart from the last records.
    memory.stream.put_at(0, "key", "last").unwrap();
    memory.stream.split(&shard, 1 << 100).unwrap();
    assert!(reader.ready_now().unwrap().is_some());
    assert_eq!(reader.read_now(10).unwrap().end, None);
    assert!(reader.ready_now().unwrap().is_some());
    memory.stream.set_end_childless(true);
    assert!(reader.clone().read_now(10).unwrap().end.unwrap().children.is_empty());
    memory.stream.set_end_childless(false);
    assert_eq!(reader.read_now(10).unwrap().end.unwrap().children.len(), 2);
}

#[test]
fn broken_subscriptions_begin_again_where_they_were() {
    let memory = Memory::new();
    memory.stream.set_pushes(Some(Pushes::KINESIS));
    let (shard, _) = memory.stream.put_at(0, "key", "data").unwrap();
    // Torn: not again within the second.
    let mut reader = subscribed(&memory, &shard);
    memory.stream.tear_pushes(1);
    let torn = reader.read_now(10).unwrap_err();
    assert!(matches!(torn, SourceError::Incomplete { .. }), "{torn:?}");
    assert!(!reader.is_subscribed());
    assert_eq!(reader.ready_now().unwrap(), None);
    assert!(!reader.is_subscribed());
    memory.advance(Duration::from_secs(1));
    // Lost: replaced after a while.
    memory.stream.lose_pushes(1);
    assert_eq!(reader.ready_now().unwrap(), None);
    memory.advance(Duration::from_secs(29));
    assert_eq!((reader.ready_now().unwrap(), reader.is_subscribed()), (None, true));
    memory.advance(Duration::from_secs(1));
    assert_eq!((reader.ready_now().unwrap(), reader.is_subscribed()), (None, false));
    assert_eq!((reader.ready_now().unwrap(), reader.is_subscribed()), (None, true));
    // Late: an event shows the shard as it was.
    let delay = Duration::from_secs(40);
    memory.stream.set_pushes(Some(Pushes { delay, ..Pushes::KINESIS }));
    assert_eq!(reader.ready_now().unwrap(), None);
    memory.advance(Duration::from_secs(8));
    let early = reader.read_now(10).unwrap();
    assert!(early.records.is_empty() && early.is_caught_up());
    memory.advance(Duration::from_secs(1));
    assert_eq!(reader.read_now(10).unwrap().records.len(), 1);
    // Refused: polled.
    memory.stream.put_at(0, "key", "more").unwrap();
    memory.stream.set_pushes(None);
    assert_eq!((reader.ready_now().unwrap(), reader.is_subscribed()), (Some(0), false));
    assert_eq!(reader.read_now(10).unwrap().records.len(), 1);
    let counts = memory.stream.push_counts();
    assert_eq!((counts.begun, counts.torn, counts.lost, counts.late), (3, 1, 1, 1));
}
