//! One call of the SDK with our bytes in it: [`InCbor`].

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_sdk_kinesis::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame};
use kcl_core::BoxError;
use thiserror::Error;

use super::error;

const CONTENT_TYPE: &str = "application/x-amz-cbor-1.1";

/// The longest reply that is read: 10 MiB of data, and 10,000 records with the longest partition
/// keys.
const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Sends a request in CBOR, and keeps a reply in CBOR from the SDK.
///
/// A reply in JSON is left to the SDK, whatever its content type says: the first byte tells them
/// apart. An error in CBOR is shown to the SDK in JSON. Clones share the reply.
#[derive(Clone, Debug)]
pub(crate) struct InCbor {
    request: Bytes,
    reply: Slot,
}

/// The reply of the last attempt.
type Slot = Arc<Mutex<Option<Bytes>>>;

impl InCbor {
    pub(crate) fn new(request: Vec<u8>) -> Self {
        Self { request: request.into(), reply: Slot::default() }
    }

    /// Takes the reply of a call that succeeded, or returns `None` if the SDK has read it.
    pub(crate) fn take_reply(&self) -> Option<Bytes> {
        put(&self.reply, None)
    }
}

fn put(slot: &Slot, reply: Option<Bytes>) -> Option<Bytes> {
    mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), reply)
}

impl Intercept for InCbor {
    fn name(&self) -> &'static str {
        "in CBOR"
    }

    /// Runs once for a call, before its attempts are signed.
    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("content-type", CONTENT_TYPE);
        request.headers_mut().insert("content-length", self.request.len().to_string());
        *request.body_mut() = SdkBody::from(self.request.clone());
        Ok(())
    }

    /// Runs once for each attempt, after the SDK has put its protection against stalled streams
    /// around the body: that one measures what arrives, and not what is gathered of it.
    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // An attempt before this one may have left its reply.
        put(&self.reply, None);
        let response = context.response_mut();
        let length = response.headers().get("content-length").and_then(|it| it.parse().ok());
        let is_success = response.status().is_success();
        let body = mem::replace(response.body_mut(), SdkBody::taken());
        let gather = Gather {
            body,
            gathered: Some(Gathered::new(length.unwrap_or(0))),
            slot: is_success.then(|| Arc::clone(&self.reply)),
        };
        *response.body_mut() = SdkBody::from_body_1_x(gather);
        Ok(())
    }
}

/// A reply that arrives in one buffer.
#[derive(Debug)]
struct Gathered {
    buffer: Vec<u8>,
    /// The length that the reply claims, or 0 if it claims none.
    claimed: usize,
}

/// A reply that is longer than any of Kinesis.
#[derive(Debug, Error)]
#[error("reply is longer than {REPLY_BYTES_MAX} bytes")]
struct TooLong;

impl Gathered {
    /// A buffer for a reply that claims to have `claimed` bytes. One that claims too many gets no
    /// memory, and its first part is refused.
    fn new(claimed: usize) -> Self {
        let capacity = if claimed > REPLY_BYTES_MAX { 0 } else { claimed };
        Self { buffer: Vec::with_capacity(capacity), claimed }
    }

    fn add(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.claimed.max(self.buffer.len() + part.len()) > REPLY_BYTES_MAX {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(part);
        Ok(())
    }

    /// Returns the reply, in memory of its own length.
    fn finish(mut self) -> Bytes {
        self.buffer.shrink_to_fit();
        self.buffer.into()
    }
}

/// A body that gathers another one. The SDK, which polls it, sees an empty one if the reply is a
/// success in CBOR, and else one in JSON.
#[derive(Debug)]
struct Gather {
    body: SdkBody,
    /// `None` once the reply is there.
    gathered: Option<Gathered>,
    /// Where a success goes, or `None` for an error.
    slot: Option<Slot>,
}

impl Body for Gather {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(gathered) = &mut this.gathered else { return Poll::Ready(None) };
        // Each frame is dropped at once, so that the connection uses its read buffer again.
        while let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            if let Some(part) = frame?.data_ref() {
                gathered.add(part)?;
            }
        }
        let reply = this.gathered.take().map(Gathered::finish).unwrap_or_default();
        let shown = match &this.slot {
            _ if is_json(&reply) => reply,
            Some(slot) => {
                put(slot, Some(reply));
                return Poll::Ready(None);
            }
            // Without a code, the HTTP status classifies the error.
            None => error::to_json(&reply).map_or(reply, Bytes::from),
        };
        Poll::Ready(Some(Ok(Frame::data(shown))))
    }
}

/// Whether a reply is JSON: in CBOR no map begins like that.
fn is_json(reply: &[u8]) -> bool {
    reply.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_a_reply_is_bounded() {
        let mut absurd = Gathered::new(usize::MAX);
        assert!(absurd.add(b"x").is_err() && absurd.buffer.capacity() == 0);
        let mut gathered = Gathered::new(0);
        let part = vec![0; REPLY_BYTES_MAX / 2];
        assert!(gathered.add(&part).and_then(|()| gathered.add(&part)).is_ok());
        assert!(gathered.add(b"x").is_err());
        assert_eq!(gathered.finish().len(), REPLY_BYTES_MAX);
    }

    #[test]
    fn first_byte_tells_json_from_cbor() {
        assert!(is_json(b"{}") && is_json(b" \r\n{"));
        for reply in [&b""[..], b"\xa0", b"\xbf\xff", b"\xd9\xd9\xf7\xa0", b" ", b"[{}]"] {
            assert!(!is_json(reply), "{reply:x?}");
        }
    }
}
