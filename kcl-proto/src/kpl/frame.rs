//! The frame around an aggregate: magic number, message, digest; and the ways in which it can be
//! malformed.

use bytes::{BufMut, Bytes, BytesMut};
use md5::{Digest, Md5};
use thiserror::Error;

/// The first bytes of every aggregate.
///
/// Source: KPL, `aggregation-format.md`.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The length of the MD5 digest after the message.
const DIGEST_BYTES: usize = 16;

/// The most user records of an aggregate, and keys of each of its tables: as many as fit into 1 MiB,
/// with at least six bytes for each user record.
///
/// Source: KPL, `default_config.properties`, `AggregationMaxSize`.
pub const USER_RECORDS_MAX: usize = 1024 * 1024 / 6;

/// The number of bytes that the frame adds to a message.
pub(super) const OVERHEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

/// Why data that looks like an aggregate is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The frame is too short to contain a message.
    #[error("aggregate is too short to hold a message")]
    TooShort,
    /// The digest does not match the message.
    #[error("digest of the aggregate does not match its message")]
    Digest,
    /// The message is truncated or not a protocol buffer.
    #[error("message of the aggregate is not a protocol buffer")]
    Wire,
    /// A user record has no partition key or no data, or a tag has no key.
    #[error("message of the aggregate lacks a required field")]
    Required,
    /// A key is not UTF-8.
    #[error("aggregate has a key that is not UTF-8 text")]
    Text,
    /// A user record refers to a key that the tables do not contain.
    #[error("user record refers to a key that the aggregate does not have")]
    Index,
    /// The message has more user records, or more keys, than fit into 1 MiB, the largest aggregate
    /// of the KPL. Its expansion could take a hundred times its size.
    #[error("aggregate has more than {USER_RECORDS_MAX} user records or keys")]
    TooMany,
    /// A user record's explicit hash key is not a decimal number below 2¹²⁸.
    #[error("user record has an explicit hash key that is not a number below 2^128")]
    HashKey,
}

/// Serializes the printed text.
#[cfg(feature = "serde")]
impl serde::Serialize for Malformed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns the message in a frame without a copy, or `None` if `data` does not start like a frame.
///
/// # Errors
/// If `data` starts like a frame but is malformed. Process the record unexpanded.
pub fn open(data: &Bytes) -> Result<Option<Bytes>, Malformed> {
    let Some(body) = data.strip_prefix(&MAGIC) else { return Ok(None) };
    let Some((message, digest)) = body.split_last_chunk::<DIGEST_BYTES>() else {
        return Err(Malformed::TooShort);
    };
    // Java treats a frame without a message as a plain record.
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
    fn message_is_not_copied() {
        let frame = seal(b"message");
        let message = open(&frame).unwrap().unwrap();
        assert_eq!(message, "message");
        assert_eq!(message.as_ptr(), frame[4..].as_ptr());
    }

    #[test]
    fn data_without_the_magic_number_is_no_frame() {
        for data in [&b""[..], b"a", b"\xF3\x89\x9A", b"\xF3\x89\x9A\xC3 and so on and on and on"] {
            assert_eq!(open(&Bytes::from_static(data)), Ok(None), "{data:?}");
        }
    }

    #[test]
    fn frame_without_a_message_is_too_short() {
        let frame = seal(b"");
        for length in 4..=20 {
            assert_eq!(open(&frame.slice(..length)), Err(Malformed::TooShort), "{length}");
        }
    }

    #[test]
    fn frame_with_a_changed_bit_is_refused() {
        let frame = seal(b"message");
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 32 { Ok(None) } else { Err(Malformed::Digest) };
            assert_eq!(open(&changed.into()), expected, "{bit}");
        }
    }
}
