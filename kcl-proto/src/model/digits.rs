//! Decimal digits → a number of up to 448 bits, eight digits at once.

/// The number of 64-bit words: room for 134 digits.
const WORDS: usize = 7;

/// What eight digits multiply a number by.
const GROUP_BASE: u64 = 100_000_000;

/// Returns the number that `digits` spell, its lowest word first, or `None` if one of them is not a
/// digit or the number takes more than 448 bits. No digits are zero.
///
/// Every record has a sequence number of 56 digits: parsing them one by one would cost more than
/// the rest of its decoding.
pub(super) fn number(digits: &[u8]) -> Option<[u64; WORDS]> {
    let (first, rest) = digits.split_at(digits.len() % 8);
    let mut padded = [b'0'; 8];
    let (_, end) = padded.split_at_mut(8 - first.len());
    end.copy_from_slice(first);
    let mut words = [0; WORDS];
    let [lowest, ..] = &mut words;
    *lowest = group(padded)?;
    let mut used = 1;
    for digits in rest.as_chunks().0 {
        let mut carry = group(*digits)?;
        for word in words.iter_mut().take(used) {
            (*word, carry) = word.carrying_mul(GROUP_BASE, carry);
        }
        if carry > 0 {
            *words.get_mut(used)? = carry;
            used += 1;
        }
    }
    Some(words)
}

/// Returns the number that eight digits spell, or `None` if one of them is not a digit.
///
/// The digits lie in the bytes of one word, the first one in the lowest byte. Each step joins
/// neighbours: eight numbers of one digit, four of two, two of four, one of eight.
const fn group(digits: [u8; 8]) -> Option<u64> {
    const HIGH_BITS: u64 = u64::MAX / 0xff * 0x80;
    let values = u64::from_le_bytes(digits) ^ (u64::MAX / 0xff * 0x30);
    // The first byte over 9 has its high bit set by itself or by the addition, which carries
    // nothing into it.
    if (values | values.wrapping_add(u64::MAX / 0xff * (0x7f - 9))) & HIGH_BITS != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & (u64::MAX / 0xffff * 0xff);
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruint::Uint;

    use super::*;

    /// The same, digit by digit.
    fn slowly(digits: &[u8]) -> Option<[u64; WORDS]> {
        let mut number = Uint::<448, WORDS>::ZERO;
        for digit in digits {
            let value = digit.is_ascii_digit().then(|| digit - b'0')?;
            number = number.checked_mul(Uint::from(10))?.checked_add(Uint::from(value))?;
        }
        Some(number.into_limbs())
    }

    #[test]
    fn every_byte_in_every_place_is_a_digit_or_refused() {
        for place in 0..16 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"9876543210987654";
                digits[place] = byte;
                assert_eq!(number(&digits), slowly(&digits), "{byte:#x} in place {place}");
            }
        }
    }

    #[test]
    fn largest_number_fits_and_the_next_one_does_not() {
        let largest = Uint::<448, WORDS>::MAX.to_string();
        assert_eq!(number(largest.as_bytes()), Some([u64::MAX; WORDS]));
        assert_eq!(number(format!("{largest}0").as_bytes()), None);
        assert_eq!(number(b""), Some([0; WORDS]));
    }

    proptest! {
        #[test]
        fn digits_are_read_as_one_by_one(text in "[0-9]{0,133}") {
            prop_assert_eq!(number(text.as_bytes()), slowly(text.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_as_one_by_one(
            bytes in prop::collection::vec(prop_oneof![20 => b'0'..=b'9', 1 => any::<u8>()], 0..140),
        ) {
            prop_assert_eq!(number(&bytes), slowly(&bytes));
        }
    }
}
