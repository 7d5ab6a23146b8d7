//! Jobs that are begun once for each scan at most, so that one that fails is not repeated at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_proto::model::Moment;

/// How long after its beginning a job may be begun again without a scan: where lookouts scan, the
/// other workers do not.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is being tried, and what has been tried since the last scan ended.
#[derive(Debug)]
pub(super) struct Attempts<K> {
    /// How many are in flight at most.
    max: usize,
    in_flight: BTreeSet<K>,
    /// When each job was begun.
    tried: BTreeMap<K, Moment>,
}

impl<K: Clone + Ord> Attempts<K> {
    /// Nothing was tried yet. At most `max` are in flight.
    pub(super) const fn new(max: usize) -> Self {
        Self { max, in_flight: BTreeSet::new(), tried: BTreeMap::new() }
    }

    /// Begins a job, unless it is in flight or was tried lately, or there is no room. Returns
    /// whether it begins.
    pub(super) fn begin(&mut self, key: &K, now: Moment) -> bool {
        let is_due = self.tried.get(key).is_none_or(|at| now.since(*at) >= AGAIN_AFTER);
        if !is_due || self.in_flight.len() >= self.max || !self.in_flight.insert(key.clone()) {
            return false;
        }
        self.tried.insert(key.clone(), now);
        true
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
        let (mut attempts, now) = (Attempts::new(2), Moment::at_secs(0));
        assert!(attempts.begin(&1, now));
        assert!(!attempts.begin(&1, now), "it is in flight");
        attempts.scan_ended();
        assert!(!attempts.begin(&1, now), "it still is");
        assert_eq!(attempts.in_flight(), &BTreeSet::from([1]));
        attempts.ended(&1);
        assert!(attempts.is_empty() && attempts.begin(&1, now) && attempts.begin(&2, now));
        assert!(!attempts.begin(&3, now), "there is no room");
        attempts.ended(&1);
        assert!(!attempts.begin(&1, now), "it was tried since the scan");
        assert!(attempts.begin(&3, now));
    }

    #[test]
    fn job_is_begun_again_where_no_scan_ends() {
        let mut attempts = Attempts::new(2);
        assert!(attempts.begin(&1, Moment::at_secs(0)));
        attempts.ended(&1);
        assert!(!attempts.begin(&1, Moment::at_secs(9)));
        assert!(attempts.begin(&1, Moment::at_secs(10)));
    }
}
