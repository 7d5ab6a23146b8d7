//! The leases of the table as this worker last saw them, and which of them are expired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_proto::fleet::candidate::Forsaken;
use kcl_proto::lease::expiry::{self, CounterWatch};
use kcl_proto::model::{Lease, LeaseKey, Liveness, Moment, WorkerId};

/// For how long a row stays known that scans do not contain: an eventual scan may miss a row that
/// was written a moment ago.
const MISSED_FOR: Duration = Duration::from_secs(3);

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

    /// Records a row of an eventual scan, which may be stale: one with a smaller counter does not
    /// replace the known one before an expiry. Then it is another row of the same key. Returns the
    /// worker that the row proves dead.
    pub(super) fn saw_scanned(&mut self, row: Lease, now: Moment) -> Option<WorkerId> {
        if self.is_stale(&row, now)
            && let Some(seen) = self.seen.get_mut(&row.key)
        {
            *seen = now;
            return None;
        }
        self.saw(row, now)
    }

    /// Records a row that was written, or read consistently. Returns the worker that it proves
    /// dead.
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

    fn is_stale(&self, row: &Lease, now: Moment) -> bool {
        let is_older = self.rows.get(&row.key).is_some_and(|known| row.counter < known.counter);
        let known_for = self.watch.silent_for(&row.key, now);
        is_older && known_for.is_some_and(|known_for| known_for < self.expiry)
    }

    /// Notes that a complete scan ended. Forgets the rows that were not seen since it began, nor
    /// shortly before: they are gone.
    pub(super) fn scan_ended(&mut self, began: Moment) {
        self.scanned = Some(began);
        let is_gone = |seen: Moment| seen + MISSED_FOR < began;
        let gone: Vec<_> = self.seen.extract_if(.., |_, seen| is_gone(*seen)).collect();
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

    /// What proves that the holder of the lease is dead, or `None` if nothing does. `dead` are the
    /// workers whose sessions are dead.
    pub(super) fn forsaken(
        &self,
        lease: &Lease,
        dead: &BTreeSet<WorkerId>,
        now: Moment,
    ) -> Option<Forsaken> {
        if !self.watch.is_forsaken(lease, dead, now) {
            return None;
        }
        if lease.holder().is_some_and(|holder| dead.contains(holder)) {
            return Some(Forsaken::HolderDead);
        }
        let scanned = self.scanned?;
        let is_proven = self.watch.is_proven_expired(lease, scanned, now);
        let silent_for = self.watch.silent_for(&lease.key, now).filter(|_| is_proven);
        silent_for.map(|silent_for| Forsaken::Silent { silent_for })
    }

    /// Whether the lease lives by its counter and has stood still for an expiry, and no scan proves
    /// it expired.
    pub(super) fn is_unproven(&self, key: &LeaseKey, now: Moment) -> bool {
        self.rows.get(key).is_some_and(|lease| {
            lease.lives_by() == Liveness::Counter
                && self.watch.is_expired(lease, now)
                && self.scanned.is_none_or(|at| !self.watch.is_proven_expired(lease, at, now))
        })
    }

    /// When the next silent lease expires.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.watch.next_expiry(now)
    }
}

#[cfg(test)]
mod tests {
    use kcl_proto::model::LeaseCounter;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(10);

    fn row(key: &str, counter: u64) -> Lease {
        let mut row = Lease::sample();
        (row.key, row.counter) = (key.into(), LeaseCounter(counter));
        row
    }

    fn counter(rows: &LeaseRows, key: &str) -> Option<u64> {
        rows.all().get(key).map(|row| row.counter.0)
    }

    #[test]
    fn stale_row_does_not_replace_a_newer_one() {
        let mut rows = LeaseRows::new(EXPIRY);
        rows.saw(row("a", 7), Moment::at_secs(1));
        rows.saw_scanned(row("a", 6), Moment::at_secs(2));
        assert_eq!(counter(&rows, "a"), Some(7));
        rows.scan_ended(Moment::at_secs(2));
        assert_eq!(counter(&rows, "a"), Some(7), "the row was seen, if in an older state");
        rows.saw(row("a", 0), Moment::at_secs(3));
        assert_eq!(counter(&rows, "a"), Some(0), "a lost write returned it");
    }

    #[test]
    fn row_that_was_made_anew_is_known_after_an_expiry() {
        let mut rows = LeaseRows::new(EXPIRY);
        rows.saw(row("a", 7), Moment::at_secs(1));
        rows.saw_scanned(row("a", 0), Moment::at_secs(10));
        assert_eq!(counter(&rows, "a"), Some(7));
        rows.saw_scanned(row("a", 0), Moment::at_secs(11));
        assert_eq!(counter(&rows, "a"), Some(0));
    }

    #[test]
    fn row_that_a_scan_did_not_contain_is_gone() {
        let mut rows = LeaseRows::new(EXPIRY);
        rows.saw(row("a", 1), Moment::at_secs(1));
        rows.saw(row("b", 1), Moment::at_secs(3));
        rows.scan_ended(Moment::at_secs(4));
        assert_eq!((counter(&rows, "a"), counter(&rows, "b")), (Some(1), Some(1)), "too recent");
        rows.scan_ended(Moment::at_secs(5));
        assert_eq!((counter(&rows, "a"), counter(&rows, "b")), (None, Some(1)));
    }
}
