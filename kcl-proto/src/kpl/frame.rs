//! The frame around an aggregate: magic number, message, digest; and what can be wrong with it.

use bytes::{BufMut, Bytes, BytesMut};
use md5::{Digest, Md5};
use thiserror::Error;

/// What every aggregate begins with.
///
/// Source: KPL, `aggregation-format.md`.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The length of the digest behind the message: MD5.
const DIGEST_BYTES: usize = 16;

/// What the frame adds to a message.
pub(super) const OVERHEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

/// Why something that begins like an aggregate is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It ends before the message does.
    #[error("aggregate is too short to hold a message")]
    TooShort,
    /// The message is not what its producer sent.
    #[error("digest of the aggregate does not match its message")]
    Digest,
    /// The message is cut off, or no protocol buffer.
    #[error("message of the aggregate is no protocol buffer")]
    Wire,
    /// A user record has no partition key or no data, or a tag no key.
    #[error("message of the aggregate lacks a required field")]
    Required,
    /// A key is not UTF-8.
    #[error("aggregate has a key that is no text")]
    Text,
    /// A user record names a key that the tables do not have.
    #[error("user record names a key that the aggregate does not have")]
    Index,
    /// A user record's explicit hash key is not a decimal number below 2¹²⁸.
    #[error("user record has an explicit hash key that is no number below 2^128")]
    HashKey,
}

/// The text that it prints.
#[cfg(feature = "serde")]
impl serde::Serialize for Malformed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Takes the message out of its frame, without a copy. None if this is no frame at all.
///
/// # Errors
/// If it begins like a frame and is none: it has to be processed as it is.
pub fn open(data: &Bytes) -> Result<Option<Bytes>, Malformed> {
    let Some(body) = data.strip_prefix(&MAGIC) else { return Ok(None) };
    let Some((message, digest)) = body.split_last_chunk::<DIGEST_BYTES>() else {
        return Err(Malformed::TooShort);
    };
    // Without a message there is nothing to expand: Java takes it for a record like any other.
    if message.is_empty() {
        return Err(Malformed::TooShort);
    }
    if Md5::digest(message).as_slice() != digest {
        return Err(Malformed::Digest);
    }
    Ok(Some(data.slice_ref(message)))
}

/// Puts a message into a frame.
#[must_use]
pub fn seal(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + OVERHEAD_BYTES);
    frame.put_slice(&MAGIC);
    frame.put_slice(message);
    frame.put_slice(&Md5::digest(message));
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_of_its_frame_without_a_copy() {
        let frame = seal(b"message");
        let message = open(&frame).unwrap().unwrap();
        assert_eq!(message, "message");
        assert_eq!(message.as_ptr(), frame[4..].as_ptr());
    }

    #[test]
    fn what_does_not_begin_with_the_magic_number_is_no_frame() {
        for data in [&b""[..], b"a", b"\xF3\x89\x9A", b"\xF3\x89\x9A\xC3 and so on and on and on"] {
            assert_eq!(open(&Bytes::from_static(data)), Ok(None), "{data:?}");
        }
    }

    #[test]
    fn a_frame_without_a_message_is_too_short() {
        let frame = seal(b"");
        for length in 4..=20 {
            assert_eq!(open(&frame.slice(..length)), Err(Malformed::TooShort), "{length}");
        }
    }

    #[test]
    fn a_frame_of_which_any_bit_changed_is_refused() {
        let frame = seal(b"message");
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { Ok(None) } else { Err(Malformed::Digest) };
            assert_eq!(open(&changed.into()), expected, "{bit}");
        }
    }
}
