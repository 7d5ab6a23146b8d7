//! Leases that are left alone for a while.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{LeaseKey, Moment};

/// Leases that are left alone, and until when.
#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<LeaseKey, Moment>);

impl Rests {
    /// Leaves a lease alone until then.
    pub(super) fn begin(&mut self, key: LeaseKey, until: Moment) {
        self.0.insert(key, until);
    }

    /// Which are left alone now.
    pub(super) fn keys(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let resting = self.0.iter().filter(|(_, until)| **until > now);
        resting.map(|(key, _)| key.clone()).collect()
    }

    /// When the next of them is not left alone any more.
    pub(super) fn next_end(&self, now: Moment) -> Option<Moment> {
        self.0.values().copied().filter(|until| *until > now).min()
    }

    /// Forgets what is over.
    pub(super) fn prune(&mut self, now: Moment) {
        self.0.retain(|_, until| *until > now);
    }
}
