//! A run of records out of the store, and their encodings.
//!
//! This is the hot path: records go from the store into the answer without a copy, and JSON keeps
//! the store's base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::shard_ix_to_hex;
use ferrokinesis::store::Store;
use ferrokinesis::types::{EpochSeconds, ResponseRecord, StoredRecord, Stream};
use ferrokinesis::util::current_time_ms;

/// Which records to read.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    /// The shard's number.
    pub(crate) shard_ix: i64,
    /// The first sequence number, which need not be that of a record.
    pub(crate) from: &'a str,
    /// The most records.
    pub(crate) records_max: usize,
    /// The most bytes of data and keys. One record is read however large it is.
    pub(crate) bytes_max: usize,
}

/// The records of the first read. The store copies them, so a read of too many is slow.
const FIRST_CHUNK: usize = 64;

/// The most records of a later read.
const CHUNK_MAX: usize = 1024;

/// Records, under their keys in the store.
pub(crate) struct Page {
    pub(crate) rows: Vec<(String, StoredRecord)>,
    pub(crate) bytes: usize,
    /// The last sequence number read, which may be that of an expired record.
    pub(crate) last: Option<String>,
    /// Whether more records follow.
    pub(crate) more: bool,
}

impl Page {
    /// Reads the records of a stream that have not expired.
    pub(crate) async fn read(store: &Store, stream: &Stream, span: &Span<'_>) -> Self {
        let kept_since =
            current_time_ms().saturating_sub(u64::from(stream.retention_period_hours) * 3_600_000);
        let kept_since = seconds(kept_since / 1000);
        let mut page = Self { rows: Vec::new(), bytes: 0, last: None, more: false };
        let mut from = format!("{}/{}", shard_ix_to_hex(span.shard_ix), span.from);
        let to = shard_ix_to_hex(span.shard_ix + 1);
        let mut chunk = FIRST_CHUNK;
        loop {
            let most = chunk.min(span.records_max - page.rows.len() + 1);
            let rows = store.get_records_range_limited(&stream.stream_name, &from, &to, most).await;
            let complete = rows.len() < most;
            for (key, record) in rows {
                let size = decoded_len(&record.data) + record.partition_key.len();
                let full = !page.rows.is_empty() && page.bytes + size > span.bytes_max;
                if full || page.rows.len() == span.records_max {
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
            chunk = (span.bytes_max.saturating_sub(page.bytes) / size + 1).min(CHUNK_MAX);
        }
    }

    /// Returns how far the page is behind the newest record: 0 only if no record follows.
    ///
    /// Arrival times are whole seconds, so the lag is up to a second too long.
    pub(crate) fn lag(&self) -> u64 {
        if !self.more {
            return 0;
        }
        let arrived =
            self.rows.last().map_or(0, |(_, record)| millis(record.approximate_arrival_timestamp));
        current_time_ms().saturating_sub(arrived).max(1)
    }

    /// Writes the records as a list in JSON.
    pub(crate) fn write_json(&self, body: &mut Vec<u8>) -> Result<(), KinesisErrorResponse> {
        body.push(b'[');
        for (index, (key, record)) in self.rows.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            let record = ResponseRecord {
                partition_key: &record.partition_key,
                data: &record.data,
                approximate_arrival_timestamp: EpochSeconds(record.approximate_arrival_timestamp),
                sequence_number: sequence_number(key),
            };
            serde_json::to_writer(&mut *body, &record).map_err(|error| {
                KinesisErrorResponse::server_error(None, Some(&error.to_string()))
            })?;
        }
        body.push(b']');
        Ok(())
    }

    /// Writes the records as a list in CBOR for Java clients: blobs as bytes, times in whole
    /// milliseconds.
    pub(crate) fn write_cbor(&self, body: &mut Vec<u8>) {
        head(body, ARRAY, length(self.rows.len()));
        for (key, record) in &self.rows {
            head(body, MAP, 4);
            text(body, "SequenceNumber");
            text(body, sequence_number(key));
            text(body, "ApproximateArrivalTimestamp");
            head(body, UNSIGNED, millis(record.approximate_arrival_timestamp));
            text(body, "PartitionKey");
            text(body, &record.partition_key);
            text(body, "Data");
            match STANDARD.decode(&record.data) {
                Ok(data) => {
                    head(body, BYTES, length(data.len()));
                    body.extend_from_slice(&data);
                }
                Err(_) => text(body, &record.data),
            }
        }
    }
}

/// The major types of CBOR that answers use.
///
/// Source: RFC 8949 §3.1.
pub(crate) const UNSIGNED: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
pub(crate) const ARRAY: u8 = 4 << 5;
pub(crate) const MAP: u8 = 5 << 5;

/// The value null.
pub(crate) const NULL: u8 = 0xf6;

/// Writes a text.
pub(crate) fn text(body: &mut Vec<u8>, text: &str) {
    head(body, TEXT, length(text.len()));
    body.extend_from_slice(text.as_bytes());
}

/// Writes the head of a value: its major type, and its number or length.
pub(crate) fn head(body: &mut Vec<u8>, major: u8, value: u64) {
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
