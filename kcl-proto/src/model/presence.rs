//! A worker's own row: the sign that it is there.

use std::time::Duration;

use crate::model::{Timestamp, WorkerId};

/// A worker's own row, written every third of an expiry before it takes anything.
///
/// Peers judge by `beat` alone: it moved, or it has stood still for so long. It is stored in the
/// shape of a Java worker's metrics row, with `last_update` an hour in the past, so that a Java
/// leader never assigns leases to this worker and still deletes the row after a day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// Whose row it is.
    pub worker: WorkerId,
    /// Grows with each write.
    pub beat: u64,
    /// The worker's lease expiry, by which it paces its beat: others must not be more impatient.
    pub expiry: Duration,
    /// Java's `lut`: a time of day an hour before the write.
    pub last_update: Timestamp,
}

impl Presence {
    /// The row of `worker` with this beat, expiry and time of the last update.
    #[must_use]
    pub const fn new(
        worker: WorkerId,
        beat: u64,
        expiry: Duration,
        last_update: Timestamp,
    ) -> Self {
        Self { worker, beat, expiry, last_update }
    }
}
