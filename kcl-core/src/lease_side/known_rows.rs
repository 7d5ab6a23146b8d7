//! The rows of the table that this worker knows: the fleet's, and its own.

use kcl_proto::lease::adoption::adopted;
use kcl_proto::lease::write::Progress;
use kcl_proto::model::{Checkpoint, Lease, LeaseKey, Moment};

use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::lookout_end::Learned;
use crate::lease_side::own_row::OwnRow;

/// The rows of the table that this worker knows.
#[derive(Debug)]
pub(super) struct KnownRows {
    pub(super) fleet: FleetView,
    pub(super) own: OwnRow,
}

impl KnownRows {
    /// Records rows that were read some time ago: newer ones may be known.
    pub(super) fn saw_page(&mut self, leases: Vec<Lease>, now: Moment) {
        if let Some(session) = self.own.session() {
            leases.iter().for_each(|row| session.saw(row, now));
        }
        self.fleet.saw_page(leases, now);
    }

    /// Records rows that were read one by one, and those that were not found.
    pub(super) fn learned(&mut self, learned: Learned, now: Moment) {
        let Learned { page, gone, missing, is_poll, .. } = learned;
        gone.iter().for_each(|key| self.fleet.forget(key));
        missing.iter().for_each(|worker| self.fleet.doubt(worker));
        self.fleet.saw_sessions(&page.sessions, is_poll, now);
        self.saw_page(page.leases, now);
    }

    /// Records a row that was just written, or read consistently.
    pub(super) fn saw_row(&mut self, row: Lease, now: Moment) {
        if let Some(session) = self.own.session() {
            session.saw(&row, now);
        }
        self.fleet.saw_row(row, now);
    }

    /// Records that a lease has no row.
    pub(super) fn saw_none(&mut self, key: &LeaseKey, now: Moment) {
        if let Some(session) = self.own.session() {
            session.saw_none(key, now);
        }
        self.fleet.forget(key);
    }

    /// Returns what a take of the lease stores of its holder's progress.
    pub(super) fn adopted(&self, key: &LeaseKey) -> Option<Progress> {
        let row = self.fleet.row(key)?;
        let holder = row.holder()?;
        if self.fleet.is_me(holder) {
            return adopted(row, self.own.progress());
        }
        adopted(row, self.fleet.frozen(holder)?)
    }

    /// Returns the stored checkpoint of a lease that this worker holds: its row's, or what the
    /// session's row contains beyond it.
    pub(super) fn checkpoint(&self, key: &LeaseKey) -> Option<Checkpoint> {
        let row = self.fleet.row(key)?;
        let kept = adopted(row, self.own.stored()).and_then(|progress| progress.checkpoint);
        Some(kept.unwrap_or(row.checkpoint))
    }
}
