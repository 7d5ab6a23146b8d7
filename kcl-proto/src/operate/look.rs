//! What was read: the rows of the table in one look, and the stream.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    JavaRow, Lease, LeaseKey, Session, Shard, StreamName, StreamStart, Timestamp, UnreadableRow,
    WorkerId,
};

/// The rows of a lease table, as one look found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When the look ended, best by the clock of the service.
    pub at: Timestamp,
    /// The leases.
    pub leases: BTreeMap<LeaseKey, Lease>,
    /// The rows of this library's workers.
    pub sessions: BTreeMap<WorkerId, Session>,
    /// Where the application began to consume streams.
    pub stream_starts: Vec<StreamStart>,
    /// Rows of the Java KCL that are not leases.
    pub java: Vec<JavaRow>,
    /// Rows that could not be read.
    pub unreadable: Vec<UnreadableRow>,
}

impl Look {
    /// Returns when a Java worker says that it wrote its row, or `None` if it has no row.
    #[must_use]
    pub fn java_worker(&self, worker: &WorkerId) -> Option<Timestamp> {
        let row = self.java.iter().find(|row| row.key == worker.as_str());
        row.and_then(|row| row.updated_at)
    }

    /// Returns the stream that the table says it is for, or `None` if it does not say.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamStart> {
        self.stream_starts.first()
    }
}

/// The stream that a fleet reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its name.
    pub name: StreamName,
    /// Its shards.
    pub shards: Vec<Shard>,
    /// How long it keeps records.
    pub retention: Duration,
}

/// All that a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The application: the name of its lease table.
    pub application: &'a str,
    /// The newest look.
    pub look: &'a Look,
    /// An earlier look, for trends and signs of life that one look does not show, or `None`.
    pub earlier: Option<&'a Look>,
    /// The stream, or `None` if it was not read.
    pub stream: Option<&'a StreamFacts>,
}

impl<'a> Seen<'a> {
    /// What one look found.
    #[must_use]
    pub const fn once(application: &'a str, look: &'a Look) -> Self {
        Self { application, look, earlier: None, stream: None }
    }

    /// The time between the two looks, zero if there is one only.
    pub(super) fn between(&self) -> Duration {
        self.earlier.map_or(Duration::ZERO, |earlier| self.look.at.since(earlier.at))
    }
}
