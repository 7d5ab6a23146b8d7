//! `GetRecords`: a correct lag, children at a shard's end, a limit of the answer's size.

use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::{increment_sequence, parse_sequence, resolve_shard_id};
use ferrokinesis::shard_iterator::{create_shard_iterator, decode_shard_iterator};
use ferrokinesis::store::Store;
use ferrokinesis::types::{Shard, Stream};
use ferrokinesis::util::current_time_ms;
use serde_json::{Map, Value};

use crate::repair::child_shards::child_shards;
use crate::repair::page::{MAP, Page, Span, UNSIGNED, head, text};
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
    let span = Span {
        shard_ix: call.shard_ix,
        from: &call.from,
        records_max: call.limit,
        bytes_max: BYTES_PER_CALL_MAX,
    };
    let page = Page::read(store, &stream, &span).await;
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

fn json(page: &Page, next: &Next, lag: u64) -> Result<Vec<u8>, KinesisErrorResponse> {
    let mut body = Vec::with_capacity(page.bytes / 3 * 4 + page.rows.len() * 192 + 512);
    body.extend_from_slice(format!("{{\"MillisBehindLatest\":{lag},\"Records\":").as_bytes());
    page.write_json(&mut body)?;
    let end = match next {
        Next::Iterator(iterator) => format!(",\"NextShardIterator\":\"{iterator}\"}}"),
        Next::Children(children) => format!(",\"ChildShards\":{children}}}"),
    };
    body.extend_from_slice(end.as_bytes());
    Ok(body)
}

fn cbor(page: &Page, next: &Next, lag: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.bytes + page.rows.len() * 192 + 512);
    head(&mut body, MAP, 3);
    text(&mut body, "MillisBehindLatest");
    head(&mut body, UNSIGNED, lag);
    text(&mut body, "Records");
    page.write_cbor(&mut body);
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
