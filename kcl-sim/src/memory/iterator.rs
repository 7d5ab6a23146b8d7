//! Iterators: where a reader stands in a shard, and when it is too old.

use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::{Fetched, ReadFrom, ShardClosed, ShardReader, SourceError};
use kcl_core::model::{Moment, Record, ShardId, Timestamp};

use super::shard_map::ShardLog;
use super::stream::{MemoryStream, said};

/// The most bytes of one reply.
///
/// Source: Kinesis API reference, `GetRecords`.
const REPLY_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The most records of one reply.
const REPLY_RECORDS_MAX: usize = 10_000;

/// The number of the record to start with, or why that cannot be.
pub(super) fn start(log: &ShardLog, from: ReadFrom, now: Timestamp) -> Result<u64, SourceError> {
    let refused = |why| {
        let shard = log.shard.id.clone();
        Err(SourceError::PositionRefused { shard, from, source: said(why) })
    };
    match from {
        ReadFrom::TrimHorizon => Ok(log.oldest()),
        ReadFrom::Latest => Ok(log.next()),
        ReadFrom::AtTimestamp(time) if time > now => refused("the time lies in the future"),
        ReadFrom::AtTimestamp(time) => {
            Ok(log.first_not(|record| record.arrived.is_some_and(|arrived| arrived < time)))
        }
        // What has been trimmed is not missed: reading starts at what is left.
        ReadFrom::At(sequence) if log.can_hold(sequence) => {
            Ok(log.first_not(|record| record.position.sequence < sequence))
        }
        ReadFrom::At(_) => refused("the sequence number did not come from this shard"),
    }
}

/// Reads one shard. A clone is another reader at the same place.
#[derive(Clone, Debug)]
pub struct MemoryReader {
    pub(super) stream: MemoryStream,
    /// Which stream of that name: iterators do not outlive it.
    pub(super) incarnation: u64,
    pub(super) shard: ShardId,
    /// The number of the record to read next.
    pub(super) next: u64,
    /// When the service made the iterator.
    pub(super) made: Moment,
    pub(super) end: Option<ShardClosed>,
}

impl MemoryReader {
    /// The shard.
    #[must_use]
    pub const fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Reads what comes next, as [`ShardReader::read`] does.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn read_now(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        if let Some(end) = &self.end {
            return Ok(Fetched::new(Vec::new(), None, Some(end.clone())));
        }
        let (reply, made, end) = self.stream.read(self, records_max)?;
        self.next = reply.next;
        self.made = made;
        self.end.clone_from(&end);
        Ok(Fetched::new(reply.records, Some(reply.behind), end))
    }
}

#[async_trait]
impl ShardReader for MemoryReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        self.read_now(records_max)
    }
}

/// What one read brings.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) records: Vec<Record>,
    pub(super) bytes: u64,
    /// The number of the record to read next.
    pub(super) next: u64,
    /// How far the last record is behind, if the shard holds later ones; else zero.
    pub(super) behind: Duration,
    /// Whether the shard is closed and holds no later ones.
    pub(super) is_last: bool,
}

/// Reads from a shard, starting with the record of number `from` or the oldest that is left.
pub(super) fn read(log: &ShardLog, from: u64, records_max: usize, now: Timestamp) -> Reply {
    let start = from.max(log.oldest());
    let (mut records, mut bytes) = (Vec::new(), 0_u64);
    for record in log.from(start).take(records_max.clamp(1, REPLY_RECORDS_MAX)) {
        let size = record.data.len().saturating_add(record.partition_key.as_str().len());
        let with = bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        if with > REPLY_BYTES_MAX && !records.is_empty() {
            break;
        }
        bytes = with;
        records.push(record.clone());
    }
    let next = start.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
    let has_more = next < log.next();
    let last = records.last().and_then(|record| record.arrived).unwrap_or(now);
    let lag = now.since(last).max(Duration::from_millis(1));
    Reply {
        records,
        bytes,
        next,
        behind: if has_more { lag } else { Duration::ZERO },
        is_last: log.shard.is_closed() && !has_more,
    }
}
