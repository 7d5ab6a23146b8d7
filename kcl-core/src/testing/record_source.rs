//! What every [`RecordSource`] must do, as checks to run against your own.
//!
//! Implement [`SourceUnderTest`] for a stream that you can put records to, and call [`check_all`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kcl_proto::model::{
    ChildShard, HashKeyRange, ReadFrom, Record, SequenceNumber, Shard, ShardFilter, ShardId,
    Timestamp,
};

use crate::backend::{Fetched, RecordSource, ShardClosed, ShardReader, SourceError};

/// The first hash key of the second of two equal shards.
const MIDDLE: u128 = 1 << 127;

/// How often a check reads before it fails for lack of records.
const READS_MAX: usize = 40;

/// The pause between two reads, which the limits of Kinesis allow.
const PAUSE: Duration = Duration::from_millis(200);

/// A stream to test a source with, and its source.
#[async_trait]
pub trait SourceUnderTest: Send + Sync {
    /// The source that reads the stream.
    fn source(&self) -> Arc<dyn RecordSource>;

    /// A source that reads a stream that does not exist.
    fn missing(&self) -> Arc<dyn RecordSource>;

    /// Puts a record under a hash key; returns where it went.
    async fn put(&self, hash_key: u128, data: &str) -> (ShardId, SequenceNumber);

    /// Splits a shard so that its second child starts with `at`. Returns when that is done.
    async fn split(&self, shard: &ShardId, at: u128);

    /// Merges two shards. Returns when that is done.
    async fn merge(&self, one: &ShardId, other: &ShardId);

    /// Lets time pass on the stream's clock.
    async fn pass(&self, time: Duration);

    /// Whether the stream behind the source can do this. Kinesis can do it all.
    fn supports(&self, _: Feature) -> bool {
        true
    }
}

/// What some imitations of Kinesis cannot do. What needs it is not checked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// The end of a shard names its children.
    ChildShards,
    /// A read that leaves records in the shard says so.
    BehindLatest,
    /// Lists of shards can be filtered by time.
    ShardFilters,
    /// Reading from a time after the last record starts after the last record.
    TimesAfterTheLast,
}

/// Runs every check, each on a stream of its own, at once.
///
/// `make` makes a new stream of two shards that share the hash keys evenly.
///
/// # Panics
/// If a check fails.
pub async fn check_all<S, F>(make: impl Fn() -> F)
where
    S: SourceUnderTest,
    F: Future<Output = S>,
{
    let mut runs = Vec::new();
    for check in CHECKS {
        let subject = make().await;
        runs.push(async move { check(&subject).await });
    }
    join_all(runs).await;
}

type Check = for<'a> fn(&'a dyn SourceUnderTest) -> BoxFuture<'a, ()>;

const CHECKS: [Check; 14] = [
    |subject| records_come_in_order_and_once(subject).boxed(),
    |subject| a_reader_starts_at_a_position(subject).boxed(),
    |subject| latest_skips_what_was_there(subject).boxed(),
    |subject| a_time_starts_with_the_first_record_that_is_not_older(subject).boxed(),
    |subject| a_time_after_the_last_record_replays_nothing(subject).boxed(),
    |subject| a_time_in_the_future_is_refused_for_now(subject).boxed(),
    |subject| a_reader_says_whether_it_is_caught_up(subject).boxed(),
    |subject| a_dropped_read_loses_nothing(subject).boxed(),
    |subject| a_split_shard_ends_after_its_last_record(subject).boxed(),
    |subject| merged_shards_end_with_the_same_child(subject).boxed(),
    |subject| a_reader_of_what_comes_next_sees_the_end_of_a_closed_shard(subject).boxed(),
    |subject| lists_show_the_shards_of_a_time(subject).boxed(),
    |subject| what_is_missing_is_named(subject).boxed(),
    |subject| a_description_tells_the_time(subject).boxed(),
];

async fn records_come_in_order_and_once(subject: &dyn SourceUnderTest) {
    let (shard, put) = put_many(subject, 25).await;
    let mut reader = open(subject, &shard, ReadFrom::TrimHorizon).await;
    let mut records = Vec::new();
    for _ in 0..READS_MAX {
        let fetched = read(subject, &mut *reader, 10).await;
        assert!(fetched.records.len() <= 10, "more records than asked for");
        assert_eq!(fetched.end, None, "an open shard has no end");
        records.extend(fetched.records);
    }
    let expect: Vec<_> = put.into_iter().collect();
    assert_eq!(summary(&records), expect);
    assert!(records.is_sorted_by(|a, b| a.position < b.position));
    assert!(records.iter().all(|record| !record.partition_key.as_str().is_empty()));
}

async fn a_reader_starts_at_a_position(subject: &dyn SourceUnderTest) {
    let (shard, put) = put_many(subject, 5).await;
    for (nth, (sequence, _)) in put.iter().enumerate() {
        let mut reader = open(subject, &shard, ReadFrom::At(*sequence)).await;
        let rest: Vec<_> = put.iter().skip(nth).cloned().collect();
        let records = read_some(subject, &mut *reader, rest.len()).await;
        assert_eq!(summary(&records), rest, "from record {nth}");
        expect_nothing(subject, &mut *reader).await;
    }
}

async fn latest_skips_what_was_there(subject: &dyn SourceUnderTest) {
    let (shard, _) = subject.put(0, "before").await;
    subject.pass(PAUSE).await;
    let mut reader = open(subject, &shard, ReadFrom::Latest).await;
    expect_nothing(subject, &mut *reader).await;
    let (_, sequence) = subject.put(0, "after").await;
    let records = read_some(subject, &mut *reader, 1).await;
    assert_eq!(summary(&records), [(sequence, "after".to_owned())]);
}

async fn a_time_starts_with_the_first_record_that_is_not_older(subject: &dyn SourceUnderTest) {
    let first_time = now(subject).await;
    let (shard, first) = subject.put(0, "first").await;
    subject.pass(Duration::from_secs(2)).await;
    let second_time = now(subject).await;
    subject.pass(Duration::from_secs(1)).await;
    let (_, second) = subject.put(0, "second").await;
    let both = [(first, "first".to_owned()), (second, "second".to_owned())];

    let mut reader = open(subject, &shard, ReadFrom::AtTimestamp(first_time)).await;
    assert_eq!(summary(&read_some(subject, &mut *reader, 2).await), both);
    let mut reader = open(subject, &shard, ReadFrom::AtTimestamp(second_time)).await;
    assert_eq!(summary(&read_some(subject, &mut *reader, 1).await), both[1..]);
    expect_nothing(subject, &mut *reader).await;
}

async fn a_time_after_the_last_record_replays_nothing(subject: &dyn SourceUnderTest) {
    if !subject.supports(Feature::TimesAfterTheLast) {
        return;
    }
    let (shard, _) = subject.put(0, "before").await;
    subject.pass(Duration::from_secs(2)).await;
    let time = now(subject).await;
    let mut reader = open(subject, &shard, ReadFrom::AtTimestamp(time)).await;
    expect_nothing(subject, &mut *reader).await;
    let (_, sequence) = subject.put(0, "after").await;
    let records = read_some(subject, &mut *reader, 1).await;
    assert_eq!(summary(&records), [(sequence, "after".to_owned())]);
}

async fn a_time_in_the_future_is_refused_for_now(subject: &dyn SourceUnderTest) {
    let (shard, _) = subject.put(0, "before").await;
    let hour = now(subject).await.epoch_millis() + 3_600_000;
    let from = ReadFrom::AtTimestamp(Timestamp::from_epoch_millis(hour));
    let error = subject.source().open(&shard, from).await.expect_err("the time is in the future");
    assert!(matches!(&error, SourceError::PositionRefused { .. }), "{error:?}");
    assert!(error.is_retryable());
}

async fn a_reader_says_whether_it_is_caught_up(subject: &dyn SourceUnderTest) {
    let (shard, _) = put_many(subject, 3).await;
    let mut reader = open(subject, &shard, ReadFrom::TrimHorizon).await;
    subject.pass(Duration::from_secs(2)).await;
    let first = read(subject, &mut *reader, 1).await;
    assert_eq!(first.records.len(), 1);
    if subject.supports(Feature::BehindLatest) {
        assert!(!first.is_caught_up(), "two records are left");
        assert!(first.behind_latest.is_some_and(|lag| lag < Duration::from_mins(10)));
    }
    read_some(subject, &mut *reader, 2).await;
    assert!(read(subject, &mut *reader, 1).await.is_caught_up());
}

async fn a_dropped_read_loses_nothing(subject: &dyn SourceUnderTest) {
    let (shard, put) = put_many(subject, 3).await;
    let mut reader = open(subject, &shard, ReadFrom::TrimHorizon).await;
    let at_once = reader.read(1).now_or_never();
    let mut records = at_once.map_or_else(Vec::new, |read| read.expect("read").records);
    records.extend(read_some(subject, &mut *reader, put.len() - records.len()).await);
    assert_eq!(summary(&records), put);
}

async fn a_split_shard_ends_after_its_last_record(subject: &dyn SourceUnderTest) {
    let (parent, put) = put_many(subject, 3).await;
    let mut early = open(subject, &parent, ReadFrom::TrimHorizon).await;
    let before = read_some(subject, &mut *early, 3).await;
    subject.split(&parent, MIDDLE / 2).await;

    let (records, end) = read_to_end(subject, &mut *early).await;
    assert_eq!((records.len(), summary(&before)), (0, put.clone()));
    let mut late = open(subject, &parent, ReadFrom::TrimHorizon).await;
    let (records, same) = read_to_end(subject, &mut *late).await;
    assert_eq!((summary(&records), &same), (put, &end));
    let again = read(subject, &mut *late, 10).await;
    assert_eq!((again.records.len(), again.end), (0, Some(end.clone())), "the end is the end");

    let shards = list(subject, ShardFilter::All).await;
    let range = HashKeyRange { start: 0, end: MIDDLE - 1 };
    let children = children_of(&parent, &shards);
    expect_cover(&children, range);
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|child| child.parents == [parent.clone()]));
    assert_eq!(find(&shards, &parent).map(Shard::is_closed), Some(true));
    if subject.supports(Feature::ChildShards) {
        expect_same(end.children, children);
    }
    let (child, _) = subject.put(0, "later").await;
    assert_ne!(child, parent);
    let mut reader = open(subject, &child, ReadFrom::TrimHorizon).await;
    assert_eq!(read_some(subject, &mut *reader, 1).await.len(), 1);
}

async fn merged_shards_end_with_the_same_child(subject: &dyn SourceUnderTest) {
    let (low, _) = subject.put(0, "low").await;
    let (high, _) = subject.put(MIDDLE, "high").await;
    subject.merge(&low, &high).await;
    let children = children_of(&low, &list(subject, ShardFilter::All).await);
    expect_cover(&children, HashKeyRange::FULL);
    for parent in [low, high] {
        let mut reader = open(subject, &parent, ReadFrom::TrimHorizon).await;
        let (records, end) = read_to_end(subject, &mut *reader).await;
        assert_eq!(records.len(), 1);
        assert!(children.iter().all(|child| child.parents.contains(&parent)));
        if subject.supports(Feature::ChildShards) {
            expect_same(end.children, children.clone());
        }
    }
}

async fn a_reader_of_what_comes_next_sees_the_end_of_a_closed_shard(subject: &dyn SourceUnderTest) {
    let (parent, _) = subject.put(0, "before").await;
    subject.split(&parent, MIDDLE / 2).await;
    let mut reader = open(subject, &parent, ReadFrom::Latest).await;
    let (records, _) = read_to_end(subject, &mut *reader).await;
    assert_eq!(records.len(), 0);
}

async fn lists_show_the_shards_of_a_time(subject: &dyn SourceUnderTest) {
    let (parent, _) = subject.put(0, "low").await;
    let (other, _) = subject.put(MIDDLE, "high").await;
    subject.pass(Duration::from_secs(2)).await;
    let before = now(subject).await;
    subject.pass(Duration::from_secs(2)).await;
    subject.split(&parent, MIDDLE / 2).await;
    subject.pass(Duration::from_secs(2)).await;
    let after = now(subject).await;

    let all = list(subject, ShardFilter::All).await;
    let children: Vec<_> = children_of(&parent, &all).into_iter().map(|child| child.id).collect();
    expect_same(ids(&all), [vec![parent.clone(), other.clone()], children.clone()].concat());
    assert!(all.iter().all(|shard| shard.is_closed() == (shard.id == parent)));
    if subject.supports(Feature::ShardFilters) {
        let first = vec![parent, other.clone()];
        expect_same(ids(&list(subject, ShardFilter::OpenAt(before)).await), first.clone());
        expect_same(ids(&list(subject, ShardFilter::AtTrimHorizon).await), first);
        let last = [vec![other], children].concat();
        expect_same(ids(&list(subject, ShardFilter::OpenAt(after)).await), last);
    }
}

async fn what_is_missing_is_named(subject: &dyn SourceUnderTest) {
    let none = ShardId::from("shardId-000000000999");
    let (shard, _) = subject.put(0, "here").await;
    let missing = subject.missing();
    let errors = [
        missing.describe().await.expect_err("no stream to describe"),
        missing.list_shards(ShardFilter::All).await.expect_err("no stream to list"),
        missing.open(&shard, ReadFrom::TrimHorizon).await.expect_err("no stream to read"),
    ];
    for error in errors {
        assert!(matches!(error, SourceError::StreamMissing { .. }), "{error:?}");
    }
    let error = subject.source().open(&none, ReadFrom::TrimHorizon).await;
    let error = error.expect_err("no shard to read");
    assert!(
        matches!(&error, SourceError::ShardMissing { shard, .. } if *shard == none),
        "{error:?}"
    );
}

async fn a_description_tells_the_time(subject: &dyn SourceUnderTest) {
    let first = subject.source().describe().await.expect("description");
    subject.pass(Duration::from_secs(2)).await;
    let second = subject.source().describe().await.expect("description");
    assert!(first.status.is_readable());
    assert!(first.retention >= Duration::from_hours(24));
    assert_eq!(first.now.epoch_millis() % 1_000, 0, "whole seconds");
    let passed = second.now.since(first.now);
    assert!(passed >= Duration::from_secs(1), "time passes");
    assert_eq!((&first.created, &first.arn, &first.id), (&second.created, &second.arn, &second.id));
}

async fn put_many(
    subject: &dyn SourceUnderTest,
    count: usize,
) -> (ShardId, Vec<(SequenceNumber, String)>) {
    let mut put = Vec::new();
    let (shard, first) = subject.put(0, "record 0").await;
    put.push((first, "record 0".to_owned()));
    for nth in 1..count {
        let data = format!("record {nth}");
        let (same, sequence) = subject.put(0, &data).await;
        assert_eq!(same, shard, "a hash key belongs to one shard");
        put.push((sequence, data));
    }
    (shard, put)
}

async fn open(
    subject: &dyn SourceUnderTest,
    shard: &ShardId,
    from: ReadFrom,
) -> Box<dyn ShardReader> {
    subject.source().open(shard, from).await.expect("reader")
}

async fn list(subject: &dyn SourceUnderTest, filter: ShardFilter) -> Vec<Shard> {
    subject.source().list_shards(filter).await.expect("list of shards")
}

async fn now(subject: &dyn SourceUnderTest) -> Timestamp {
    subject.source().describe().await.expect("description").now
}

/// Reads once the limits allow it.
async fn read(
    subject: &dyn SourceUnderTest,
    reader: &mut dyn ShardReader,
    records_max: usize,
) -> Fetched {
    for _ in 0..READS_MAX {
        subject.pass(PAUSE).await;
        match reader.read(records_max).await {
            Err(SourceError::Throttled { .. }) => subject.pass(Duration::from_secs(1)).await,
            result => return result.expect("read"),
        }
    }
    unreachable!("every read was throttled")
}

/// Reads `count` records.
async fn read_some(
    subject: &dyn SourceUnderTest,
    reader: &mut dyn ShardReader,
    count: usize,
) -> Vec<Record> {
    let mut records = Vec::new();
    for _ in 0..READS_MAX {
        if records.len() >= count {
            break;
        }
        records.extend(read(subject, reader, 10).await.records);
    }
    assert_eq!(records.len(), count, "records did not come, or too many: {:?}", summary(&records));
    records
}

/// Reads to the end of the shard, by fewer records than the checks put.
async fn read_to_end(
    subject: &dyn SourceUnderTest,
    reader: &mut dyn ShardReader,
) -> (Vec<Record>, ShardClosed) {
    let mut records = Vec::new();
    for _ in 0..READS_MAX {
        let fetched = read(subject, reader, 2).await;
        records.extend(fetched.records);
        if let Some(end) = fetched.end {
            return (records, end);
        }
    }
    unreachable!("the end of the shard did not come")
}

async fn expect_nothing(subject: &dyn SourceUnderTest, reader: &mut dyn ShardReader) {
    for _ in 0..3 {
        let fetched = read(subject, reader, 10).await;
        assert_eq!(summary(&fetched.records), [], "nothing should come");
        assert_eq!(fetched.end, None);
    }
}

#[track_caller]
fn expect_cover(children: &[ChildShard], range: HashKeyRange) {
    let mut ranges: Vec<_> = children.iter().map(|child| child.hash_range).collect();
    ranges.sort_unstable();
    assert_eq!(ranges.first().map(|first| first.start), Some(range.start));
    assert_eq!(ranges.last().map(|last| last.end), Some(range.end));
    let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
    assert!(pairs.all(|(one, next)| one.end.checked_add(1) == Some(next.start)), "{ranges:?}");
}

#[track_caller]
fn expect_same<T: Sameness>(mut found: Vec<T>, mut expect: Vec<T>) {
    found.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    expect.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    assert_eq!(found, expect);
}

/// Compared without regard to order.
trait Sameness: PartialEq + std::fmt::Debug {
    fn id(&self) -> &ShardId;
}

impl Sameness for ShardId {
    fn id(&self) -> &ShardId {
        self
    }
}

impl Sameness for ChildShard {
    fn id(&self) -> &ShardId {
        &self.id
    }
}

fn children_of(parent: &ShardId, shards: &[Shard]) -> Vec<ChildShard> {
    let children = shards.iter().filter(|shard| shard.parents.contains(parent));
    children.map(ChildShard::from).collect()
}

fn find<'a>(shards: &'a [Shard], id: &ShardId) -> Option<&'a Shard> {
    shards.iter().find(|shard| shard.id == *id)
}

fn ids(shards: &[Shard]) -> Vec<ShardId> {
    shards.iter().map(|shard| shard.id.clone()).collect()
}

fn summary(records: &[Record]) -> Vec<(SequenceNumber, String)> {
    let text = |record: &Record| String::from_utf8_lossy(&record.data).into_owned();
    records.iter().map(|record| (record.position.sequence, text(record))).collect()
}
