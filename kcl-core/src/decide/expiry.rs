//! Which leases are expired: their counter was seen unchanged for a whole expiry, on this clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, Moment};

/// When each lease was first seen with the counter that it has now.
///
/// Give it the moment *after* the reply that a row came with: a row counts from when it is here.
#[derive(Clone, Debug, Default)]
pub struct CounterWatch {
    seen: BTreeMap<LeaseKey, Sighting>,
}

/// A row as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    counter: LeaseCounter,
    /// When it was first seen with this counter.
    first: Moment,
    /// How long it must stand still to be expired.
    expiry: Duration,
    /// Whether it can expire in a way that matters: it is owned, and its shard is not finished.
    is_awaited: bool,
}

impl Sighting {
    fn of(lease: &Lease, earlier: Option<&Self>, own_expiry: Duration, now: Moment) -> Self {
        let first = match earlier {
            Some(earlier) if earlier.counter == lease.counter => earlier.first,
            Some(_) | None => now,
        };
        let stated = lease.expiry.filter(|_| lease.is_ours()).unwrap_or_default();
        Self {
            counter: lease.counter,
            first,
            expiry: stated.max(own_expiry),
            is_awaited: lease.owner.is_some() && !lease.is_ended(),
        }
    }

    fn expires_at(self) -> Moment {
        self.first + self.expiry
    }
}

impl CounterWatch {
    /// Takes in a whole scan. Leases that are not in it are forgotten.
    pub fn observe_scan(&mut self, leases: &[Lease], own_expiry: Duration, now: Moment) {
        let earlier = std::mem::take(&mut self.seen);
        let sight = |lease: &Lease| {
            let sighting = Sighting::of(lease, earlier.get(&lease.key), own_expiry, now);
            (lease.key.clone(), sighting)
        };
        self.seen = leases.iter().map(sight).collect();
    }

    /// Takes in one row that was read on its own, or that a lost write returned.
    pub fn observe(&mut self, lease: &Lease, own_expiry: Duration, now: Moment) {
        let sighting = Sighting::of(lease, self.seen.get(&lease.key), own_expiry, now);
        self.seen.insert(lease.key.clone(), sighting);
    }

    /// For how long the lease's counter has stood still; none if the lease was never seen.
    #[must_use]
    pub fn silent_for(&self, key: &LeaseKey, now: Moment) -> Option<Duration> {
        self.seen.get(key).map(|sighting| now.since(sighting.first))
    }

    /// Whether the lease, as this row shows it, is expired.
    #[must_use]
    pub fn is_expired(&self, lease: &Lease, now: Moment) -> bool {
        lease.owner.is_some()
            && self.seen.get(&lease.key).is_some_and(|sighting| {
                sighting.counter == lease.counter && sighting.expires_at() <= now
            })
    }

    /// The next moment after `now` at which an owned lease of an unfinished shard will be expired,
    /// if it stays silent: when to plan again, without another scan.
    #[must_use]
    pub fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.seen
            .values()
            .filter(|sighting| sighting.is_awaited)
            .map(|sighting| sighting.expires_at())
            .filter(|at| *at > now)
            .min()
    }
}
