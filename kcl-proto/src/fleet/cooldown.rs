//! Leases that this worker leaves to others for some time.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{LeaseKey, Moment};

/// The leases that this worker does not take before a moment of its own clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cooldowns(BTreeMap<LeaseKey, Moment>);

impl Cooldowns {
    /// Leaves `key` to others until `until`.
    pub fn begin(&mut self, key: LeaseKey, until: Moment) {
        self.0.insert(key, until);
    }

    /// Returns the leases that are cooling down at `now`.
    #[must_use]
    pub fn keys(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let cooling = self.0.iter().filter(|(_, until)| **until > now);
        cooling.map(|(key, _)| key.clone()).collect()
    }

    /// Returns when the next cooldown ends, or `None` if no lease is cooling down.
    #[must_use]
    pub fn next_end(&self, now: Moment) -> Option<Moment> {
        self.0.values().copied().filter(|until| *until > now).min()
    }

    /// Removes cooldowns that have ended.
    pub fn prune(&mut self, now: Moment) {
        self.0.retain(|_, until| *until > now);
    }
}
