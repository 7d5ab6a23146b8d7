//! Which leases are expired: this worker saw their counters unchanged for a whole expiry, by its
//! own clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, Liveness, Moment, WorkerId, WriteStamp};

/// Remembers when each lease was first seen with its current counter.
///
/// Pass the moment *after* the reply that contained a row: a row counts from its arrival.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct CounterWatch {
    seen: BTreeMap<LeaseKey, Sighting>,
}

/// A row as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sighting {
    counter: LeaseCounter,
    /// The write that set the counter. It differs if the row was deleted by hand and created again.
    written: Option<WriteStamp>,
    /// When the row was first seen with this counter.
    first: Moment,
    /// How long the counter must stand still for the lease to expire.
    expiry: Duration,
    /// Whether a worker must move the counter.
    is_awaited: bool,
}

impl Sighting {
    fn of(lease: &Lease, earlier: Option<&Self>, own_expiry: Duration, now: Moment) -> Self {
        let first = match earlier {
            Some(earlier) if earlier.matches(lease) => earlier.first,
            Some(_) | None => now,
        };
        let stated = lease.expiry.filter(|_| lease.is_ours()).unwrap_or_default();
        Self {
            counter: lease.counter,
            written: lease.last_write.clone(),
            first,
            expiry: stated.max(own_expiry),
            is_awaited: is_awaited(lease) && lease.lives_by() == Liveness::Counter,
        }
    }

    fn matches(&self, lease: &Lease) -> bool {
        self.counter == lease.counter && self.written == lease.last_write
    }

    fn expires_at(&self) -> Moment {
        self.first + self.expiry
    }
}

impl CounterWatch {
    /// Records a row that a scan or a read contained, or that a lost write returned.
    pub fn observe(&mut self, lease: &Lease, own_expiry: Duration, now: Moment) {
        match self.seen.get_mut(&lease.key) {
            Some(earlier) => *earlier = Sighting::of(lease, Some(earlier), own_expiry, now),
            None => {
                let sighting = Sighting::of(lease, None, own_expiry, now);
                self.seen.insert(lease.key.clone(), sighting);
            }
        }
    }

    /// Forgets a lease whose row is gone.
    pub fn forget(&mut self, key: &LeaseKey) {
        self.seen.remove(key);
    }

    /// Forgets every row: each counts as first seen when it is seen next.
    pub fn start_over(&mut self) {
        self.seen.clear();
    }

    /// Returns how long the lease's counter has stood still, or `None` if the lease was never seen.
    #[must_use]
    pub fn silent_for(&self, key: &LeaseKey, now: Moment) -> Option<Duration> {
        self.seen.get(key).map(|sighting| now.since(sighting.first))
    }

    /// Whether the lease with this row is expired, which means that its holder is dead.
    ///
    /// No worker renews the lease of a finished shard, although its row keeps the last owner: that
    /// worker may be alive.
    #[must_use]
    pub fn is_expired(&self, lease: &Lease, now: Moment) -> bool {
        is_awaited(lease)
            && self
                .seen
                .get(&lease.key)
                .is_some_and(|sighting| sighting.matches(lease) && sighting.expires_at() <= now)
    }

    /// Whether the holder of the lease with this row is dead, by what proves it alive: the lease's
    /// counter, or the session of its holder. `dead` are the workers whose sessions
    /// [are dead](crate::fleet::sessions::SessionWatch::dead).
    ///
    /// Nobody holds a lease that arrived at its next owner and was not taken yet. So it lives by
    /// its counter, and is free at once if that worker is dead.
    #[must_use]
    pub fn is_forsaken(&self, lease: &Lease, dead: &BTreeSet<WorkerId>, now: Moment) -> bool {
        let is_holder_dead = lease.holder().is_some_and(|holder| dead.contains(holder));
        match lease.lives_by() {
            Liveness::Session => is_awaited(lease) && is_holder_dead,
            Liveness::Counter => {
                self.is_expired(lease, now)
                    || (is_awaited(lease) && has_arrived(lease) && is_holder_dead)
            }
        }
    }

    /// Whether the lease is [expired](Self::is_expired), and the scan that began at `scanned` still
    /// saw the same counter after half of the expiry, when a live holder has renewed the lease.
    ///
    /// Where scans are rarer than expiries, a row that stood still since the last scan proves
    /// nothing: no one has looked since.
    #[must_use]
    pub fn is_proven_expired(&self, lease: &Lease, scanned: Moment, now: Moment) -> bool {
        self.is_expired(lease, now)
            && self
                .seen
                .get(&lease.key)
                .is_some_and(|sighting| scanned.since(sighting.first) >= sighting.expiry / 2)
    }

    /// Returns the next moment after `now` at which an owned lease of an unfinished shard expires
    /// if its counter stands still: when to plan again without another scan.
    #[must_use]
    pub fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.seen
            .values()
            .filter(|sighting| sighting.is_awaited)
            .map(Sighting::expires_at)
            .filter(|at| *at > now)
            .min()
    }
}

/// Whether a worker must renew the lease: it is owned, and its shard is not finished.
const fn is_awaited(lease: &Lease) -> bool {
    lease.owner.is_some() && !lease.is_ended()
}

/// Whether the lease was handed to its owner, which did not take it yet.
fn has_arrived(lease: &Lease) -> bool {
    let writer = lease.last_write.as_ref().map(|stamp| &stamp.worker);
    lease.is_ours() && lease.checkpoint_owner.is_none() && writer != lease.owner.as_ref()
}

/// Returns the former holder if two looks at a row prove that the lease was taken from it because
/// it had expired, or `None` otherwise.
///
/// A lease moves from a live holder to another worker only after a write of that holder. So a take
/// right after the counter of another holder proves that this one is dead, even to a worker that
/// did not watch the lease expire.
#[must_use]
pub fn taken_from<'a>(before: &'a Lease, after: &Lease) -> Option<&'a WorkerId> {
    let former = before.holder()?;
    let taker =
        after.owner.as_ref().filter(|_| after.checkpoint_owner.is_none() && after.is_ours());
    let writer = after.last_write.as_ref().map(|stamp| &stamp.worker);
    let is_taken = after.counter == before.counter.next() && taker == writer;
    (is_taken && taker.is_some_and(|taker| taker != former)).then_some(former)
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
