//! The two encodings of the Kinesis API: JSON, and the CBOR of Java clients.

use axum::body::{Body, Bytes};
use axum::response::Response;
use ciborium::Value as Cbor;
use ferrokinesis::error::KinesisErrorResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};

/// The encoding of a client's requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Cbor,
}

impl Encoding {
    /// Returns the encoding of a request; `None` for any other content type.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match content_type.split(';').next()?.trim() {
            JSON => Some(Self::Json),
            CBOR => Some(Self::Cbor),
            _ => None,
        }
    }

    /// Decodes a request, with times in seconds. Blobs become base64, which is slow for large ones.
    pub(crate) fn decode(self, body: &[u8]) -> Option<Map<String, Value>> {
        let value = match self {
            Self::Json => serde_json::from_slice(body).ok()?,
            Self::Cbor => {
                ferrokinesis::server::cbor_to_json(&in_seconds(ciborium::from_reader(body).ok()?))
            }
        };
        match value {
            Value::Object(fields) => Some(fields),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        }
    }

    /// Encodes a message without blobs.
    pub(crate) fn encode(self, value: &Value) -> Vec<u8> {
        let mut body = Vec::new();
        let written = match self {
            Self::Json => serde_json::to_writer(&mut body, value).is_ok(),
            Self::Cbor => ciborium::into_writer(value, &mut body).is_ok(),
        };
        debug_assert!(written, "a value of text and numbers can be written to memory");
        body
    }

    /// Returns a successful answer.
    pub(crate) fn answer(self, body: Vec<u8>) -> Response {
        self.respond(StatusCode::OK, body)
    }

    /// Returns the answer that refuses a call.
    pub(crate) fn refuse(self, error: &KinesisErrorResponse) -> Response {
        let message = serde_json::json!({
            "__type": error.body.error_type,
            "message": error.body.message.as_deref().unwrap_or_default(),
        });
        let status =
            StatusCode::from_u16(error.status_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.respond(status, self.encode(&message));
        if let Ok(error_type) = HeaderValue::from_str(&error.body.error_type) {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), error_type);
        }
        response
    }

    fn respond(self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = match self {
            Self::Json => JSON,
            Self::Cbor => CBOR,
        };
        let mut response = Response::new(Body::from(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

const JSON: &str = "application/x-amz-json-1.1";
pub(crate) const CBOR: &str = "application/x-amz-cbor-1.1";

/// Converts the times of a CBOR message, tagged whole milliseconds, to seconds as in JSON.
///
/// Source: AWS SDK for Java 2, `AwsCborProtocolFactory` (timestamps are `UNIX_TIMESTAMP_MILLIS`)
/// and `SdkCborGenerator` (tag 1).
fn in_seconds(value: Cbor) -> Cbor {
    if let Cbor::Tag(1, time) = &value
        && let Some(millis) =
            time.as_integer().and_then(|millis| i64::try_from(i128::from(millis)).ok())
    {
        return Cbor::Float(seconds(millis));
    }
    match value.into_map() {
        Ok(entries) => {
            Cbor::Map(entries.into_iter().map(|(key, value)| (key, in_seconds(value))).collect())
        }
        Err(value) => value,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are exact until the year 287396")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
