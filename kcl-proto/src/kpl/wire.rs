//! The subset of protocol buffers that the three messages of an aggregate use.
//!
//! Source: Protocol Buffers, "Encoding".

use super::frame::Malformed;

/// The maximum nesting of groups, as in other implementations.
const DEPTH_MAX: u32 = 100;

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Eight or four bytes, or a group: aggregates have no such field.
    Other,
}

impl<'a> Value<'a> {
    pub(super) const fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Bytes(_) | Self::Other => Err(Malformed::Wire),
        }
    }

    pub(super) const fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Other => Err(Malformed::Wire),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text),
            Err(_) => Err(Malformed::Text),
        }
    }
}

/// An iterator over the fields of a message. It ends after an error.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let (number, kind) = self.tag()?;
        Ok(Field { number, value: self.value(number, kind, DEPTH_MAX)? })
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let Ok(tag) = u32::try_from(self.varint()?) else { return Err(Malformed::Wire) };
        let (number, [kind, ..]) = (tag >> 3, (tag & 7).to_le_bytes());
        if number == 0 { Err(Malformed::Wire) } else { Ok((number, kind)) }
    }

    fn value(&mut self, number: u32, kind: u8, depth: u32) -> Result<Value<'a>, Malformed> {
        Ok(match kind {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            3 => self.group(number, depth)?,
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return Err(Malformed::Wire),
        })
    }

    /// Skips a group up to its end.
    fn group(&mut self, number: u32, depth: u32) -> Result<Value<'a>, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Wire)?;
        loop {
            match self.tag()? {
                (ended, 4) if ended == number => return Ok(Value::Other),
                (inner, kind) => self.value(inner, kind, depth)?,
            };
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Most numbers have one byte.
        if let [byte @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has one significant bit.
            if index == 9 && *byte > 1 {
                return Err(Malformed::Wire);
            }
            number |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(Malformed::Wire)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let taken = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let (taken, rest) = taken.ok_or(Malformed::Wire)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a number field.
pub(super) fn put_number(message: &mut Vec<u8>, field: u8, number: u64) {
    message.push(field << 3);
    put_varint(message, number);
}

/// Appends a field of text, bytes or a message.
pub(super) fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return message.push(low & 0x7F);
        }
        message.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &[u8], expected: &[Result<(u32, Value<'_>), Malformed>]) {
        let fields = Fields::of(message).map(|field| field.map(|it| (it.number, it.value)));
        assert_eq!(fields.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fields_of_every_kind_are_read_or_skipped() {
        check(b"", &[]);
        check(b"\x08\x07\x12\x02ab", &[Ok((1, Value::Varint(7))), Ok((2, Value::Bytes(b"ab")))]);
        check(b"\x09eightbyt\x15four", &[Ok((1, Value::Other)), Ok((2, Value::Other))]);
        check(
            b"\x0B\x08\x01\x13\x14\x0C\x08\x02",
            &[Ok((1, Value::Other)), Ok((1, Value::Varint(2)))],
        );
    }

    #[test]
    fn malformed_fields_are_refused() {
        let wrong: [&[u8]; 10] = [
            b"\x08",                     // no value
            b"\x08\x80",                 // half a number
            b"\x12\x03ab",               // fewer bytes than announced
            b"\x09short",                // less than eight bytes
            b"\x15abc",                  // less than four
            b"\x00\x00",                 // field 0
            b"\x0E\x00",                 // kind 6
            b"\x0B\x14",                 // the end of another group
            b"\x0C",                     // the end of no group
            b"\x80\x80\x80\x80\x10\x00", // a field number of more than 29 bits
        ];
        for message in wrong {
            check(message, &[Err(Malformed::Wire)]);
        }
        check(&[0x0B; 200], &[Err(Malformed::Wire)]);
    }

    #[test]
    fn numbers_have_up_to_ten_bytes() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut message = Vec::new();
            put_number(&mut message, 1, number);
            check(&message, &[Ok((1, Value::Varint(number)))]);
        }
        check(b"\x08\x80\x80\x80\x00", &[Ok((1, Value::Varint(0)))]);
        check(b"\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02", &[Err(Malformed::Wire)]);
        check(b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", &[Err(Malformed::Wire)]);
    }

    #[test]
    fn value_of_another_kind_is_refused() {
        assert_eq!(Value::Bytes(b"a").varint(), Err(Malformed::Wire));
        assert_eq!(Value::Varint(1).bytes(), Err(Malformed::Wire));
        assert_eq!(Value::Other.text(), Err(Malformed::Wire));
        assert_eq!(Value::Bytes(b"\xFF").text(), Err(Malformed::Text));
    }
}
