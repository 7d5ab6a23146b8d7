//! How reports are serialized: seconds as numbers, notes as text.

use std::time::Duration;

use serde::{Serialize as _, Serializer};

use crate::model::HoldUp;
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
