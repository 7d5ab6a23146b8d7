//! Iterators: where a read of a shard starts, and what it returns.

use std::time::Duration;

use kcl_core::backend::{ReadFrom, SourceError};
use kcl_core::model::{Record, Timestamp};

use super::shard_map::{ShardLog, View};

/// The most bytes of one reply.
///
/// Source: Kinesis API reference, `GetRecords`.
const REPLY_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// The most records of one reply.
const REPLY_RECORDS_MAX: usize = 10_000;

/// Returns the number of the record to start with.
pub(super) fn start(log: &ShardLog, from: ReadFrom, now: Timestamp) -> Result<u64, SourceError> {
    let refused = |why: &str| {
        let shard = log.shard.id.clone();
        Err(SourceError::PositionRefused { shard, from, source: why.into() })
    };
    match from {
        ReadFrom::TrimHorizon => Ok(log.oldest()),
        ReadFrom::Latest => Ok(log.next()),
        ReadFrom::AtTimestamp(time) if time > now => refused("the time lies in the future"),
        ReadFrom::AtTimestamp(time) => {
            Ok(log.first_not(|record| record.arrived.is_some_and(|arrived| arrived < time)))
        }
        // Trimmed records are no error: reading starts at the oldest one.
        ReadFrom::At(sequence) if log.can_hold(sequence) => {
            Ok(log.first_not(|record| record.position.sequence < sequence))
        }
        ReadFrom::At(_) => refused("the sequence number did not come from this shard"),
    }
}

/// What one read returns.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) records: Vec<Record>,
    pub(super) bytes: u64,
    /// The number of the record to read next.
    pub(super) next: u64,
    /// The age of the last record, if the shard holds later ones; zero otherwise.
    pub(super) behind: Duration,
    /// Whether the shard is closed and holds no later records.
    pub(super) is_last: bool,
}

/// Reads what a view shows of a shard from record number `from`, or from the oldest one if that was
/// trimmed.
pub(super) fn read(
    log: &ShardLog,
    view: View,
    from: u64,
    records_max: usize,
    now: Timestamp,
) -> Reply {
    let start = from.max(log.oldest());
    let (mut records, mut bytes) = (Vec::new(), 0_u64);
    let shown = usize::try_from(view.until.saturating_sub(start)).unwrap_or(usize::MAX);
    let records_max = records_max.clamp(1, REPLY_RECORDS_MAX).min(shown);
    for record in log.from(start).take(records_max) {
        let size = record.data.len().saturating_add(record.partition_key.as_str().len());
        let with = bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        if with > REPLY_BYTES_MAX && !records.is_empty() {
            break;
        }
        bytes = with;
        records.push(record.clone());
    }
    let next = start.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
    let has_more = next < view.until;
    let last = records.last().and_then(|record| record.arrived).unwrap_or(now);
    let lag = now.since(last).max(Duration::from_millis(1));
    Reply {
        records,
        bytes,
        next,
        behind: if has_more { lag } else { Duration::ZERO },
        is_last: view.is_closed && !has_more,
    }
}
