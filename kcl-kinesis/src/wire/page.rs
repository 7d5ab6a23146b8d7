//! The reply of `GetRecords` in CBOR: [`Page`].

use std::time::Duration;

use bytes::Bytes;
use kcl_core::model::{ChildShard, PartitionKey, Position, Record, SequenceNumber};

use super::cbor::{Cursor, Left};
use super::children;
use super::request::RECORDS_PER_CALL_MAX;
use crate::error::Unreadable;

/// The fewest bytes of a record: those of its members' names.
const RECORD_BYTES_MIN: usize = 16;

/// A reply with records. Those of a reply in CBOR have parts of it as data and partition keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) records: Vec<Record>,
    /// The next iterator, or `None` at the end of the shard.
    pub(crate) next: Option<String>,
    /// How far the last record is behind the end of the shard, or `None` if that is not known.
    pub(crate) behind_latest: Option<Duration>,
    /// The shard's children, if the reply names any.
    pub(crate) children: Vec<ChildShard>,
}

impl Page {
    /// Reads a reply in one pass, without copying data or partition keys.
    ///
    /// Members may come in any order, and unknown ones are passed over. More records than the
    /// service returns are refused: each takes more memory than it may have bytes.
    pub(crate) fn read(reply: &Bytes) -> Result<Self, Unreadable> {
        let (mut at, mut page) = (Cursor::new(reply), Self::default());
        let mut members = at.map()?.ok_or(Unreadable::new("null"))?;
        while at.has_next(&mut members) {
            match at.name()? {
                b"Records" => page.records = records(reply, &mut at)?,
                b"NextShardIterator" => page.next = at.text()?.map(str::to_owned),
                b"MillisBehindLatest" => {
                    page.behind_latest = at.unsigned()?.map(Duration::from_millis);
                }
                b"ChildShards" => page.children = children::read(&mut at)?,
                _ => at.skip()?,
            }
        }
        at.end()?;
        Ok(page)
    }
}

fn records(reply: &Bytes, at: &mut Cursor<'_>) -> Result<Vec<Record>, Unreadable> {
    let mut records = Vec::new();
    let Some(mut left) = at.array()? else { return Ok(records) };
    if let Left::Items(count) = left {
        let possible = (at.rest() / RECORD_BYTES_MIN).min(RECORDS_PER_CALL_MAX);
        records.reserve_exact(usize::try_from(count).unwrap_or(usize::MAX).min(possible));
    }
    while at.has_next(&mut left) {
        if records.len() == RECORDS_PER_CALL_MAX {
            return Err(Unreadable::new("more records than a call returns"));
        }
        records.push(record(reply, at)?);
    }
    Ok(records)
}

fn record(reply: &Bytes, at: &mut Cursor<'_>) -> Result<Record, Unreadable> {
    let (mut sequence, mut key, mut data, mut arrived) = (None, None, None, None);
    let mut members = at.map()?.ok_or(Unreadable::new("record that is null"))?;
    while at.has_next(&mut members) {
        match at.name()? {
            b"SequenceNumber" => sequence = at.text_bytes()?,
            b"PartitionKey" => key = at.text_bytes()?,
            b"Data" => data = at.bytes()?,
            b"ApproximateArrivalTimestamp" => arrived = at.time()?,
            _ => at.skip()?,
        }
    }
    let sequence = sequence.ok_or(Unreadable::new("record without a sequence number"))?;
    let sequence = SequenceNumber::try_from(sequence)
        .map_err(|error| Unreadable::because("sequence number of a record", error))?;
    let key = PartitionKey::try_from(reply.slice_ref(key.unwrap_or_default()))
        .map_err(|error| Unreadable::because("partition key of a record", error))?;
    let data = reply.slice_ref(data.ok_or(Unreadable::new("record without data"))?);
    Ok(Record::new(Position::of(sequence), key, data, arrived))
}
