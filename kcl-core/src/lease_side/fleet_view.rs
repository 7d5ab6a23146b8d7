//! What this worker knows about the fleet, from its scans and its own writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::balance::{self, BalancePlan, Fleet, Limits};
use kcl_proto::fleet::candidate::{Candidate, CandidateState, Part, Restriction};
use kcl_proto::fleet::presence::PresenceWatch;
use kcl_proto::fleet::scan_interval;
use kcl_proto::fleet::workers::Workers;
use kcl_proto::lease::expiry::{self, CounterWatch};
use kcl_proto::model::{HashKeyRange, Lease, LeaseKey, Moment, Shard, WorkerId};
use kcl_proto::shards::cleanup::CleanupWatch;
use kcl_proto::shards::lineage;
use kcl_proto::shards::uncovered::HoleWatch;

use crate::lease_side::housekeeping::Obsolete;
use crate::lease_side::shared::Shared;
use crate::lease_side::table_scan::Table;
use crate::report::event::Event;

/// For how many scans a worker counts as present while its heartbeat stands still, where scans are
/// rare.
const SCANS_PRESENT: u32 = 3;

/// The leases that concern this worker, as in [`Fleet`].
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnLeases<'a> {
    pub(super) held: &'a BTreeSet<LeaseKey>,
    pub(super) blocked: &'a BTreeSet<LeaseKey>,
    pub(super) refused: &'a BTreeSet<LeaseKey>,
    pub(super) asked: &'a BTreeSet<LeaseKey>,
}

/// What this worker knows about the fleet.
#[derive(Debug)]
pub(super) struct FleetView {
    shared: Arc<Shared>,
    watch: CounterWatch,
    presence: PresenceWatch,
    leases: BTreeMap<LeaseKey, Lease>,
    listed: Option<Vec<Shard>>,
    finished: CleanupWatch,
    uncovered: HoleWatch,
    /// Leases that were free at the last scan, and those that were free at the one before too.
    free: BTreeSet<LeaseKey>,
    leftover: BTreeSet<LeaseKey>,
    /// Live workers of the same name that were reported.
    same_names: BTreeSet<WorkerId>,
    scan_units: f64,
    scan_every: Duration,
}

impl FleetView {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            watch: CounterWatch::default(),
            presence: PresenceWatch::default(),
            leases: BTreeMap::new(),
            listed: None,
            finished: CleanupWatch::default(),
            uncovered: HoleWatch::default(),
            free: BTreeSet::new(),
            leftover: BTreeSet::new(),
            same_names: BTreeSet::new(),
            scan_units: 1.0,
            scan_every: Duration::ZERO,
        }
    }

    /// Replaces everything by a new scan.
    pub(super) fn saw_table(&mut self, table: Table, now: Moment) {
        self.scan_units = table.read_units;
        self.watch.observe_scan(&table.leases, self.shared.config.lease.expiry, now);
        self.presence.observe_scan(&table.presence, now);
        self.finished.observe_scan(&table.leases, now);
        let dead = table.leases.iter().filter_map(|lease| {
            let before = self.leases.get(&lease.key)?;
            expiry::taken_from(before, lease)
        });
        self.presence.dead_for_others(dead);
        self.leases = table.leases.into_iter().map(|lease| (lease.key.clone(), lease)).collect();
        let free: BTreeSet<_> = self
            .leases
            .values()
            .filter(|lease| !lease.is_ended())
            .filter(|lease| lease.owner.is_none() || self.watch.is_expired(lease, now))
            .map(|lease| lease.key.clone())
            .collect();
        self.leftover = self.free.intersection(&free).cloned().collect();
        self.free = free;
        let window = self.presence_window();
        if let Some(other) = self.presence.same_name(&self.shared.me, window, now)
            && self.same_names.insert(other.clone())
        {
            self.shared.events.emit(&Event::NameShared { other });
        }
    }

    /// Replaces one row that was read or written.
    pub(super) fn saw_row(&mut self, row: Lease, now: Moment) {
        self.watch.observe(&row, self.shared.config.lease.expiry, now);
        self.leases.insert(row.key.clone(), row);
    }

    /// Drops a row that is gone, or whose content is unknown.
    pub(super) fn forget(&mut self, key: &LeaseKey) {
        self.leases.remove(key);
    }

    /// Replaces the list of shards, and notes which hash keys have no lease.
    pub(super) fn saw_shards(&mut self, listed: Vec<Shard>, uncovered: &[HashKeyRange]) {
        self.listed = Some(listed);
        for range in self.uncovered.observe(uncovered) {
            self.shared.events.emit(&Event::HashKeysUncovered { range });
        }
    }

    /// The rows that the fleet no longer needs.
    pub(super) fn obsolete(&self, now: Moment) -> Obsolete {
        let workers = self.presence.long_gone(self.presence_window(), now);
        Obsolete { leases: self.finished.deletable_at(now), workers }
    }

    /// The row as it was last seen.
    pub(super) fn row(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases.get(key)
    }

    /// How many leases there are, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// When a worker's heartbeat last moved, or later if it may stand still for longer than an
    /// expiry.
    pub(super) fn last_moved(&self, worker: &WorkerId) -> Option<Moment> {
        self.presence.last_moved(worker, self.shared.config.lease.expiry, self.presence_window())
    }

    /// Like [`last_moved`](Self::last_moved), for a worker that has just asked for a lease: no scan
    /// may have shown it yet.
    pub(super) fn has_asked(&self, worker: &WorkerId, now: Moment) -> Option<Moment> {
        let grace = self.presence_window().saturating_sub(self.shared.config.lease.expiry);
        self.last_moved(worker).max(Some(now + grace))
    }

    /// When the next silent lease expires.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.watch.next_expiry(now)
    }

    /// The workers that are present, this one included.
    pub(super) fn present(&mut self, now: Moment) -> BTreeSet<WorkerId> {
        let silenced = self
            .leases
            .values()
            .filter(|lease| self.watch.is_expired(lease, now))
            .filter_map(|lease| lease.holder().cloned())
            .collect();
        let window = self.presence_window();
        let mut present = self.presence.present(window, &silenced, now);
        present.insert(self.shared.me.clone());
        present
    }

    /// The pause until the next scan.
    pub(super) fn scan_pause(&mut self, now: Moment) -> Duration {
        // Only workers whose heartbeat moves share the scan budget: rows left by crashed workers
        // must not slow scans down.
        let present = self.present(now);
        let sharing =
            |worker: &&WorkerId| **worker == self.shared.me || self.presence.has_moved(worker);
        let workers = present.iter().filter(sharing).count();
        let budget = self.shared.config.lease.scan_units;
        let chance = self.shared.chance.draw();
        self.scan_every = scan_interval::pause(workers, self.scan_units, budget, chance);
        self.scan_every
    }

    /// Plans what to take and what to ask for.
    pub(super) fn plan(&mut self, own: OwnLeases<'_>, now: Moment) -> BalancePlan {
        let present = self.present(now);
        let workable = lineage::workable(&self.leases, self.listed.as_deref());
        let candidates: Vec<_> = workable
            .iter()
            .filter_map(|key| self.leases.get(key))
            .map(|lease| Candidate { lease, state: self.state(lease, own, now) })
            .collect();
        let fleet = Fleet {
            workers: Workers { me: &self.shared.me, present: &present },
            candidates: &candidates,
            held: own.held.len(),
            requests: own.asked.len(),
        };
        let limits = Limits {
            leases_max: self.shared.config.lease.leases_max,
            requests_max: self.shared.config.lease.handovers_max,
        };
        self.shared.clock.planned(candidates.len());
        balance::plan(&fleet, &limits)
    }

    /// Returns what this worker knows about a lease beyond its row.
    fn state(&self, lease: &Lease, own: OwnLeases<'_>, now: Moment) -> CandidateState {
        let key = &lease.key;
        let part = if own.held.contains(key) {
            Part::Holds
        } else if own.asked.contains(key) {
            Part::Requests
        } else {
            Part::None
        };
        let restriction = if own.blocked.contains(key) {
            Restriction::TakeAndAsk
        } else if own.refused.contains(key) {
            Restriction::Ask
        } else {
            Restriction::None
        };
        let is_expired = self.watch.is_expired(lease, now);
        CandidateState {
            part,
            restriction,
            silent_for: self.watch.silent_for(key, now).filter(|_| is_expired),
            is_leftover: self.leftover.contains(key),
        }
    }

    /// How long the heartbeat of a present worker may stand still. Where scans are rarer than an
    /// expiry, its movement is seen as rarely.
    fn presence_window(&self) -> Duration {
        self.shared.config.lease.expiry.max(self.scan_every * SCANS_PRESENT)
    }
}
