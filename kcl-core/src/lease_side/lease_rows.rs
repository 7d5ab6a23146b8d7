//! The leases of the table as this worker last saw them, and which of them are expired.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_proto::lease::expiry::{self, CounterWatch};
use kcl_proto::model::{Lease, LeaseKey, Moment, WorkerId};

/// All rows of leases.
#[derive(Debug)]
pub(super) struct LeaseRows {
    expiry: Duration,
    rows: BTreeMap<LeaseKey, Lease>,
    /// When each row was last seen.
    seen: BTreeMap<LeaseKey, Moment>,
    watch: CounterWatch,
    /// When the last complete scan began, or `None` before the first one.
    scanned: Option<Moment>,
}

impl LeaseRows {
    /// No row yet. `expiry` is this worker's own.
    pub(super) fn new(expiry: Duration) -> Self {
        let (rows, seen, watch) = (BTreeMap::new(), BTreeMap::new(), CounterWatch::default());
        Self { expiry, rows, seen, watch, scanned: None }
    }

    /// Records a row. Returns the worker that it proves dead.
    pub(super) fn saw(&mut self, row: Lease, now: Moment) -> Option<WorkerId> {
        self.watch.observe(&row, self.expiry, now);
        let Some(known) = self.rows.get_mut(&row.key) else {
            self.seen.insert(row.key.clone(), now);
            self.rows.insert(row.key.clone(), row);
            return None;
        };
        if let Some(seen) = self.seen.get_mut(&row.key) {
            *seen = now;
        }
        let dead = expiry::taken_from(known, &row).cloned();
        *known = row;
        dead
    }

    /// Forgets the rows that were not seen since a complete scan began: they are gone.
    pub(super) fn scan_ended(&mut self, began: Moment) {
        self.scanned = Some(began);
        let gone: Vec<_> = self.seen.extract_if(.., |_, seen| *seen < began).collect();
        for (key, _) in gone {
            self.rows.remove(&key);
            self.watch.forget(&key);
        }
    }

    /// Forgets a row that is gone, or whose content is unknown.
    pub(super) fn forget(&mut self, key: &LeaseKey) {
        self.rows.remove(key);
        self.seen.remove(key);
        self.watch.forget(key);
    }

    /// Forgets for how long each row has stood still.
    pub(super) fn start_over(&mut self) {
        self.watch.start_over();
    }

    /// All rows.
    pub(super) const fn all(&self) -> &BTreeMap<LeaseKey, Lease> {
        &self.rows
    }

    /// Whether the lease is expired, which proves its holder dead.
    pub(super) fn is_expired(&self, lease: &Lease, now: Moment) -> bool {
        self.scanned.is_some_and(|scanned| self.watch.is_proven_expired(lease, scanned, now))
    }

    /// How long the lease has been silent if it is expired, or `None` if it is not.
    pub(super) fn expired_for(&self, lease: &Lease, now: Moment) -> Option<Duration> {
        let silent_for = self.watch.silent_for(&lease.key, now);
        silent_for.filter(|_| self.is_expired(lease, now))
    }

    /// When the next silent lease expires.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.watch.next_expiry(now)
    }
}
