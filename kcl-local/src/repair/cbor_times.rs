//! Converts the times in CBOR answers to milliseconds, which Java clients expect.

use axum::body::{Body, Bytes};
use axum::response::Response;
use ciborium::Value as Cbor;
use http::header::CONTENT_LENGTH;

/// Returns whether the answers of an operation have times and need no other repair.
pub(crate) fn has_times(operation: &str) -> bool {
    matches!(
        operation,
        "DescribeStream"
            | "DescribeStreamConsumer"
            | "DescribeStreamSummary"
            | "ListStreamConsumers"
            | "ListStreams"
            | "RegisterStreamConsumer"
    )
}

/// Converts the times of an answer from seconds.
pub(crate) async fn rewrite(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    // The body is in memory: reading it needs no limit and cannot fail.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let body = in_millis(&body).map_or(body, Bytes::from);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

fn in_millis(body: &[u8]) -> Option<Vec<u8>> {
    let mut message: Cbor = ciborium::from_reader(body).ok()?;
    scale(&mut message);
    let mut body = Vec::new();
    ciborium::into_writer(&message, &mut body).ok()?;
    Some(body)
}

/// Converts the whole seconds in every field `…Timestamp` to milliseconds.
pub(crate) fn scale(value: &mut Cbor) {
    if let Some(values) = value.as_array_mut() {
        values.iter_mut().for_each(scale);
    }
    for (name, value) in value.as_map_mut().into_iter().flatten() {
        let is_time = name.as_text().is_some_and(|name| name.ends_with("Timestamp"));
        match value.as_integer().and_then(|seconds| i64::try_from(i128::from(seconds)).ok()) {
            Some(seconds) if is_time => *value = Cbor::from(seconds.saturating_mul(1000)),
            Some(_) | None => scale(value),
        }
    }
}
