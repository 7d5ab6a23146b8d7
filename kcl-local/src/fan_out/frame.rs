//! Events as bytes: the frames of an event stream.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::body::Bytes;
use serde_json::json;

use crate::wire::{CBOR, Encoding};

/// Returns the first frame of every answer.
pub(crate) fn initial_response() -> Bytes {
    frame(&[(MESSAGE_TYPE, "event"), (EVENT_TYPE, "initial-response")], Vec::new())
}

/// Returns an event with a payload in this encoding.
pub(crate) fn event(payload: Vec<u8>, encoding: Encoding) -> Bytes {
    let headers = [
        (MESSAGE_TYPE, "event"),
        (EVENT_TYPE, "SubscribeToShardEvent"),
        (CONTENT_TYPE, content_type(encoding)),
    ];
    frame(&headers, payload)
}

/// Returns an event of a type that no client knows.
pub(crate) fn unknown_event(encoding: Encoding) -> Bytes {
    let headers = [
        (MESSAGE_TYPE, "event"),
        (EVENT_TYPE, "EventOfLaterYears"),
        (CONTENT_TYPE, content_type(encoding)),
    ];
    frame(&headers, encoding.encode(&json!({})))
}

/// Returns the frame that ends a stream with an error.
pub(crate) fn exception(error: &str, message: &str, encoding: Encoding) -> Bytes {
    let headers = [
        (MESSAGE_TYPE, "exception"),
        (":exception-type", error),
        (CONTENT_TYPE, content_type(encoding)),
    ];
    frame(&headers, encoding.encode(&json!({ "message": message })))
}

const MESSAGE_TYPE: &str = ":message-type";
const EVENT_TYPE: &str = ":event-type";
const CONTENT_TYPE: &str = ":content-type";

const fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Cbor => CBOR,
    }
}

fn frame(headers: &[(&'static str, &str)], payload: Vec<u8>) -> Bytes {
    let mut message = Message::new(payload);
    for (name, value) in headers {
        let value = HeaderValue::String((*value).to_owned().into());
        message = message.add_header(Header::new(*name, value));
    }
    let mut bytes = Vec::new();
    let written = write_message_to(&message, &mut bytes).is_ok();
    debug_assert!(written, "headers are short, and a payload is smaller than 4 GiB");
    bytes.into()
}
