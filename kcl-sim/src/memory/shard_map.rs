//! The shards of one stream: their hash keys, their lineage and their records.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::backend::ShardFilter;
use kcl_core::model::{
    ChildShard, HashKeyRange, PartitionKey, Position, Record, SequenceNumber, Shard, ShardId,
    Timestamp,
};

use super::limits::Meter;

/// All shards that a stream ever had. The number of a shard is its index.
#[derive(Debug)]
pub(super) struct ShardMap {
    logs: Vec<ShardLog>,
    created: Timestamp,
    /// Everything before this is trimmed, regardless of the retention.
    trimmed_at: Timestamp,
    /// The second in which the last shard was created: a rising part of its sequence numbers.
    birth: i64,
}

impl ShardMap {
    /// Creates shards that share the hash keys evenly.
    pub(super) fn new(shards: usize, now: Timestamp, births_before: i64) -> Self {
        let mut map = Self {
            logs: Vec::new(),
            created: now,
            trimmed_at: Timestamp::from_epoch_millis(i64::MIN),
            birth: births_before,
        };
        let count = u128::try_from(shards.max(1)).unwrap_or(1);
        // 2^128 / count, rounded down.
        let rest = u128::from(u128::MAX % count == count - 1);
        let size = (u128::MAX / count).saturating_add(rest);
        for nth in 0..count {
            let end = if nth + 1 == count { u128::MAX } else { (nth + 1) * size - 1 };
            map.add(HashKeyRange { start: nth * size, end }, Vec::new(), now);
        }
        map
    }

    pub(super) const fn birth(&self) -> i64 {
        self.birth
    }

    pub(super) const fn created(&self) -> Timestamp {
        self.created
    }

    /// Puts a record under a hash key.
    pub(super) fn put(
        &mut self,
        hash_key: u128,
        partition_key: &str,
        data: Bytes,
        now: Timestamp,
    ) -> Option<(ShardId, SequenceNumber)> {
        let log = self.logs.iter_mut().find(|log| log.takes(hash_key))?;
        Some((log.shard.id.clone(), log.put(partition_key, data, now)))
    }

    /// Splits an open shard where `at` becomes the first hash key of its second child.
    pub(super) fn split(
        &mut self,
        parent: &ShardId,
        at: u128,
        now: Timestamp,
    ) -> Result<[ShardId; 2], &'static str> {
        let log = self.open_log(parent)?;
        let HashKeyRange { start, end } = log.shard.hash_range;
        if at <= start || at > end {
            return Err("the hash key lies outside of the shard, or on its start");
        }
        log.close(now);
        let mut child = |range| self.add(range, vec![parent.clone()], now);
        let first = child(HashKeyRange { start, end: at - 1 });
        Ok([first, child(HashKeyRange { start: at, end })])
    }

    /// Merges two adjacent open shards.
    pub(super) fn merge(
        &mut self,
        one: &ShardId,
        other: &ShardId,
        now: Timestamp,
    ) -> Result<ShardId, &'static str> {
        let first = self.open_log(one)?.shard.hash_range;
        let second = self.open_log(other)?.shard.hash_range;
        let (low, high) = if first < second { (first, second) } else { (second, first) };
        if low.end.checked_add(1) != Some(high.start) {
            return Err("the shards are not side by side");
        }
        self.open_log(one)?.close(now);
        self.open_log(other)?.close(now);
        let range = HashKeyRange { start: low.start, end: high.end };
        Ok(self.add(range, vec![one.clone(), other.clone()], now))
    }

    /// Drops all records and all closed shards.
    pub(super) fn trim_all(&mut self, now: Timestamp) {
        self.trimmed_at = Timestamp::from_epoch_millis(now.epoch_millis().saturating_add(1));
        for log in &mut self.logs {
            log.trim_while(|_| true);
        }
    }

    /// Returns a shard, without records that have outlived the retention. `None` if it is gone.
    pub(super) fn log(
        &mut self,
        shard: &ShardId,
        retention: Duration,
        now: Timestamp,
    ) -> Option<&mut ShardLog> {
        let (horizon, oldest) = (self.horizon(retention, now), now.before(retention));
        let log = self.logs.iter_mut().find(|log| log.shard.id == *shard)?;
        log.trim_while(|record| record.arrived.is_some_and(|arrived| arrived < oldest));
        (!log.is_gone(horizon)).then_some(log)
    }

    /// Drops a closed shard and its records.
    pub(super) fn forget(&mut self, shard: &ShardId) -> Result<(), &'static str> {
        let log = self.logs.iter_mut().find(|log| log.shard.id == *shard);
        let log = log.ok_or("there is no such shard")?;
        if !log.shard.is_closed() {
            return Err("the shard is open");
        }
        log.trim_while(|_| true);
        log.is_forgotten = true;
        Ok(())
    }

    /// Returns the children of a closed shard.
    pub(super) fn children(&self, parent: &ShardId) -> Vec<ChildShard> {
        let shards = self.logs.iter().map(|log| &log.shard);
        shards.filter(|shard| shard.parents.contains(parent)).map(ChildShard::from).collect()
    }

    /// Returns the shards as they were `as_of` an earlier time, filtered as of `now`.
    pub(super) fn list(
        &self,
        filter: &ShardFilter,
        retention: Duration,
        now: Timestamp,
        as_of: impl Fn(usize) -> Timestamp,
    ) -> Vec<Shard> {
        let horizon = self.horizon(retention, now);
        let is_listed = |log: &&ShardLog| match filter {
            ShardFilter::All => !log.is_gone(horizon),
            ShardFilter::OpenAt(time) => log.is_open_at((*time).max(horizon)),
            ShardFilter::AtTrimHorizon => log.is_open_at(horizon),
        };
        // Shards are listed in the order of their creation, so the earlier pages are full.
        let mut shown = Vec::new();
        for log in self.logs.iter().filter(is_listed) {
            shown.extend(log.as_of(as_of(shown.len()).max(self.created)));
        }
        shown
    }

    /// Returns the oldest time from which there can be records.
    fn horizon(&self, retention: Duration, now: Timestamp) -> Timestamp {
        now.before(retention).max(self.created).max(self.trimmed_at)
    }

    fn open_log(&mut self, shard: &ShardId) -> Result<&mut ShardLog, &'static str> {
        let log = self.logs.iter_mut().find(|log| log.shard.id == *shard);
        let log = log.ok_or("there is no such shard")?;
        if log.shard.is_closed() { Err("the shard is closed") } else { Ok(log) }
    }

    fn add(&mut self, hash_range: HashKeyRange, parents: Vec<ShardId>, now: Timestamp) -> ShardId {
        let number = self.logs.len();
        let id = ShardId::from(format!("shardId-{number:012}"));
        self.birth = self.birth.max(now.epoch_seconds());
        let numbers = Numbers { birth: self.birth, shard: number };
        let mut shard = Shard::new(id.clone(), hash_range, numbers.nth(0));
        shard.parents = parents;
        self.logs.push(ShardLog::new(shard, numbers, now));
        id
    }
}

/// The sequence numbers of one shard: 56 digits as in Kinesis, and greater than those of its
/// parents.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    birth: i64,
    shard: usize,
}

impl Numbers {
    fn nth(self, nth: u64) -> SequenceNumber {
        let Self { birth, shard } = self;
        let text = format!("49{birth:010}{shard:012}{nth:020}{shard:012}");
        text.parse().unwrap_or_default()
    }
}

/// What a reply shows of a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The number of the first record that it does not show.
    pub(super) until: u64,
    pub(super) is_closed: bool,
}

/// One shard and its records.
#[derive(Debug)]
pub(super) struct ShardLog {
    pub(super) shard: Shard,
    pub(super) meter: Meter,
    numbers: Numbers,
    created: Timestamp,
    closed: Option<Timestamp>,
    is_forgotten: bool,
    records: VecDeque<Record>,
    /// The number of the oldest record in `records`. The first record of a shard is number 1.
    oldest: u64,
}

impl ShardLog {
    fn new(shard: Shard, numbers: Numbers, now: Timestamp) -> Self {
        Self {
            shard,
            meter: Meter::default(),
            numbers,
            created: now,
            closed: None,
            is_forgotten: false,
            records: VecDeque::new(),
            oldest: 1,
        }
    }

    /// Returns the number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.oldest.saturating_add(u64::try_from(self.records.len()).unwrap_or(u64::MAX))
    }

    /// Returns the number of the oldest record, or of the next one if there are none.
    pub(super) const fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Returns the whole shard.
    pub(super) fn whole(&self) -> View {
        View { until: self.next(), is_closed: self.shard.is_closed() }
    }

    /// Returns the shard as it was at an earlier time.
    pub(super) fn view(&self, time: Timestamp) -> View {
        let is_older = |record: &Record| record.arrived.is_none_or(|arrived| arrived <= time);
        View {
            until: self.first_not(is_older),
            is_closed: self.closed.is_some_and(|closed| closed <= time),
        }
    }

    /// Returns the number of the first record for which `is_before` is false.
    pub(super) fn first_not(&self, is_before: impl Fn(&Record) -> bool) -> u64 {
        let before = self.records.partition_point(is_before);
        self.oldest.saturating_add(u64::try_from(before).unwrap_or(u64::MAX))
    }

    /// Returns the records from this number on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Record> {
        let skip = usize::try_from(number.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        self.records.iter().skip(skip)
    }

    /// Returns whether this can be the sequence number of a record of this shard.
    pub(super) fn can_hold(&self, sequence: SequenceNumber) -> bool {
        let last = self.shard.ending_sequence.unwrap_or_else(|| self.numbers.nth(u64::MAX));
        (self.shard.starting_sequence..=last).contains(&sequence)
    }

    /// Drops records, oldest first, while `is_old` is true.
    pub(super) fn trim_while(&mut self, is_old: impl Fn(&Record) -> bool) {
        while self.records.front().is_some_and(&is_old) {
            self.records.pop_front();
            self.oldest = self.oldest.saturating_add(1);
        }
    }

    fn takes(&self, hash_key: u128) -> bool {
        let HashKeyRange { start, end } = self.shard.hash_range;
        !self.shard.is_closed() && (start..=end).contains(&hash_key)
    }

    fn put(&mut self, partition_key: &str, data: Bytes, now: Timestamp) -> SequenceNumber {
        let sequence = self.numbers.nth(self.next());
        // Arrival times never decrease within a shard, even if the clock does.
        let last = self.records.back().and_then(|record| record.arrived);
        let arrived = last.map_or(now, |last| last.max(now));
        let key = PartitionKey::from(partition_key);
        self.records.push_back(Record::new(Position::of(sequence), key, data, Some(arrived)));
        sequence
    }

    fn close(&mut self, now: Timestamp) {
        self.shard.ending_sequence = Some(self.numbers.nth(self.next()));
        self.closed = Some(now);
    }

    fn is_gone(&self, horizon: Timestamp) -> bool {
        self.is_forgotten || self.closed.is_some_and(|closed| closed < horizon)
    }

    fn is_open_at(&self, time: Timestamp) -> bool {
        !self.is_forgotten
            && self.created <= time
            && self.closed.is_none_or(|closed| closed >= time)
    }

    /// Returns the shard as it was at an earlier time. `None` if it did not exist.
    fn as_of(&self, time: Timestamp) -> Option<Shard> {
        let mut shard = self.shard.clone();
        if self.closed.is_some_and(|closed| closed > time) {
            shard.ending_sequence = None;
        }
        (self.created <= time).then_some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_epoch_millis(1_700_000_000_000);

    #[test]
    fn shards_cover_all_hash_keys_once() {
        for count in [1, 2, 3, 7, 100] {
            let map = ShardMap::new(count, NOW, 0);
            let ranges: Vec<_> = map.logs.iter().map(|log| log.shard.hash_range).collect();
            assert_eq!(ranges.len(), count);
            assert_eq!((ranges[0].start, ranges[count - 1].end), (0, u128::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].end + 1 == pair[1].start));
        }
        assert_eq!(ShardMap::new(2, NOW, 0).logs[1].shard.hash_range.start, 1 << 127);
    }

    #[test]
    fn sequence_numbers_rise_from_parent_to_child() {
        let mut map = ShardMap::new(1, NOW, 0);
        let id = |text: &str| ShardId::from(text);
        let mut numbers = Vec::new();
        for _ in 0..3 {
            numbers.push(map.put(7, "key", Bytes::new(), NOW).unwrap().1);
        }
        map.split(&id("shardId-000000000000"), 1 << 127, NOW).unwrap();
        numbers.push(map.logs[0].shard.ending_sequence.unwrap());
        numbers.push(map.logs[1].shard.starting_sequence);
        numbers.push(map.put(7, "key", Bytes::new(), NOW).unwrap().1);
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert!(numbers.iter().all(|number| number.to_string().len() == 56));
    }

    #[test]
    fn refuses_bad_merges_and_splits() {
        let mut map = ShardMap::new(3, NOW, 0);
        let ids: Vec<_> = map.logs.iter().map(|log| log.shard.id.clone()).collect();
        assert!(map.merge(&ids[0], &ids[2], NOW).is_err());
        assert!(map.split(&ids[0], 0, NOW).is_err());
        assert!(map.split(&ids[0], u128::MAX, NOW).is_err());
        let child = map.merge(&ids[1], &ids[0], NOW).unwrap();
        assert_eq!(child.as_str(), "shardId-000000000003");
        assert!(map.merge(&ids[0], &ids[1], NOW).is_err());
        assert_eq!(map.children(&ids[0]).len(), 1);
    }
}
