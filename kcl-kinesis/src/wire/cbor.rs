//! The items of a CBOR message, one after the other: a [`Cursor`].
//!
//! Source: RFC 8949. Tags mean nothing here. No count is believed, and no input panics.

use kcl_core::model::Timestamp;

use crate::error::Unreadable;

/// How deep a value that is skipped may be nested.
const DEPTH_MAX: u8 = 16;

const BREAK: u8 = 0xff;

/// The major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// The additional information of simple values.
const NULL: u64 = 22;
const UNDEFINED: u64 = 23;
const HALF: u8 = 25;
const SINGLE: u8 = 26;
const DOUBLE: u8 = 27;

type Result<T> = std::result::Result<T, Unreadable>;

/// What is left of a message.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

/// The beginning of an item.
#[derive(Clone, Copy, Debug)]
struct Head {
    major: u8,
    /// The lower five bits: how the argument is encoded, which is the width of a float.
    info: u8,
    /// A value, a length or a count; `None` if the item ends with a break.
    argument: Option<u64>,
}

impl Head {
    fn is_null(self) -> bool {
        self.major == SIMPLE && self.info < HALF && matches!(self.argument, Some(NULL | UNDEFINED))
    }
}

/// The items that are left of an array or a map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Items(u64),
    UntilBreak,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The bytes that are left.
    pub(super) const fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Checks that the message ends here: a wrong count would hide members.
    pub(super) const fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Unreadable::new("bytes after its end")) }
    }

    /// Begins a map, or returns `None` for null.
    pub(super) fn map(&mut self) -> Result<Option<Left>> {
        self.container(MAP, "not a map")
    }

    /// Begins an array, or returns `None` for null.
    pub(super) fn array(&mut self) -> Result<Option<Left>> {
        self.container(ARRAY, "not an array")
    }

    /// Whether another item follows, which then counts as read.
    pub(super) const fn has_next(&mut self, left: &mut Left) -> bool {
        match left {
            Left::Items(0) => return false,
            Left::Items(count) => *count -= 1,
            Left::UntilBreak => {
                if let Some((&BREAK, rest)) = self.rest.split_first() {
                    self.rest = rest;
                    return false;
                }
            }
        }
        true
    }

    /// Reads the name of a member.
    pub(super) fn name(&mut self) -> Result<&'a [u8]> {
        self.run(TEXT, "a member without a name")?.ok_or(Unreadable::new("a member without a name"))
    }

    /// Reads the bytes of a text in one piece; `None` for null. Whether they are UTF-8 is left to
    /// the caller.
    pub(super) fn text_bytes(&mut self) -> Result<Option<&'a [u8]>> {
        self.run(TEXT, "not a text in one piece")
    }

    /// Reads a text in one piece; `None` for null.
    pub(super) fn text(&mut self) -> Result<Option<&'a str>> {
        let text = self.text_bytes()?.map(std::str::from_utf8).transpose();
        text.map_err(|error| Unreadable::because("text", error))
    }

    /// Reads bytes in one piece; `None` for null.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>> {
        self.run(BYTES, "not bytes in one piece")
    }

    /// Reads an integer, or zero if it is negative; `None` for null.
    pub(super) fn unsigned(&mut self) -> Result<Option<u64>> {
        match self.head()? {
            Head { major: UNSIGNED, argument: Some(value), .. } => Ok(Some(value)),
            Head { major: NEGATIVE, .. } => Ok(Some(0)),
            head if head.is_null() => Ok(None),
            _ => Err(Unreadable::new("not a number")),
        }
    }

    /// Reads a time; `None` for null. An integer is in milliseconds, whatever its tag says, and a
    /// float in seconds.
    ///
    /// Source: AWS SDK for Java 2, `AwsCborProtocolFactory`: times are `UNIX_TIMESTAMP_MILLIS`.
    pub(super) fn time(&mut self) -> Result<Option<Timestamp>> {
        let head = self.head()?;
        let millis = match (head.major, head.argument) {
            (UNSIGNED, Some(millis)) => i64::try_from(millis).unwrap_or(i64::MAX),
            (NEGATIVE, Some(before)) => i64::try_from(before).map_or(i64::MIN, |before| !before),
            _ if head.is_null() => return Ok(None),
            (SIMPLE, Some(bits)) => {
                float(head.info, bits).and_then(millis).ok_or(Unreadable::new("not a time"))?
            }
            _ => return Err(Unreadable::new("not a time")),
        };
        Ok(Some(Timestamp::from_epoch_millis(millis)))
    }

    /// Passes over a value of any kind.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.skip_nested(DEPTH_MAX)
    }

    fn skip_nested(&mut self, depth: u8) -> Result<()> {
        let deeper = depth.checked_sub(1).ok_or(Unreadable::new("nested too deep"))?;
        let head = self.head()?;
        let mut left = match (head.major, head.argument) {
            (UNSIGNED | NEGATIVE | SIMPLE, Some(_)) => return Ok(()),
            (BYTES | TEXT, Some(length)) => return self.split(length).map(drop),
            (ARRAY, Some(count)) => Left::Items(count),
            // Its names and its values.
            (MAP, Some(count)) => Left::Items(count.saturating_mul(2)),
            (BYTES | TEXT | ARRAY | MAP, None) => Left::UntilBreak,
            _ => return Err(Unreadable::new("a break that ends nothing")),
        };
        while self.has_next(&mut left) {
            self.skip_nested(deeper)?;
        }
        Ok(())
    }

    fn container(&mut self, major: u8, otherwise: &'static str) -> Result<Option<Left>> {
        match self.head()? {
            head if head.major == major => {
                Ok(Some(head.argument.map_or(Left::UntilBreak, Left::Items)))
            }
            head if head.is_null() => Ok(None),
            _ => Err(Unreadable::new(otherwise)),
        }
    }

    fn run(&mut self, major: u8, otherwise: &'static str) -> Result<Option<&'a [u8]>> {
        match self.head()? {
            Head { major: found, argument: Some(length), .. } if found == major => {
                self.split(length).map(Some)
            }
            head if head.is_null() => Ok(None),
            _ => Err(Unreadable::new(otherwise)),
        }
    }

    /// Reads the beginning of the next item, without its tags.
    fn head(&mut self) -> Result<Head> {
        loop {
            let [first] = self.take()?;
            let (major, info) = (first >> 5, first & 0x1f);
            let argument = match info {
                0..=23 => Some(u64::from(info)),
                24 => Some(u64::from(u8::from_be_bytes(self.take()?))),
                25 => Some(u64::from(u16::from_be_bytes(self.take()?))),
                26 => Some(u64::from(u32::from_be_bytes(self.take()?))),
                27 => Some(u64::from_be_bytes(self.take()?)),
                31 if matches!(major, BYTES | TEXT | ARRAY | MAP | SIMPLE) => None,
                _ => return Err(Unreadable::new("a reserved length")),
            };
            if major != TAG {
                return Ok(Head { major, info, argument });
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn split(&mut self, length: u64) -> Result<&'a [u8]> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (run, rest) = self.rest.split_at_checked(length).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(run)
    }
}

const ENDS_EARLY: Unreadable = Unreadable::new("ends early");

/// Returns the float of these bits, or `None` for another simple value.
fn float(info: u8, bits: u64) -> Option<f64> {
    match info {
        HALF => u16::try_from(bits).ok().map(half),
        SINGLE => u32::try_from(bits).ok().map(|bits| f64::from(f32::from_bits(bits))),
        DOUBLE => Some(f64::from_bits(bits)),
        _ => None,
    }
}

/// Returns a float of 16 bits. Source: RFC 8949, appendix D.
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (bits >> 10 & 0x1f, f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 => return f64::NAN, // no time is infinite
        _ => (mantissa + 1_024.0) * 2_f64.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// Returns the whole milliseconds of a time in seconds, clamped to the range; `None` if it is not a
/// number.
fn millis(seconds: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the cast clamps")]
    seconds.is_finite().then(|| (seconds * 1_000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(message: &[u8], expected: Option<i64>) {
        let mut cursor = Cursor::new(message);
        let time = cursor.time().unwrap().map(Timestamp::epoch_millis);
        assert_eq!((time, cursor.rest()), (expected, 0));
    }

    #[test]
    fn integers_are_milliseconds_and_floats_seconds() {
        check_time(b"\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38", Some(1_787_036_486_712));
        check_time(b"\xc1\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38", Some(1_787_036_486_712));
        check_time(b"\xfb\x41\xda\xa1\x00\xd1\xad\x91\x68", Some(1_787_036_486_712));
        check_time(b"\xc1\xfa\x3f\xc0\x00\x00", Some(1_500));
        check_time(b"\xf9\x3e\x00", Some(1_500));
        check_time(b"\xf9\x80\x01", Some(0));
        check_time(b"\x20", Some(-1));
        check_time(b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", Some(i64::MIN));
        check_time(b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX));
        check_time(b"\xf6", None);
        check_time(b"\xf7", None);
    }

    #[test]
    fn other_values_are_no_times() {
        for message in [&b"\xf5"[..], b"\xf9\x7e\x00", b"\xff", b"\x60", b"\xf9\x3e", b""] {
            assert!(Cursor::new(message).time().is_err(), "{message:x?}");
        }
    }

    #[test]
    fn values_are_skipped_to_a_depth() {
        let nested = |depth| [vec![0x81; depth], vec![0x00]].concat();
        for (message, expected) in [
            (nested(15), true),
            (nested(16), false),
            (vec![0xff], false),
            (b"\x5f\x41a\x41b\xff".to_vec(), true),
            (b"\xbf\x61a\x01\xff".to_vec(), true),
            (b"\xa1\x61a".to_vec(), false),
            (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x00".to_vec(), false),
            (b"\x1c".to_vec(), false),
            (b"\xdf\x00".to_vec(), false),
        ] {
            let mut cursor = Cursor::new(&message);
            let is_skipped = cursor.skip().is_ok() && cursor.end().is_ok();
            assert_eq!(is_skipped, expected, "{message:x?}");
        }
    }
}
