//! The values that the bytes of progress consist of, and why bytes are refused. Whole numbers have
//! seven bits a byte, the lowest first.

use thiserror::Error;

/// Bytes are not the progress of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeProgressError {
    /// The bytes are of a version that this library does not know.
    #[error("progress has format {0}, which this version does not know")]
    Version(u8),
    /// The bytes end within a value.
    #[error("progress ends within a value")]
    Truncated,
    /// A value is out of its range.
    #[error("progress has an invalid {0}")]
    Invalid(&'static str),
    /// Two entries have the same key.
    #[error("progress has two entries for one lease")]
    Duplicate,
}

/// The bytes of the greatest number.
const BYTES_MAX: u32 = 10;

/// Appends a number.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7F);
        }
        bytes.push(low | 0x80);
    }
}

/// Reads values one after the other.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeProgressError> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeProgressError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeProgressError> {
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or(DecodeProgressError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeProgressError> {
        let mut number = 0_u64;
        for place in 0..BYTES_MAX {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeProgressError::Invalid("number"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<u64>(), shift in 0_u32..64) {
            let (number, mut bytes) = (number >> shift, Vec::new());
            put(&mut bytes, number);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert!(reader.is_at_end());
        }
    }

    #[test]
    fn too_great_numbers_are_refused() {
        let invalid = Err(DecodeProgressError::Invalid("number"));
        let greatest = [[0xFF; 9].as_slice(), &[1]].concat();
        assert_eq!(Reader::new(&greatest).varint(), Ok(u64::MAX));
        for last in [2, 0x7F, 0x81] {
            let bytes = [[0xFF; 9].as_slice(), &[last, 0]].concat();
            assert_eq!(Reader::new(&bytes).varint(), invalid);
        }
        assert_eq!(Reader::new(&[0x80]).varint(), Err(DecodeProgressError::Truncated));
    }
}
