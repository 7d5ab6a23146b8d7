//! A worker's own row: its heartbeat.

use std::time::Duration;

use crate::model::{Timestamp, WorkerId};

/// A worker's own row, written before its first take and then every third of an expiry.
///
/// Peers judge by `beat` alone: it moved, or it has stood still for some time. The row has the
/// format of a Java worker's metrics row with `last_update` an hour in the past, so that a Java
/// leader never assigns leases to this worker and still deletes the row after a day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The worker that writes the row.
    pub worker: WorkerId,
    /// A number that grows with each write.
    pub beat: u64,
    /// The worker's lease expiry, which paces its heartbeat: peers must wait at least that long.
    pub expiry: Duration,
    /// Whether the worker is stopping: it takes no lease, and its leases are about to be free.
    pub is_leaving: bool,
    /// Java's `lut`: the time of day an hour before the write.
    pub last_update: Timestamp,
}

impl Presence {
    /// Creates the row of `worker`, which is not leaving.
    #[must_use]
    pub const fn new(
        worker: WorkerId,
        beat: u64,
        expiry: Duration,
        last_update: Timestamp,
    ) -> Self {
        Self { worker, beat, expiry, is_leaving: false, last_update }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Presence {
    /// Returns the first heartbeat of `worker` for tests, with an expiry of 10 s.
    #[must_use]
    pub fn sample(worker: &str) -> Self {
        Self {
            worker: worker.into(),
            beat: 1,
            expiry: Duration::from_secs(10),
            is_leaving: false,
            last_update: Timestamp::default(),
        }
    }
}
