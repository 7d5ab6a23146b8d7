//! The parts of a sequence number of the layout that Kinesis uses today.
//!
//! The layout is not documented; it shows in the samples of the API reference. A number of 186 bits
//! has, from the highest: `10`, the shard's creation time in seconds (36 bits), the lowest four bits
//! of the shard's number, an index (64), zeros (8), the record's time in seconds (36), the shard's
//! number (32), and the version 2 (4).

use ruint::Uint;

use crate::model::{SequenceNumber, Timestamp};

type Bits = Uint<448, 7>;

const VERSION: u64 = 2;
const TIME_BITS: usize = 36;

/// Where each part begins, from the lowest bit.
const SHARD_AT: usize = 4;
const TIME_AT: usize = SHARD_AT + 32;
const INDEX_AT: usize = TIME_AT + TIME_BITS + 8;
const LOW_SHARD_AT: usize = INDEX_AT + 64;
const CREATED_AT: usize = LOW_SHARD_AT + 4;
const TOP_AT: usize = CREATED_AT + TIME_BITS;

/// The parts that a number of the layout consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedSequence {
    /// When the shard was created, seconds since the epoch.
    pub(super) created: u64,
    pub(super) index: u64,
    /// When the record was stored, seconds since the epoch.
    pub(super) time: u64,
    /// The shard's number.
    pub(super) shard: u32,
}

impl PackedSequence {
    /// Returns the parts, or `None` if the number is not exactly of the layout.
    pub(super) fn pack(sequence: SequenceNumber) -> Option<Self> {
        let (zeros, number) = sequence.to_parts();
        let bits = Bits::try_from_be_slice(&number).filter(|_| zeros == 0)?;
        let part = |at: usize, length: usize| -> u64 {
            ((bits >> at) & ((Bits::from(1) << length) - Bits::from(1))).saturating_to()
        };
        let packed = Self {
            created: part(CREATED_AT, TIME_BITS),
            index: part(INDEX_AT, 64),
            time: part(TIME_AT, TIME_BITS),
            shard: u32::try_from(part(SHARD_AT, 32)).ok()?,
        };
        (packed.bits() == bits).then_some(packed)
    }

    /// Returns the number, or `None` if a part is too great for the layout.
    pub(super) fn unpack(self) -> Option<SequenceNumber> {
        let is_in_range = (self.created | self.time) >> TIME_BITS == 0;
        is_in_range
            .then(|| self.bits().to_be_bytes_trimmed_vec())
            .and_then(|number| SequenceNumber::from_parts(0, &number))
    }

    fn bits(self) -> Bits {
        let part = |value: u64, at: usize| Bits::from(value) << at;
        part(2, TOP_AT)
            | part(self.created, CREATED_AT)
            | part(u64::from(self.shard) & 0xF, LOW_SHARD_AT)
            | part(self.index, INDEX_AT)
            | part(self.time, TIME_AT)
            | part(self.shard.into(), SHARD_AT)
            | part(VERSION, 0)
    }
}

impl SequenceNumber {
    /// Returns when the service stored the record, in whole seconds of its own clock, or `None` if
    /// the number does not have the layout that Kinesis uses today.
    ///
    /// The layout is not documented: use the time for people, never for a decision.
    #[must_use]
    pub fn stored_at(self) -> Option<Timestamp> {
        let seconds = i64::try_from(PackedSequence::pack(self)?.time).ok()?;
        Some(Timestamp::from_epoch_millis(seconds.saturating_mul(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples of the API reference.
    #[test]
    fn documented_numbers_have_the_layout() {
        let sample = "49590338271490256608559692538361571095921575989136588898";
        let packed = PackedSequence {
            created: 1_542_776_258,
            index: 0x6764_8a17,
            time: 1_545_084_650,
            shard: 6,
        };
        let sequence: SequenceNumber = sample.parse().unwrap();
        assert_eq!(PackedSequence::pack(sequence), Some(packed));
        assert_eq!(packed.unpack().unwrap().to_string(), sample);
        assert_eq!(sequence.stored_at(), Some(Timestamp::from_epoch_millis(1_545_084_650_000)));
    }

    #[test]
    fn other_numbers_do_not_have_it() {
        for text in [
            "0",
            "7",
            // Another version in the lowest bits.
            "49543463076548007577105092703039560359975228518395012686",
            // The sample with a zero in front.
            "049590338271490256608559692538361571095921575989136588898",
            "49590338271490256608559692538361571095921575989136588899",
            "99590338271490256608559692538361571095921575989136588898",
        ] {
            assert_eq!(PackedSequence::pack(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn parts_beyond_the_layout_are_refused() {
        let packed = PackedSequence { created: 1, index: u64::MAX, time: 1, shard: u32::MAX };
        assert_eq!(PackedSequence::pack(packed.unpack().unwrap()), Some(packed));
        assert_eq!(PackedSequence { created: 1 << 36, ..packed }.unpack(), None);
        assert_eq!(PackedSequence { time: 1 << 36, ..packed }.unpack(), None);
    }
}
