//! The moves of a bulletin as the stream's row stores them.
//!
//! The database bills each write of a row by the size of the whole row, and news are such writes:
//! a move of a shard takes about 3 bytes instead of 60.
//!
//! ```text
//! moves  = version:1 worker*
//! worker = length:varint bytes count:varint key*
//! key    = (2 * shard + 1):varint | (2 * length):varint bytes
//! ```

use std::collections::BTreeMap;

use crate::model::key_number::{key_of, shard_number};
use crate::model::progress_bytes::{DecodeProgressError, Reader, put};
use crate::model::{Bulletin, LeaseKey, WorkerId};

/// The first byte of the encoding.
const VERSION: u8 = 1;

impl Bulletin {
    /// Returns the bytes of moves; none if there are none.
    #[must_use]
    pub fn encode_moves(moves: &BTreeMap<LeaseKey, WorkerId>) -> Vec<u8> {
        let mut workers: BTreeMap<&WorkerId, Vec<&LeaseKey>> = BTreeMap::new();
        for (key, worker) in moves {
            workers.entry(worker).or_default().push(key);
        }
        let mut bytes = Vec::new();
        bytes.extend((!workers.is_empty()).then_some(VERSION));
        for (worker, keys) in workers {
            put(&mut bytes, worker.as_str().len() as u64);
            bytes.extend_from_slice(worker.as_str().as_bytes());
            put(&mut bytes, keys.len() as u64);
            keys.into_iter().for_each(|key| put_key(&mut bytes, key));
        }
        bytes
    }

    /// Reads the bytes of the row's attribute. Takes memory in proportion to `bytes`.
    ///
    /// # Errors
    /// If `bytes` were not written by [`encode_moves`](Self::encode_moves) of a version that this
    /// one knows.
    pub fn decode_moves(bytes: &[u8]) -> Result<BTreeMap<LeaseKey, WorkerId>, DecodeProgressError> {
        let (mut moves, mut reader) = (BTreeMap::new(), Reader::new(bytes));
        if reader.is_at_end() {
            return Ok(moves);
        }
        match reader.byte()? {
            VERSION => {}
            version => return Err(DecodeProgressError::Version(version)),
        }
        while !reader.is_at_end() {
            let length = reader.varint()?;
            let worker = WorkerId::from(text(&mut reader, length)?);
            for _ in 0..reader.varint()? {
                let key = read_key(&mut reader)?;
                if moves.insert(key, worker.clone()).is_some() {
                    return Err(DecodeProgressError::Duplicate);
                }
            }
        }
        Ok(moves)
    }
}

fn put_key(bytes: &mut Vec<u8>, key: &LeaseKey) {
    let text = key.as_str().as_bytes();
    match shard_number(key) {
        Some(number) => put(bytes, 2 * number + 1),
        None => {
            put(bytes, 2 * text.len() as u64);
            bytes.extend_from_slice(text);
        }
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<LeaseKey, DecodeProgressError> {
    let head = reader.varint()?;
    if head % 2 == 1 {
        return key_of(head / 2).ok_or(DecodeProgressError::Invalid("shard"));
    }
    Ok(LeaseKey::from(text(reader, head / 2)?))
}

fn text<'a>(reader: &mut Reader<'a>, length: u64) -> Result<&'a str, DecodeProgressError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    str::from_utf8(reader.bytes(length)?).ok().ok_or(DecodeProgressError::Invalid("text"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn moves(shards: u64, workers: u64) -> BTreeMap<LeaseKey, WorkerId> {
        let worker =
            |shard| WorkerId::from(format!("host-{:03}:0123456789abcdef", shard % workers));
        (0..shards).filter_map(|shard| Some((key_of(shard)?, worker(shard)))).collect()
    }

    proptest! {
        #[test]
        fn moves_round_trip(
            moves in btree_map("[a-z]{0,3}|shardId-[0-9]{12}", "[a-z]{1,2}", 0..20),
        ) {
            let moves = moves.iter().map(|(key, to)| (LeaseKey::from(&**key), to.as_str().into()));
            let moves = moves.collect();
            let read = Bulletin::decode_moves(&Bulletin::encode_moves(&moves));
            prop_assert_eq!(read, Ok(moves));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            drop(Bulletin::decode_moves(&bytes));
        }
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let moves = [("shardId-000000000070", "b"), ("x", "a"), ("shardId-000000000002", "a")];
        let moves = moves.map(|(key, to)| (LeaseKey::from(key), WorkerId::from(to))).into();
        let bytes = [&[1][..], &[1, b'a', 2, 5, 2, b'x'], &[1, b'b', 1, 0x8D, 1]].concat();
        assert_eq!(Bulletin::encode_moves(&moves), bytes);
        assert_eq!(Bulletin::encode_moves(&BTreeMap::new()), []);
    }

    #[test]
    fn thousand_moves_take_few_bytes() {
        let bytes = Bulletin::encode_moves(&moves(1_000, 20)).len();
        assert!(bytes < 3_000, "{bytes}");
        let bytes = Bulletin::encode_moves(&moves(1_000, 200)).len();
        assert!(bytes < 8_000, "{bytes}");
    }

    #[test]
    fn wrong_bytes_are_refused() {
        use DecodeProgressError::{Duplicate, Invalid, Truncated, Version};
        for (bytes, error) in [
            (&[2][..], Version(2)),
            (&[1, 9, b'a'], Truncated),
            (&[1, 1, b'a', 9], Truncated),
            (&[1, 1, 0xFF, 0], Invalid("text")),
            (&[1, 1, b'a', 2, 5, 5], Duplicate),
        ] {
            assert_eq!(Bulletin::decode_moves(bytes), Err(error));
        }
    }
}
