//! Which workers to condemn, and which are dead: this worker saw their heartbeats stand still for a
//! whole expiry, by its own clock.
//!
//! Silence alone frees nothing. Whoever saw it writes
//! [`Condemn`](crate::lease::session_write::SessionWriteKind::Condemn), which the database orders
//! against the heartbeats of the same row; the leases of the worker are free once that write, or any
//! read, shows the worker dead.
//!
//! What the shell does: it feeds every look at the rows of sessions, also of its own writes; reads
//! the row of a worker that a lease with the mark names and that it does not
//! [know](SessionWatch::knows), consistently, and feeds that;
//! condemns [`silent`](SessionWatch::silent) workers that a lease names, and feeds the row that
//! returns; takes leases by [`CounterWatch::is_forsaken`] with [`dead`](SessionWatch::dead), and
//! with the progress in [`frozen`](SessionWatch::frozen); and, after a consistent look at all leases
//! that began after the condemnation, buries those that no lease names.
//!
//! [`CounterWatch::is_forsaken`]: crate::lease::expiry::CounterWatch::is_forsaken

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Lease, Moment, Session, SessionProgress, WorkerId};

/// The workers that leases name as holders that live by their sessions, each with the longest
/// expiry that these leases say.
pub type Named = BTreeMap<WorkerId, Duration>;

/// Returns the workers by whose sessions `leases` live.
pub fn named<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Named {
    let mut named = Named::new();
    for lease in leases {
        let Some(holder) = lease.session_holder() else { continue };
        let said = lease.holder_expiry().unwrap_or_default();
        match named.get_mut(holder) {
            Some(expiry) => *expiry = said.max(*expiry),
            None => drop(named.insert(holder.clone(), said)),
        }
    }
    named
}

/// Remembers when each session's heartbeat was first seen, and who is dead.
///
/// Pass the moment *after* the reply that contained a row: a row counts from its arrival.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionWatch {
    me: WorkerId,
    expiry: Duration,
    /// How long looks may fail to come through: longer, and an outage may be everybody's.
    gap_max: Duration,
    live: BTreeMap<WorkerId, Sighting>,
    /// The rows of the dead; `None` of those whose rows are gone.
    dead: BTreeMap<WorkerId, Option<Session>>,
    /// The workers that a lease names and that have no row.
    absent: BTreeMap<WorkerId, Absence>,
    looked_at: Option<Moment>,
}

/// A live session as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sighting {
    beat: u64,
    /// How long its heartbeat must stand still.
    expiry: Duration,
    /// When the current beat was first seen.
    since: Moment,
}

/// A row that is gone although a lease names its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Absence {
    /// When a consistent look first lacked it.
    since: Moment,
    /// For how long the worker may not know that.
    expiry: Duration,
}

impl SessionWatch {
    /// Creates the watch of worker `me` with its own expiry.
    ///
    /// `look_every` is the time between two looks: a third of an expiry and two looks without an
    /// answer make all silence start anew.
    #[must_use]
    pub fn new(me: WorkerId, expiry: Duration, look_every: Duration) -> Self {
        Self {
            me,
            expiry,
            gap_max: (expiry / 3).max(look_every * 2),
            live: BTreeMap::new(),
            dead: BTreeMap::new(),
            absent: BTreeMap::new(),
            looked_at: None,
        }
    }

    /// Sets the time between two looks from now on.
    pub fn look_every(&mut self, pause: Duration) {
        self.gap_max = (self.expiry / 3).max(pause * 2);
    }

    /// Records a whole look at the rows of sessions. A look that is not consistent may be stale and
    /// lack rows. `named` are the workers that a lease with the mark names.
    ///
    /// Feed every look that came through, and only those.
    pub fn observe(&mut self, rows: &[Session], named: &Named, is_consistent: bool, now: Moment) {
        self.mind_the_gap(now);
        for row in rows {
            self.see(row, now);
        }
        let found: BTreeSet<_> = rows.iter().map(|row| &row.worker).collect();
        // Who has no row, and whom no lease names, has closed its session or was buried.
        let is_known = |worker: &WorkerId| found.contains(worker) || named.contains_key(worker);
        self.live.retain(|worker, _| is_known(worker));
        self.dead.retain(|worker, _| is_known(worker));
        if is_consistent {
            for (worker, said) in named.iter().filter(|(worker, _)| !found.contains(worker)) {
                self.miss(worker, *said, now);
            }
        }
        self.absent.retain(|worker, absence| {
            let said = named.get(worker);
            absence.expiry = absence.expiry.max(said.copied().unwrap_or_default());
            said.is_some()
        });
        let is_over = |absence: &Absence| now.since(absence.since) >= absence.expiry;
        for (worker, _) in self.absent.iter().filter(|(_, absence)| is_over(absence)) {
            self.dead.entry(worker.clone()).or_insert(None);
        }
        self.absent.retain(|worker, _| !self.dead.contains_key(worker));
    }

    /// Records a look at some rows only, of workers whose heartbeats were due.
    pub fn poll(&mut self, rows: &[Session], now: Moment) {
        self.mind_the_gap(now);
        rows.iter().for_each(|row| self.see(row, now));
    }

    /// Records that a consistent read found no row of a worker that a lease with the mark names.
    /// Such a worker is dead once a read that began an expiry later finds none either: `said` is
    /// the expiry that the [lease says](Lease::holder_expiry).
    pub fn miss(&mut self, worker: &WorkerId, said: Duration, now: Moment) {
        self.live.remove(worker);
        if self.dead.contains_key(worker) {
            return;
        }
        let expiry = said.max(self.expiry);
        let absence = self.absent.entry(worker.clone()).or_insert(Absence { since: now, expiry });
        if now.since(absence.since) >= absence.expiry {
            self.absent.remove(worker);
            self.dead.insert(worker.clone(), None);
        }
    }

    /// Records that the row of a worker may be gone, until a consistent read tells.
    pub fn doubt(&mut self, worker: &WorkerId) {
        self.live.remove(worker);
    }

    /// Whether the worker's row was seen, or is known to be gone for good.
    #[must_use]
    pub fn knows(&self, worker: &WorkerId) -> bool {
        *worker == self.me || self.live.contains_key(worker) || self.dead.contains_key(worker)
    }

    /// Whether the worker has a session that nobody condemned.
    #[must_use]
    pub fn is_live(&self, worker: &WorkerId) -> bool {
        self.live.contains_key(worker)
    }

    /// Returns the other workers that have a session which nobody condemned.
    #[must_use]
    pub fn live(&self) -> BTreeSet<WorkerId> {
        self.live.keys().cloned().collect()
    }

    /// Records one row that a read or a write returned.
    pub fn see(&mut self, row: &Session, now: Moment) {
        self.absent.remove(&row.worker);
        if row.dead.is_some() {
            self.live.remove(&row.worker);
            self.dead.insert(row.worker.clone(), Some(row.clone()));
        } else if row.is_live() && row.worker != self.me && !self.dead.contains_key(&row.worker) {
            let expiry = row.expiry.max(self.expiry);
            let new = Sighting { beat: row.beat, expiry, since: now };
            let sighting = self.live.entry(row.worker.clone()).or_insert(new);
            if row.beat > sighting.beat {
                *sighting = new; // A smaller one was read before.
            }
        }
    }

    /// Time counts only while looks come through.
    fn mind_the_gap(&mut self, now: Moment) {
        let is_gap = self.looked_at.is_some_and(|at| now.since(at) > self.gap_max);
        if is_gap {
            self.live.values_mut().for_each(|sighting| sighting.since = now);
            self.absent.values_mut().for_each(|absence| absence.since = now);
        }
        self.looked_at = Some(now);
    }

    /// Returns the workers to condemn, each with its heartbeat as sighted. Condemn those that a
    /// lease names.
    #[must_use]
    pub fn silent(&self, now: Moment) -> Vec<(WorkerId, u64)> {
        if self.looked_at.is_none_or(|at| now.since(at) > self.gap_max) {
            return Vec::new(); // The silence may be this worker's own.
        }
        let is_silent = |sighting: &Sighting| now.since(sighting.since) >= sighting.expiry;
        let silent = self.live.iter().filter(|(_, sighting)| is_silent(sighting));
        silent.map(|(worker, sighting)| (worker.clone(), sighting.beat)).collect()
    }

    /// Returns when the next worker falls silent if its heartbeat stands still.
    #[must_use]
    pub fn next_silence(&self, now: Moment) -> Option<Moment> {
        let at = self.live.values().map(|sighting| sighting.since + sighting.expiry);
        at.filter(|at| *at > now).min()
    }

    /// Returns the workers that are dead. Death never ends.
    #[must_use]
    pub fn dead(&self) -> BTreeSet<WorkerId> {
        self.dead.keys().cloned().collect()
    }

    /// Returns the final progress of a dead worker: none if its row is gone. `None` if the worker
    /// is not known to be dead.
    #[must_use]
    pub fn frozen(&self, worker: &WorkerId) -> Option<&SessionProgress> {
        let row = self.dead.get(worker)?;
        Some(row.as_ref().map_or(const { &SessionProgress::EMPTY }, |row| &row.progress))
    }

    /// Returns the dead workers whose rows are to be buried, and forgets those whose rows are gone.
    ///
    /// `named` are the workers that any lease names, by a consistent look at all leases that began
    /// after the last row that this watch has seen. A late take of a dead worker may name it
    /// afterwards: its row is then absent, and it is dead after an expiry.
    pub fn buryable(&mut self, named: &Named) -> Vec<WorkerId> {
        self.dead.retain(|worker, row| row.is_some() || named.contains_key(worker));
        let unnamed = self.dead.keys().filter(|worker| !named.contains_key(*worker));
        unnamed.cloned().collect()
    }

    /// Records that the row of a dead worker was buried.
    pub fn buried(&mut self, worker: &WorkerId) {
        if let Some(row) = self.dead.get_mut(worker) {
            *row = None;
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
