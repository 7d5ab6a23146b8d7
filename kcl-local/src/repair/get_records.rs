//! `GetRecords`: a correct lag, children at a shard's end, a limit of the answer's size.
//!
//! This is the hot path: records go from the store into the answer without a copy, and JSON keeps
//! the store's base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::{
    increment_sequence, parse_sequence, resolve_shard_id, shard_ix_to_hex,
};
use ferrokinesis::shard_iterator::{create_shard_iterator, decode_shard_iterator};
use ferrokinesis::store::Store;
use ferrokinesis::types::{EpochSeconds, ResponseRecord, Shard, StoredRecord, Stream};
use ferrokinesis::util::current_time_ms;
use serde_json::{Map, Value};

use crate::repair::child_shards::child_shards;
use crate::topology::Topology;
use crate::wire::Encoding;

/// Returns the answer of a call; `None` if the call is invalid, for the embedded Kinesis to refuse.
pub(crate) async fn answer(
    store: &Store,
    topology: &Topology,
    fields: &Map<String, Value>,
    encoding: Encoding,
) -> Result<Option<Vec<u8>>, KinesisErrorResponse> {
    let Some(call) = Call::parse(store, fields) else {
        return Ok(None);
    };
    let stream = topology.recent(&call.stream).await?;
    let Some(shard) = stream.shards.iter().find(|shard| shard.shard_id == call.shard) else {
        return Ok(None);
    };
    let page = Page::read(store, &call, &stream).await;
    let next = call.next(&page, &stream, shard)?;
    let lag = page.lag();
    Ok(Some(match encoding {
        Encoding::Json => json(&page, &next, lag)?,
        Encoding::Cbor => cbor(&page, &next, lag),
    }))
}

/// The most records in one answer, and the default.
///
/// Source: Kinesis API reference, `GetRecords`, parameter `Limit`.
const RECORDS_PER_CALL_MAX: usize = 10_000;

/// The most bytes of records in one answer.
///
/// Source: Kinesis API reference, `GetRecords`: "up to 10 MB".
const BYTES_PER_CALL_MAX: usize = 10 * 1024 * 1024;

/// The records of the first read. The store copies them, so a read of too many is slow.
const FIRST_CHUNK: usize = 64;

/// The most records of a later read.
const CHUNK_MAX: usize = 1024;

/// A valid call.
struct Call {
    stream: String,
    shard: String,
    shard_ix: i64,
    from: String,
    limit: usize,
}

/// The position after an answer.
enum Next {
    Iterator(String),
    Children(Value),
}

impl Call {
    fn parse(store: &Store, fields: &Map<String, Value>) -> Option<Self> {
        let limit = match fields.get("Limit").filter(|limit| !limit.is_null()) {
            None => RECORDS_PER_CALL_MAX,
            Some(limit) => usize::try_from(limit.as_u64()?).ok()?,
        };
        if !(1..=RECORDS_PER_CALL_MAX).contains(&limit) {
            return None;
        }
        let iterator = fields.get("ShardIterator")?.as_str()?;
        let (created, stream, shard, from) = decode_shard_iterator(iterator).ok()?;
        let age = current_time_ms().checked_sub(created)?;
        if age > store.options.iterator_ttl_seconds.saturating_mul(1000) {
            return None;
        }
        let (shard, shard_ix) = resolve_shard_id(&shard).ok()?;
        Some(Self { stream, shard, shard_ix, from, limit })
    }

    /// Returns the position of the next call. After an empty answer it stays, because a record can
    /// still appear there.
    fn next(
        &self,
        page: &Page,
        stream: &Stream,
        shard: &Shard,
    ) -> Result<Next, KinesisErrorResponse> {
        let closed = shard.sequence_number_range.ending_sequence_number.is_some();
        if page.rows.is_empty() && !page.more && closed {
            return Ok(Next::Children(child_shards(stream, &self.shard)));
        }
        let from = match &page.last {
            None => self.from.clone(),
            Some(last) => {
                let last = parse_sequence(last).map_err(|error| {
                    KinesisErrorResponse::server_error(
                        None,
                        Some(&format!("stored sequence number: {error}")),
                    )
                })?;
                increment_sequence(&last, None)
            }
        };
        Ok(Next::Iterator(create_shard_iterator(
            &self.stream,
            &self.shard,
            &from,
            current_time_ms(),
        )))
    }
}

/// The records of an answer, under their keys in the store.
struct Page {
    rows: Vec<(String, StoredRecord)>,
    bytes: usize,
    /// The last sequence number read, which may be that of an expired record.
    last: Option<String>,
    /// Whether more records follow.
    more: bool,
}

impl Page {
    async fn read(store: &Store, call: &Call, stream: &Stream) -> Self {
        let kept_since =
            current_time_ms().saturating_sub(u64::from(stream.retention_period_hours) * 3_600_000);
        let kept_since = seconds(kept_since / 1000);
        let mut page = Self { rows: Vec::new(), bytes: 0, last: None, more: false };
        let mut from = format!("{}/{}", shard_ix_to_hex(call.shard_ix), call.from);
        let to = shard_ix_to_hex(call.shard_ix + 1);
        let mut chunk = FIRST_CHUNK;
        loop {
            let most = chunk.min(call.limit - page.rows.len() + 1);
            let rows = store.get_records_range_limited(&call.stream, &from, &to, most).await;
            let complete = rows.len() < most;
            for (key, record) in rows {
                let size = decoded_len(&record.data) + record.partition_key.len();
                let full = !page.rows.is_empty() && page.bytes + size > BYTES_PER_CALL_MAX;
                if full || page.rows.len() == call.limit {
                    page.more = true;
                    return page;
                }
                page.last = Some(sequence_number(&key).to_owned());
                from.clone_from(&key);
                if record.approximate_arrival_timestamp >= kept_since {
                    page.bytes += size;
                    page.rows.push((key, record));
                }
            }
            if complete {
                return page;
            }
            // The smallest key after the last one.
            from.push('\0');
            let size = page.bytes / page.rows.len().max(1) + 1;
            chunk = ((BYTES_PER_CALL_MAX - page.bytes.min(BYTES_PER_CALL_MAX)) / size + 1)
                .min(CHUNK_MAX);
        }
    }

    /// Returns how far the answer is behind the newest record: 0 only if no record follows.
    ///
    /// Arrival times are whole seconds, so the lag is up to a second too long.
    fn lag(&self) -> u64 {
        if !self.more {
            return 0;
        }
        let arrived =
            self.rows.last().map_or(0, |(_, record)| millis(record.approximate_arrival_timestamp));
        current_time_ms().saturating_sub(arrived).max(1)
    }
}

fn json(page: &Page, next: &Next, lag: u64) -> Result<Vec<u8>, KinesisErrorResponse> {
    let mut body = Vec::with_capacity(page.bytes / 3 * 4 + page.rows.len() * 192 + 512);
    body.extend_from_slice(format!("{{\"MillisBehindLatest\":{lag},\"Records\":[").as_bytes());
    for (index, (key, record)) in page.rows.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let record = ResponseRecord {
            partition_key: &record.partition_key,
            data: &record.data,
            approximate_arrival_timestamp: EpochSeconds(record.approximate_arrival_timestamp),
            sequence_number: sequence_number(key),
        };
        serde_json::to_writer(&mut body, &record)
            .map_err(|error| KinesisErrorResponse::server_error(None, Some(&error.to_string())))?;
    }
    let end = match next {
        Next::Iterator(iterator) => format!("],\"NextShardIterator\":\"{iterator}\"}}"),
        Next::Children(children) => format!("],\"ChildShards\":{children}}}"),
    };
    body.extend_from_slice(end.as_bytes());
    Ok(body)
}

/// Encodes CBOR for Java clients: blobs as bytes, times in whole milliseconds.
fn cbor(page: &Page, next: &Next, lag: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.bytes + page.rows.len() * 192 + 512);
    head(&mut body, MAP, 3);
    text(&mut body, "MillisBehindLatest");
    head(&mut body, UNSIGNED, lag);
    text(&mut body, "Records");
    head(&mut body, ARRAY, length(page.rows.len()));
    for (key, record) in &page.rows {
        head(&mut body, MAP, 4);
        text(&mut body, "SequenceNumber");
        text(&mut body, sequence_number(key));
        text(&mut body, "ApproximateArrivalTimestamp");
        head(&mut body, UNSIGNED, millis(record.approximate_arrival_timestamp));
        text(&mut body, "PartitionKey");
        text(&mut body, &record.partition_key);
        text(&mut body, "Data");
        match STANDARD.decode(&record.data) {
            Ok(data) => {
                head(&mut body, BYTES, length(data.len()));
                body.extend_from_slice(&data);
            }
            Err(_) => text(&mut body, &record.data),
        }
    }
    match next {
        Next::Iterator(iterator) => {
            text(&mut body, "NextShardIterator");
            text(&mut body, iterator);
        }
        Next::Children(children) => {
            text(&mut body, "ChildShards");
            body.extend_from_slice(&Encoding::Cbor.encode(children));
        }
    }
    body
}

/// The major types of CBOR that answers use.
///
/// Source: RFC 8949 §3.1.
const UNSIGNED: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;

fn text(body: &mut Vec<u8>, text: &str) {
    head(body, TEXT, length(text.len()));
    body.extend_from_slice(text.as_bytes());
}

fn head(body: &mut Vec<u8>, major: u8, value: u64) {
    let [.., b4, b5, b6, b7] = value.to_be_bytes();
    match value {
        0..=23 => body.push(major | b7),
        24..=0xff => body.extend_from_slice(&[major | 24, b7]),
        0x100..=0xffff => body.extend_from_slice(&[major | 25, b6, b7]),
        0x1_0000..=0xffff_ffff => body.extend_from_slice(&[major | 26, b4, b5, b6, b7]),
        _ => {
            body.push(major | 27);
            body.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn sequence_number(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, sequence_number)| sequence_number)
}

fn decoded_len(base64: &str) -> usize {
    base64.len() / 4 * 3
}

#[expect(clippy::cast_precision_loss, reason = "seconds are exact for 285 million years")]
fn seconds(seconds: u64) -> f64 {
    seconds as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and times are positive"
)]
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}
