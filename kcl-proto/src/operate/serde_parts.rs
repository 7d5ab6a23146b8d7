//! How reports are serialized: seconds as numbers, notes as text, hash keys as strings.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{HashKeyRange, HoldUp};
use crate::operate::shard_report;

/// Writes seconds, to the millisecond.
#[expect(clippy::ref_option, reason = "serde passes fields")]
pub(super) fn optional<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| f64::from(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)) / 1_000.0)
        .serialize(serializer)
}

/// Writes the note of a shard.
#[expect(clippy::ref_option, reason = "serde passes fields")]
pub(super) fn note<S: Serializer>(
    hold_up: &Option<HoldUp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    hold_up.as_ref().map(shard_report::note).serialize(serializer)
}

/// Both bounds as strings: JSON's numbers are too short.
#[derive(Serialize)]
struct Bounds {
    start: String,
    end: String,
}

impl From<HashKeyRange> for Bounds {
    fn from(range: HashKeyRange) -> Self {
        Self { start: range.start.to_string(), end: range.end.to_string() }
    }
}

/// Writes a hash key range.
#[expect(clippy::ref_option, reason = "serde passes fields")]
pub(super) fn range<S: Serializer>(
    range: &Option<HashKeyRange>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    range.map(Bounds::from).serialize(serializer)
}

/// Writes several.
#[expect(clippy::ref_option, reason = "serde passes fields")]
pub(super) fn ranges<S: Serializer>(
    ranges: &Option<Vec<HashKeyRange>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let ranges = ranges.as_ref();
    ranges.map(|it| it.iter().copied().map(Bounds::from).collect::<Vec<_>>()).serialize(serializer)
}
