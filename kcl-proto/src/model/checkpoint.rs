//! Positions in a shard, and the checkpoints that store them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bytes::Bytes;
use ruint::Uint;
use thiserror::Error;

use crate::model::digits;

/// A record's sequence number: compared as a number, printed as the text that it was parsed from.
///
/// Kinesis uses 56 digits today (about 186 bits); the API allows 129, which this type holds.
/// Source: Kinesis API reference, `SequenceNumber`, pattern `0|([1-9]\d{0,128})`. Some other servers
/// write leading zeros, and look numbers up by their text.
#[derive(Clone, Copy, Default)]
pub struct SequenceNumber {
    /// The number, which needs 429 bits, and in the first 8 bits how many zeros precede it in its
    /// text. Positions are everywhere: a field of its own would enlarge each by a word.
    bits: Uint<448, 7>,
}

/// The bits of the number.
const NUMBER: Uint<448, 7> =
    Uint::from_limbs([u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 8]);

/// How many bits precede the count of zeros.
const NUMBER_BITS: usize = 440;

/// The maximum number of decimal digits of a sequence number.
const SEQUENCE_NUMBER_DIGITS_MAX: usize = 129;

/// How many characters of a text an error names.
const NAMED_MAX: usize = 140;

impl SequenceNumber {
    /// The smallest sequence number.
    pub const ZERO: Self = Self { bits: Uint::ZERO };

    fn number(self) -> Uint<448, 7> {
        self.bits & NUMBER
    }

    fn zeros(self) -> usize {
        (self.bits >> NUMBER_BITS).saturating_to()
    }

    /// Returns the count of zeros that precede the number in its text, and the number's bytes, the
    /// highest first and without leading zeros.
    pub(super) fn to_parts(self) -> (u8, Vec<u8>) {
        ((self.bits >> NUMBER_BITS).saturating_to(), self.number().to_be_bytes_trimmed_vec())
    }

    /// Returns the number of these [parts](Self::to_parts), or `None` if its text is too long.
    pub(super) fn from_parts(zeros: u8, number: &[u8]) -> Option<Self> {
        let number = Uint::try_from_be_slice(number).filter(|number| *number <= NUMBER)?;
        let sequence = Self { bits: number | (Uint::from(zeros) << NUMBER_BITS) };
        // Zero itself is a digit of the number.
        (sequence.to_string().len() <= SEQUENCE_NUMBER_DIGITS_MAX).then_some(sequence)
    }
}

impl From<u128> for SequenceNumber {
    fn from(number: u128) -> Self {
        Self { bits: Uint::from(number) }
    }
}

impl FromStr for SequenceNumber {
    type Err = ParseSequenceNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.as_bytes())
    }
}

/// Parses the bytes of the text.
impl TryFrom<&[u8]> for SequenceNumber {
    type Error = ParseSequenceNumberError;

    fn try_from(text: &[u8]) -> Result<Self, Self::Error> {
        let is_length = (1..=SEQUENCE_NUMBER_DIGITS_MAX).contains(&text.len());
        let words = if is_length { digits::number(text) } else { None };
        let words = words.ok_or_else(|| ParseSequenceNumberError::of(text))?;
        // The last digit belongs to the number, also if it is zero.
        let (_, first) = text.split_last().unwrap_or((&0, &[]));
        let zeros = first.iter().take_while(|digit| **digit == b'0').count();
        let number: Uint<448, 7> = Uint::from_limbs(words);
        let zeros: Uint<448, 7> = Uint::from(zeros);
        Ok(Self { bits: number | (zeros << NUMBER_BITS) })
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for SequenceNumber {}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.zeros() {
            f.write_str("0")?;
        }
        fmt::Display::fmt(&self.number(), f)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a sequence number of at most 129 decimal digits")]
pub struct ParseSequenceNumberError {
    text: String,
}

impl ParseSequenceNumberError {
    /// The error of a text, whose beginning it names.
    fn of(text: &[u8]) -> Self {
        let start = text.get(..4 * NAMED_MAX).unwrap_or(text);
        Self { text: String::from_utf8_lossy(start).chars().take(NAMED_MAX).collect() }
    }
}

/// A place in a shard: a record, and a user record inside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The sequence number of the Kinesis record.
    pub sequence: SequenceNumber,
    /// The index of the user record in an aggregated record, from 0. It is 0 for a record that is
    /// not aggregated.
    pub sub_sequence: u64,
}

impl Position {
    /// Returns the position of a record that is not aggregated.
    #[must_use]
    pub const fn of(sequence: SequenceNumber) -> Self {
        Self { sequence, sub_sequence: 0 }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub_sequence)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How far a shard has been processed, as its lease stores it.
///
/// Ordered by progress: every start is before every position, and the shard's end is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the closed vocabulary of the lease table")]
pub enum Checkpoint {
    /// No record is processed: start with the oldest one.
    TrimHorizon,
    /// No record is processed: start with the next record that arrives. Only Java writes this.
    Latest,
    /// No record is processed: start at the lease's [`start_at`](crate::model::Lease::start_at).
    AtTimestamp,
    /// All records up to and including this position are processed.
    After(Position),
    /// All records are processed: the shard is finished.
    ShardEnd,
}

impl Checkpoint {
    /// Returns the position of [`After`](Self::After), or `None` otherwise.
    #[must_use]
    pub const fn position(self) -> Option<Position> {
        match self {
            Self::After(position) => Some(position),
            Self::TrimHorizon | Self::Latest | Self::AtTimestamp | Self::ShardEnd => None,
        }
    }

    /// Whether the shard is finished.
    #[must_use]
    pub const fn is_shard_end(self) -> bool {
        matches!(self, Self::ShardEnd)
    }

    /// Whether any record has been processed.
    #[must_use]
    pub const fn has_progressed(self) -> bool {
        matches!(self, Self::After(_) | Self::ShardEnd)
    }

    /// Returns the value of the table's `checkpoint` attribute.
    ///
    /// Source: Java KCL `SentinelCheckpoint`.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            Self::TrimHorizon => "TRIM_HORIZON".into(),
            Self::Latest => "LATEST".into(),
            Self::AtTimestamp => "AT_TIMESTAMP".into(),
            Self::After(position) => position.sequence.to_string(),
            Self::ShardEnd => "SHARD_END".into(),
        }
    }

    /// Parses the table's `checkpoint` attribute with its sub-sequence number.
    ///
    /// # Errors
    /// If the text is neither a sentinel nor a sequence number.
    pub fn parse(text: &str, sub_sequence: u64) -> Result<Self, ParseCheckpointError> {
        Ok(match text {
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "AT_TIMESTAMP" => Self::AtTimestamp,
            "SHARD_END" => Self::ShardEnd,
            number => Self::After(Position {
                sequence: number.parse().map_err(ParseCheckpointError)?,
                sub_sequence,
            }),
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(position) => fmt::Display::fmt(position, f),
            Self::TrimHorizon | Self::Latest | Self::AtTimestamp | Self::ShardEnd => {
                f.write_str(&self.to_text())
            }
        }
    }
}

/// A text is not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("checkpoint is neither TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END nor a position")]
pub struct ParseCheckpointError(#[source] ParseSequenceNumberError);

/// A checkpoint that was prepared and is not committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PendingCheckpoint {
    /// The checkpoint to commit.
    pub checkpoint: Checkpoint,
    /// The application's own state, returned with the pending checkpoint after a restart or
    /// failover.
    pub state: Option<Bytes>,
}

#[cfg(any(test, feature = "test-util"))]
impl Checkpoint {
    /// Returns the checkpoint after the record with the sequence number `sequence`, for tests.
    #[must_use]
    pub fn after(sequence: u128) -> Self {
        Self::After(Position::of(sequence.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> SequenceNumber {
        text.parse().unwrap()
    }

    #[test]
    fn sequence_numbers_are_ordered_as_numbers() {
        assert!(number("9") < number("10"));
        assert!(number(&"9".repeat(129)) > number(&"1".repeat(129)));
        assert_eq!(number(&"9".repeat(129)).to_string(), "9".repeat(129));
    }

    #[test]
    fn sequence_numbers_of_any_length_round_trip() {
        let digits = "10987654321000000000000000000".repeat(5);
        for length in 1..=129 {
            let text = &digits[..length];
            assert_eq!(text.parse::<SequenceNumber>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_sequence_numbers_are_refused() {
        for text in ["", "-1", "0x1", "1x", " 1", "1_000", &"1".repeat(130), &"0".repeat(130)] {
            assert!(text.parse::<SequenceNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn leading_zeros_are_kept_and_do_not_count() {
        assert!(number("0002") < number("10"));
        assert_eq!(number("0002"), number("2"));
        assert_eq!(number("0"), number("000"));
        for text in ["0", "000", "0002", "000000017960238996610000000002", &"0".repeat(129)] {
            assert_eq!(number(text).to_string(), text);
            assert_eq!(Checkpoint::parse(text, 0).unwrap().to_text(), text);
        }
        let longest = format!("0{}", "9".repeat(128));
        assert_eq!(number(&longest).to_string(), longest);
        assert!(number(&longest) < number(&"9".repeat(129)));
    }

    #[test]
    fn checkpoints_are_ordered_by_progress() {
        let first = Checkpoint::After(Position::of(number("1")));
        let inside = Checkpoint::After(Position { sequence: number("1"), sub_sequence: 3 });
        let order =
            [Checkpoint::TrimHorizon, Checkpoint::AtTimestamp, first, inside, Checkpoint::ShardEnd];
        assert!(order.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn checkpoints_round_trip() {
        for text in ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END", "495903382714902"] {
            assert_eq!(Checkpoint::parse(text, 0).unwrap().to_text(), text);
        }
        assert!(Checkpoint::parse("shard_end", 0).is_err());
    }
}
