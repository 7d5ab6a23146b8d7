//! A worker's own row: its heartbeat, the progress of its leases, and the verdict that it is dead.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{LeaseKey, Posted, Presence, SessionProgress, Timestamp, WorkerId};

/// What a worker's row promises about the leases that name the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// The worker's leases live by this row. It may be condemned.
    Session,
    /// The worker's leases live by their own counters. The worker obeys the sessions of others.
    Aware,
    /// The same, of a version that does not know sessions: it writes and deletes rows without
    /// looking.
    Unaware,
}

/// A worker's own row, as it was read or written.
///
/// The row is the only sign of life of a worker whose leases
/// [live by it](crate::model::Liveness::Session), and holds the progress of these leases. A row that
/// names who condemned it never changes again: it is deleted once no lease names its worker. The
/// rules are `docs/internals/lease-protocol.md`, section "Sessions".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Session {
    /// The worker that owns the row. Its id is the row's key.
    pub worker: WorkerId,
    /// What the row promises.
    pub kind: SessionKind,
    /// The heartbeat: it grows with each write of the worker.
    pub beat: u64,
    /// The worker's own number of the write that set the beat; `None` if the row is no session.
    pub write: Option<u64>,
    /// The worker's expiry: others wait at least that long before they condemn it.
    pub expiry: Duration,
    /// The progress of the worker's leases that their own rows may lack.
    pub progress: SessionProgress,
    /// The leases that other workers have asked this one for, until its heartbeat has removed them.
    pub asked: BTreeSet<LeaseKey>,
    /// Whether the worker is stopping: it takes no lease, and its leases are about to be free.
    pub is_leaving: bool,
    /// Who condemned the worker, or the worker itself if it resigned. Set once, never removed.
    pub dead: Option<WorkerId>,
    /// Java's `lut`: the time of day an hour before the write.
    pub last_update: Timestamp,
    /// What the worker posts about itself, for people.
    pub posted: Posted,
}

impl Session {
    /// Creates the row of a worker with its first heartbeat, which is alive and not leaving.
    #[must_use]
    pub fn new(
        worker: WorkerId,
        kind: SessionKind,
        expiry: Duration,
        last_update: Timestamp,
    ) -> Self {
        Self {
            worker,
            kind,
            beat: 1,
            write: None,
            expiry,
            progress: SessionProgress::EMPTY,
            asked: BTreeSet::new(),
            is_leaving: false,
            dead: None,
            last_update,
            posted: Posted::default(),
        }
    }

    /// Whether the row may be condemned and may still beat.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.kind == SessionKind::Session && self.dead.is_none()
    }

    /// Returns what the row says to those who only ask which workers are present.
    #[must_use]
    pub fn presence(&self) -> Presence {
        let worker = self.worker.clone();
        let mut presence = Presence::new(worker, self.beat, self.expiry, self.last_update);
        presence.is_leaving = self.is_leaving;
        presence
    }
}

impl From<Presence> for Session {
    /// Returns the row of a worker whose leases live by their counters.
    fn from(presence: Presence) -> Self {
        let Presence { worker, beat, expiry, is_leaving, last_update } = presence;
        let row = Self::new(worker, SessionKind::Aware, expiry, last_update);
        Self { beat, is_leaving, ..row }
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Session {
    /// Returns a live session of `worker` at its first beat, for tests, with an expiry of 10 s.
    #[must_use]
    pub fn sample(worker: &str) -> Self {
        let expiry = Duration::from_secs(10);
        Self::new(worker.into(), SessionKind::Session, expiry, Timestamp::default())
    }
}
