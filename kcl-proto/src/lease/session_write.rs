//! The writes to a worker's own row: what each requires of the row, and how it changes it.
//!
//! As with [`LeaseWrite`](crate::lease::write::LeaseWrite), a write is a value: the memory store
//! applies [`SessionWrite::apply`], and a database store translates the same
//! [`SessionPrecondition`] and [`SessionEffect`]. The rules are
//! `docs/internals/lease-protocol.md`, section "Sessions".

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{LeaseKey, Session, SessionKind, SessionProgress, Timestamp, WorkerId};

/// One conditional write to the row of one worker.
///
/// Sending the same value twice is harmless: once it is applied, its precondition no longer holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionWrite {
    /// The worker whose row it is.
    pub session: WorkerId,
    /// What the write does.
    pub kind: SessionWriteKind,
}

/// The writes to a worker's own row.
///
/// `beat` is the row's heartbeat as its worker last wrote it, or as another worker sighted it.
/// `number` is the worker's own write number, which it uses once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionWriteKind {
    /// Creates the row with the heartbeat 1.
    Open {
        /// The number of this write.
        number: u64,
        /// The worker's expiry.
        expiry: Duration,
        /// Java's `lut`: the time of day an hour ago.
        last_update: Timestamp,
    },
    /// Proves that the worker is alive, and stores the progress of its leases.
    Beat {
        /// The heartbeat as last written.
        beat: u64,
        /// The number of this write.
        number: u64,
        /// All progress that the leases' own rows may lack.
        progress: SessionProgress,
        /// The requests that the worker has seen in the row.
        heard: BTreeSet<LeaseKey>,
        /// Whether the worker is stopping.
        is_leaving: bool,
        /// Java's `lut`: the time of day an hour ago.
        last_update: Timestamp,
    },
    /// Tells a live worker that the rows of these leases carry requests for them. A hint.
    Ask {
        /// The leases.
        keys: BTreeSet<LeaseKey>,
    },
    /// Declares the worker dead, because its heartbeat stands still. Its row is frozen by that.
    Condemn {
        /// The heartbeat as sighted.
        beat: u64,
        /// Who condemns it.
        by: WorkerId,
    },
    /// Declares the writer itself dead, which frees all leases that name it at once.
    Resign {
        /// The heartbeat as last written.
        beat: u64,
        /// The number of this write.
        number: u64,
        /// The final progress.
        progress: SessionProgress,
    },
    /// Deletes the writer's row. No lease names the worker.
    Close {
        /// The heartbeat as last written.
        beat: u64,
    },
    /// Deletes the row of a dead worker. No lease names it.
    Bury,
}

/// What a row must look like for a write to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionPrecondition {
    /// There is no row.
    NoRow,
    /// There is a [session](SessionKind::Session) that nobody condemned.
    Live {
        /// Its heartbeat, or `None` for any.
        beat: Option<u64>,
    },
    /// There is a row that says who condemned it.
    Dead,
}

/// How a write changes a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// The row becomes this one.
    Put(Box<Session>),
    /// These attributes change. All others stay, including unknown ones.
    Update(Box<SessionUpdate>),
    /// The row is deleted.
    Delete,
}

/// The attributes that a write changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SessionUpdate {
    /// The new heartbeat with the number of the write, or `None` to keep both.
    pub beat: Option<(u64, u64)>,
    /// The new progress, or `None` to keep it.
    pub progress: Option<SessionProgress>,
    /// The leases to add to those that the worker is asked for.
    pub asked: BTreeSet<LeaseKey>,
    /// The leases to remove from these.
    pub heard: BTreeSet<LeaseKey>,
    /// Whether the worker is stopping, or `None` to keep what the row says.
    pub is_leaving: Option<bool>,
    /// Who declares the worker dead, or `None` if the write does not.
    pub dead: Option<WorkerId>,
    /// Java's `lut`, or `None` to keep it.
    pub last_update: Option<Timestamp>,
}

impl SessionUpdate {
    /// Returns `row` with these attributes changed.
    #[must_use]
    pub fn apply_to(&self, row: &Session) -> Session {
        let mut row = row.clone();
        if let Some((beat, number)) = self.beat {
            (row.beat, row.write) = (beat, Some(number));
        }
        if let Some(progress) = &self.progress {
            row.progress.clone_from(progress);
        }
        row.asked.retain(|key| !self.heard.contains(key));
        row.asked.extend(self.asked.clone());
        row.is_leaving = self.is_leaving.unwrap_or(row.is_leaving);
        row.dead = self.dead.clone().or(row.dead);
        row.last_update = self.last_update.unwrap_or(row.last_update);
        row
    }
}

impl SessionWrite {
    /// Returns what the row must look like.
    #[must_use]
    pub const fn precondition(&self) -> SessionPrecondition {
        match &self.kind {
            SessionWriteKind::Open { .. } => SessionPrecondition::NoRow,
            SessionWriteKind::Beat { beat, .. }
            | SessionWriteKind::Condemn { beat, .. }
            | SessionWriteKind::Resign { beat, .. }
            | SessionWriteKind::Close { beat } => SessionPrecondition::Live { beat: Some(*beat) },
            SessionWriteKind::Ask { .. } => SessionPrecondition::Live { beat: None },
            SessionWriteKind::Bury => SessionPrecondition::Dead,
        }
    }

    /// Returns how the write changes a row that meets its precondition.
    #[must_use]
    pub fn effect(&self) -> SessionEffect {
        let update = match &self.kind {
            SessionWriteKind::Open { number, expiry, last_update } => {
                let (worker, kind) = (self.session.clone(), SessionKind::Session);
                let mut row = Session::new(worker, kind, *expiry, *last_update);
                row.write = Some(*number);
                return SessionEffect::Put(Box::new(row));
            }
            SessionWriteKind::Close { .. } | SessionWriteKind::Bury => {
                return SessionEffect::Delete;
            }
            SessionWriteKind::Beat { beat, number, progress, heard, is_leaving, last_update } => {
                SessionUpdate {
                    beat: Some((beat.saturating_add(1), *number)),
                    progress: Some(progress.clone()),
                    heard: heard.clone(),
                    is_leaving: Some(*is_leaving),
                    last_update: Some(*last_update),
                    ..SessionUpdate::default()
                }
            }
            SessionWriteKind::Ask { keys } => {
                SessionUpdate { asked: keys.clone(), ..SessionUpdate::default() }
            }
            SessionWriteKind::Condemn { by, .. } => {
                SessionUpdate { dead: Some(by.clone()), ..SessionUpdate::default() }
            }
            SessionWriteKind::Resign { beat, number, progress } => SessionUpdate {
                beat: Some((beat.saturating_add(1), *number)),
                progress: Some(progress.clone()),
                dead: Some(self.session.clone()),
                ..SessionUpdate::default()
            },
        };
        SessionEffect::Update(Box::new(update))
    }

    /// Whether `row` proves that this write of the row's own worker was applied, and what it says
    /// still holds.
    ///
    /// A heartbeat that counted and was condemned since proves nothing that helps its worker.
    /// Deletions, condemnations and requests leave no stamp.
    #[must_use]
    pub fn made(&self, row: &Session) -> bool {
        let (number, dead) = match &self.kind {
            SessionWriteKind::Open { number, .. } | SessionWriteKind::Beat { number, .. } => {
                (*number, None)
            }
            SessionWriteKind::Resign { number, .. } => (*number, Some(&self.session)),
            SessionWriteKind::Condemn { .. }
            | SessionWriteKind::Ask { .. }
            | SessionWriteKind::Close { .. }
            | SessionWriteKind::Bury => return false,
        };
        row.write == Some(number) && row.dead.as_ref() == dead
    }

    /// Whether the row meets the precondition.
    #[must_use]
    pub fn is_allowed(&self, row: Option<&Session>) -> bool {
        match self.precondition() {
            SessionPrecondition::NoRow => row.is_none(),
            SessionPrecondition::Live { beat } => {
                let is_sighted = |row: &Session| beat.is_none_or(|beat| row.beat == beat);
                row.is_some_and(|row| row.is_live() && is_sighted(row))
            }
            SessionPrecondition::Dead => row.is_some_and(|row| row.dead.is_some()),
        }
    }

    /// Returns the row after the write, `Some(None)` if the write deletes it, or `None` if the
    /// precondition does not hold.
    #[must_use]
    pub fn apply(&self, row: Option<&Session>) -> Option<Option<Session>> {
        if !self.is_allowed(row) {
            return None;
        }
        Some(match self.effect() {
            SessionEffect::Put(session) => Some(*session),
            SessionEffect::Update(update) => row.map(|row| update.apply_to(row)),
            SessionEffect::Delete => None,
        })
    }
}

#[cfg(test)]
#[path = "session_write_tests.rs"]
mod tests;
