//! The end of a subscription: its last event, and no other, lists the children and has no
//! continuation.

use axum::body::{Body, Bytes};
use axum::response::Response;
use ciborium::Value as Cbor;
use ferrokinesis::event_stream::encode_subscribe_event;
use futures::TryStreamExt as _;
use http::StatusCode;
use serde_json::{Map, Value};

use crate::repair::cbor_times;
use crate::wire::{CBOR, Encoding};

/// Repairs the events of an answer one by one.
pub(crate) fn watch(response: Response, encoding: Option<Encoding>) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let repaired = match encoding {
        Some(Encoding::Cbor) => cbor,
        Some(Encoding::Json) | None => json,
    };
    response.map(|events| {
        let events = events.into_data_stream();
        // A frame of the embedded Kinesis is one event.
        Body::from_stream(events.map_ok(move |event| repaired(&event).unwrap_or(event)))
    })
}

/// Returns the repaired event; `None` if it needs no repair.
fn json(frame: &[u8]) -> Option<Bytes> {
    let payload = payload(frame)?;
    // Almost all events are of open shards: they need no parsing.
    if !payload.starts_with(b"{\"ChildShards\":[{") {
        return None;
    }
    let mut event: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    if event.get("Records")?.as_array()?.is_empty() {
        event.insert("ContinuationSequenceNumber".to_owned(), Value::Null);
    } else {
        event.insert("ChildShards".to_owned(), Value::Array(Vec::new()));
    }
    let payload = serde_json::to_vec(&event).ok()?;
    Some(encode_subscribe_event(&payload, "application/json").into())
}

/// Like [`json`], with times in milliseconds.
fn cbor(frame: &[u8]) -> Option<Bytes> {
    let mut event: Cbor = ciborium::from_reader(payload(frame)?).ok()?;
    cbor_times::scale(&mut event);
    let fields = event.as_map_mut()?;
    if count(fields, "ChildShards")? > 0 {
        let (name, value) = match count(fields, "Records")? {
            0 => ("ContinuationSequenceNumber", Cbor::Null),
            _ => ("ChildShards", Cbor::Array(Vec::new())),
        };
        let field = fields.iter_mut().find(|(key, _)| key.as_text() == Some(name));
        field?.1 = value;
    }
    let mut payload = Vec::new();
    ciborium::into_writer(&event, &mut payload).ok()?;
    Some(encode_subscribe_event(&payload, CBOR).into())
}

fn count(fields: &[(Cbor, Cbor)], name: &str) -> Option<usize> {
    let (_, value) = fields.iter().find(|(key, _)| key.as_text() == Some(name))?;
    Some(value.as_array()?.len())
}

/// Returns the payload of an event stream's frame.
///
/// Source: Smithy, `application/vnd.amazon.eventstream`: total length, length of the headers, check
/// sum, headers, payload, check sum.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let headers = u32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
    let start = usize::try_from(headers).ok()?.checked_add(12)?;
    frame.get(start..frame.len().checked_sub(4)?)
}
