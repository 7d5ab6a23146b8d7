//! Which holders are alive: a heartbeat speaks for all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{LeaseKey, Moment};

/// How many calls a holder may miss.
const MISSED_MAX: u8 = 1;

/// The holders of a worker, and which of them answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Roll {
    missed: BTreeMap<LeaseKey, u8>,
    called_at: Option<Moment>,
}

impl Roll {
    /// Adds a holder, which is alive.
    pub(super) fn add(&mut self, key: LeaseKey) {
        self.missed.insert(key, 0);
    }

    pub(super) fn remove(&mut self, key: &LeaseKey) {
        self.missed.remove(key);
    }

    /// Records that a holder is alive, unless it was removed.
    pub(super) fn answers(&mut self, key: &LeaseKey) {
        if let Some(missed) = self.missed.get_mut(key) {
            *missed = 0;
        }
    }

    /// Calls the roll, at most once every `every`. Removes and returns the holders that missed too
    /// many calls.
    pub(super) fn call(&mut self, every: Duration, now: Moment) -> Vec<LeaseKey> {
        if self.called_at.is_some_and(|at| now < at + every) {
            return Vec::new();
        }
        self.called_at = Some(now);
        let is_stuck = |missed: u8| missed > MISSED_MAX;
        let stuck = self.missed.iter().filter(|(_, missed)| is_stuck(**missed));
        let stuck: Vec<_> = stuck.map(|(key, _)| key.clone()).collect();
        self.missed.retain(|_, missed| !is_stuck(*missed));
        self.missed.values_mut().for_each(|missed| *missed += 1);
        stuck
    }
}
