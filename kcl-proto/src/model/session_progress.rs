//! The progress of a worker's leases as its session row stores it, and its bytes.
//!
//! The database bills each write of a row by the size of the whole row, so an entry is small: a
//! sequence number of the layout that Kinesis uses today takes about 9 bytes instead of 24. Nothing
//! depends on that layout: any other number is stored as it is.
//!
//! ```text
//! row      = version:1 created:varint time:varint entry*
//! entry    = flags:1 key token:varint [position] [sub_sequence:varint] [caught_up:varint]
//! key      = shard:varint | length:varint bytes
//! position = created:varint index:varint age:varint [shard:varint] | length:1 zeros:1 bytes
//! ```
//!
//! `created` of the row is the smallest creation time of its packed positions, and `time` the
//! latest time of all its entries; those of the entries are differences to them.

use std::collections::BTreeMap;

use crate::model::key_number::{key_of, shard_number};
use crate::model::packed_sequence::PackedSequence;
use crate::model::progress_bytes::{DecodeProgressError, Reader, put};
use crate::model::{FencingToken, LeaseCounter, LeaseKey, Position, SequenceNumber, Timestamp};

/// The first byte of the encoding.
const VERSION: u8 = 1;

const HAS_POSITION: u8 = 1;
const IS_PACKED: u8 = 1 << 1;
const HAS_SUB_SEQUENCE: u8 = 1 << 2;
const HAS_CAUGHT_UP: u8 = 1 << 3;
/// The time is in milliseconds, not in seconds.
const IN_MILLIS: u8 = 1 << 4;
const IS_SHARD_NUMBER: u8 = 1 << 5;
/// The packed position names another shard than the key does.
const HAS_SHARD: u8 = 1 << 6;
const KNOWN_FLAGS: u8 = (1 << 7) - 1;

/// The progress of one lease under one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeptProgress {
    /// The token under which the progress was made. It counts only for a row with this token.
    pub token: FencingToken,
    /// The end of what is processed, or `None` if the lease's row says it.
    pub position: Option<Position>,
    /// When the consumer last reached the end of the shard, or `None` if the row says it.
    pub caught_up_at: Option<Timestamp>,
}

/// The progress of a worker's leases that their own rows may lack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct SessionProgress(pub BTreeMap<LeaseKey, KeptProgress>);

/// What the times of entries are differences to, in seconds and milliseconds.
#[derive(Clone, Copy, Default)]
struct Base {
    created: u64,
    time_millis: u64,
}

impl Base {
    fn seconds(self) -> u64 {
        self.time_millis / 1_000
    }
}

impl SessionProgress {
    /// No progress.
    pub const EMPTY: Self = Self(BTreeMap::new());

    /// Returns the bytes of the row's attribute: empty if there is no entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let packed = || self.0.values().filter_map(packed_of);
        let created = packed().map(|it| it.created).min().unwrap_or_default();
        let caught_up = self.0.values().filter_map(|it| it.caught_up_at).filter_map(millis_of);
        let times = packed().map(|it| it.time.saturating_mul(1_000)).chain(caught_up);
        // Rounded up to a second, so that no difference is negative in either unit.
        let seconds = times.max().unwrap_or_default().div_ceil(1_000);
        let base = Base { created, time_millis: seconds.saturating_mul(1_000) };
        let mut bytes = vec![VERSION];
        put(&mut bytes, created);
        put(&mut bytes, seconds);
        for (key, entry) in &self.0 {
            put_entry(&mut bytes, key, entry, base);
        }
        bytes
    }

    /// Reads the bytes of the row's attribute.
    ///
    /// Takes memory in proportion to `bytes`.
    ///
    /// # Errors
    /// If `bytes` were not written by [`encode`](Self::encode) of a version that this one knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeProgressError> {
        let mut entries = BTreeMap::new();
        let mut reader = Reader::new(bytes);
        if reader.is_at_end() {
            return Ok(Self(entries));
        }
        match reader.byte()? {
            VERSION => {}
            version => return Err(DecodeProgressError::Version(version)),
        }
        let created = reader.varint()?;
        let time_millis =
            reader.varint()?.checked_mul(1_000).ok_or(DecodeProgressError::Invalid("time"))?;
        let base = Base { created, time_millis };
        while !reader.is_at_end() {
            let (key, entry) = read_entry(&mut reader, base)?;
            if entries.insert(key, entry).is_some() {
                return Err(DecodeProgressError::Duplicate);
            }
        }
        Ok(Self(entries))
    }
}

fn put_entry(bytes: &mut Vec<u8>, key: &LeaseKey, entry: &KeptProgress, base: Base) {
    let number = shard_number(key);
    let packed = packed_of(entry);
    let sub_sequence = entry.position.map_or(0, |it| it.sub_sequence);
    let caught_up = entry.caught_up_at.and_then(millis_of);
    let is_whole = caught_up.is_some_and(|millis| millis % 1_000 == 0);
    let own_shard = number.and_then(|it| u32::try_from(it).ok());
    let other_shard = packed.filter(|it| own_shard != Some(it.shard)).map(|it| it.shard);
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    bytes.push(
        flag(entry.position.is_some(), HAS_POSITION)
            | flag(packed.is_some(), IS_PACKED)
            | flag(sub_sequence > 0, HAS_SUB_SEQUENCE)
            | flag(caught_up.is_some(), HAS_CAUGHT_UP)
            | flag(caught_up.is_some() && !is_whole, IN_MILLIS)
            | flag(number.is_some(), IS_SHARD_NUMBER)
            | flag(other_shard.is_some(), HAS_SHARD),
    );
    match number {
        Some(number) => put(bytes, number),
        None => {
            put(bytes, key.as_str().len() as u64);
            bytes.extend_from_slice(key.as_str().as_bytes());
        }
    }
    put(bytes, entry.token.get());
    if let Some(packed) = packed {
        put(bytes, packed.created - base.created);
        put(bytes, packed.index);
        put(bytes, base.seconds() - packed.time);
        if let Some(shard) = other_shard {
            put(bytes, shard.into());
        }
    } else if let Some(position) = entry.position {
        let (zeros, number) = position.sequence.to_parts();
        bytes.extend([u8::try_from(number.len()).unwrap_or(u8::MAX), zeros]);
        bytes.extend_from_slice(&number);
    }
    if sub_sequence > 0 {
        put(bytes, sub_sequence);
    }
    if let Some(millis) = caught_up {
        let age = base.time_millis - millis;
        put(bytes, if is_whole { age / 1_000 } else { age });
    }
}

fn read_entry(
    reader: &mut Reader<'_>,
    base: Base,
) -> Result<(LeaseKey, KeptProgress), DecodeProgressError> {
    use DecodeProgressError::Invalid;
    let flags = reader.byte()?;
    let has = |flag: u8| flags & flag != 0;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Invalid("flag"));
    }
    let (key, number) = if has(IS_SHARD_NUMBER) {
        let number = reader.varint()?;
        (key_of(number).ok_or(Invalid("shard"))?, u32::try_from(number).ok())
    } else {
        let length = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        let text = str::from_utf8(reader.bytes(length)?).ok().ok_or(Invalid("key"))?;
        (LeaseKey::from(text), None)
    };
    let token = FencingToken::from(LeaseCounter(reader.varint()?));
    let sequence = if !has(HAS_POSITION) {
        None
    } else if has(IS_PACKED) {
        let created = base.created.checked_add(reader.varint()?).ok_or(Invalid("creation time"))?;
        let index = reader.varint()?;
        let time = base.seconds().checked_sub(reader.varint()?).ok_or(Invalid("age"))?;
        let shard = if has(HAS_SHARD) { u32::try_from(reader.varint()?).ok() } else { number };
        let shard = shard.ok_or(Invalid("shard"))?;
        let packed = PackedSequence { created, index, time, shard };
        Some(packed.unpack().ok_or(Invalid("position"))?)
    } else {
        let [length, zeros] = [reader.byte()?, reader.byte()?];
        let number = reader.bytes(length.into())?;
        Some(SequenceNumber::from_parts(zeros, number).ok_or(Invalid("position"))?)
    };
    let sub_sequence = if has(HAS_SUB_SEQUENCE) { reader.varint()? } else { 0 };
    let position = sequence.map(|sequence| Position { sequence, sub_sequence });
    let caught_up_at = if has(HAS_CAUGHT_UP) {
        let age = reader.varint()?;
        let age = if has(IN_MILLIS) { Some(age) } else { age.checked_mul(1_000) };
        let millis = age.and_then(|age| base.time_millis.checked_sub(age));
        let millis = millis.and_then(|millis| i64::try_from(millis).ok()).ok_or(Invalid("age"))?;
        Some(Timestamp::from_epoch_millis(millis))
    } else {
        None
    };
    Ok((key, KeptProgress { token, position, caught_up_at }))
}

fn packed_of(entry: &KeptProgress) -> Option<PackedSequence> {
    PackedSequence::pack(entry.position?.sequence)
}

/// Returns the milliseconds since the epoch, or `None` before it: no consumer was at the end of a
/// shard by then.
fn millis_of(time: Timestamp) -> Option<u64> {
    u64::try_from(time.epoch_millis()).ok()
}

#[cfg(test)]
#[path = "session_progress_tests.rs"]
mod tests;
