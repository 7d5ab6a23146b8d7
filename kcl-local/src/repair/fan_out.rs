//! Ends a subscription as consumers expect it: its last event, and only that, names the children
//! and has no position to continue at.

use axum::body::{Body, Bytes};
use axum::response::Response;
use ferrokinesis::event_stream::encode_subscribe_event;
use futures::TryStreamExt as _;
use http::StatusCode;
use serde_json::{Map, Value};

/// Repairs the events in an answer one by one, as they pass.
pub(crate) fn watch(response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    response.map(|events| {
        let events = events.into_data_stream();
        Body::from_stream(events.map_ok(|event| repaired(&event).unwrap_or(event)))
    })
}

/// Returns what to send in place of an event, which the embedded Kinesis sends in one frame.
fn repaired(frame: &[u8]) -> Option<Bytes> {
    let payload = payload(frame)?;
    // Events of open shards are by far the most: they are not parsed.
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

/// Returns the payload of an event stream's frame.
///
/// Source: Smithy, `application/vnd.amazon.eventstream`: total length, length of the headers, check
/// sum, headers, payload, check sum.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let headers = u32::from_be_bytes(frame.get(4..8)?.try_into().ok()?);
    let start = usize::try_from(headers).ok()?.checked_add(12)?;
    frame.get(start..frame.len().checked_sub(4)?)
}
