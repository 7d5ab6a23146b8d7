//! Jobs that are begun once for each scan at most, so that one that fails is not repeated at once.

use std::collections::BTreeSet;

/// What is being tried, and what has been tried since the last scan ended.
#[derive(Debug)]
pub(super) struct Attempts<K> {
    /// How many are in flight at most.
    max: usize,
    in_flight: BTreeSet<K>,
    tried: BTreeSet<K>,
}

impl<K: Clone + Ord> Attempts<K> {
    /// Nothing was tried yet. At most `max` are in flight.
    pub(super) const fn new(max: usize) -> Self {
        Self { max, in_flight: BTreeSet::new(), tried: BTreeSet::new() }
    }

    /// Begins a job, unless it is in flight or was tried, or there is no room. Returns whether it
    /// begins.
    pub(super) fn begin(&mut self, key: &K) -> bool {
        self.in_flight.len() < self.max
            && !self.in_flight.contains(key)
            && self.tried.insert(key.clone())
            && self.in_flight.insert(key.clone())
    }

    /// Notes that a job has ended.
    pub(super) fn ended(&mut self, key: &K) {
        self.in_flight.remove(key);
    }

    /// Notes that a scan has ended: everything may be tried again.
    pub(super) fn scan_ended(&mut self) {
        self.tried.clear();
    }

    /// What is in flight.
    pub(super) const fn in_flight(&self) -> &BTreeSet<K> {
        &self.in_flight
    }

    /// Whether nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_that_failed_waits_for_the_next_scan() {
        let mut attempts = Attempts::new(2);
        assert!(attempts.begin(&1));
        assert!(!attempts.begin(&1), "it is in flight");
        attempts.scan_ended();
        assert!(!attempts.begin(&1), "it still is");
        assert_eq!(attempts.in_flight(), &BTreeSet::from([1]));
        attempts.ended(&1);
        assert!(attempts.is_empty() && attempts.begin(&1) && attempts.begin(&2));
        assert!(!attempts.begin(&3), "there is no room");
        attempts.ended(&1);
        assert!(!attempts.begin(&1), "it was tried since the scan");
        assert!(attempts.begin(&3));
    }
}
