//! What this worker knows of the fleet, from its scans and from its own writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::balance::{self, BalancePlan, Fleet, Limits};
use kcl_proto::fleet::presence::PresenceWatch;
use kcl_proto::fleet::scan_interval;
use kcl_proto::lease::expiry::{self, CounterWatch};
use kcl_proto::model::{HashKeyRange, Lease, LeaseKey, Moment, Shard, WorkerId};
use kcl_proto::shards::cleanup::CleanupWatch;
use kcl_proto::shards::lineage;
use kcl_proto::shards::uncovered::HoleWatch;

use crate::lease_side::housekeeping::Litter;
use crate::lease_side::shared::Side;
use crate::lease_side::table_scan::Table;
use crate::report::event::Event;

/// For how many scans a worker whose beat stands still counts as present, where scans are rare.
const SCANS_PRESENT: u32 = 3;

/// What this worker itself has to do with which leases, as [`Fleet`] tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) held: &'a BTreeSet<LeaseKey>,
    pub(super) blocked: &'a BTreeSet<LeaseKey>,
    pub(super) refused: &'a BTreeSet<LeaseKey>,
    pub(super) asked: &'a BTreeSet<LeaseKey>,
}

/// What this worker knows of the fleet.
#[derive(Debug)]
pub(super) struct View {
    side: Arc<Side>,
    watch: CounterWatch,
    presence: PresenceWatch,
    leases: BTreeMap<LeaseKey, Lease>,
    listed: Option<Vec<Shard>>,
    finished: CleanupWatch,
    holes: HoleWatch,
    /// Leases that anybody could have taken at the last scan, and at the one before too.
    free: BTreeSet<LeaseKey>,
    leftover: BTreeSet<LeaseKey>,
    /// Workers of the same name that were told of.
    told: BTreeSet<WorkerId>,
    scan_units: f64,
    scan_every: Duration,
}

impl View {
    pub(super) fn new(side: Arc<Side>) -> Self {
        Self {
            side,
            watch: CounterWatch::default(),
            presence: PresenceWatch::default(),
            leases: BTreeMap::new(),
            listed: None,
            finished: CleanupWatch::default(),
            holes: HoleWatch::default(),
            free: BTreeSet::new(),
            leftover: BTreeSet::new(),
            told: BTreeSet::new(),
            scan_units: 1.0,
            scan_every: Duration::ZERO,
        }
    }

    /// Takes in a whole scan.
    pub(super) fn saw_table(&mut self, table: Table, now: Moment) {
        self.scan_units = table.read_units;
        self.watch.observe_scan(&table.leases, self.side.config.lease.expiry, now);
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
        if let Some(other) = self.presence.same_name(&self.side.me, window, now)
            && self.told.insert(other.clone())
        {
            self.side.events.emit(&Event::NameShared { other });
        }
    }

    /// Takes in one row that was read or written.
    pub(super) fn saw_row(&mut self, row: Lease, now: Moment) {
        self.watch.observe(&row, self.side.config.lease.expiry, now);
        self.leases.insert(row.key.clone(), row);
    }

    /// Takes in that a row is gone, or is known no more.
    pub(super) fn forget(&mut self, key: &LeaseKey) {
        self.leases.remove(key);
    }

    /// Takes in which shards the stream lists, and which hash keys have no lease.
    pub(super) fn saw_shards(&mut self, listed: Vec<Shard>, holes: &[HashKeyRange]) {
        self.listed = Some(listed);
        for range in self.holes.observe(holes) {
            self.side.events.emit(&Event::HashKeysUncovered { range });
        }
    }

    /// What nobody needs any more.
    pub(super) fn litter(&self, now: Moment) -> Litter {
        let window = self.presence_window();
        Litter { rested: self.finished.rested(now), gone: self.presence.long_gone(window, now) }
    }

    /// The row as it was last seen.
    pub(super) fn row(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases.get(key)
    }

    /// How many leases there are, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// When a worker's beat last moved, or later if it may stand still for longer than an expiry.
    pub(super) fn last_moved(&self, worker: &WorkerId) -> Option<Moment> {
        self.presence.last_moved(worker, self.side.config.lease.expiry, self.presence_window())
    }

    /// As [`last_moved`](Self::last_moved), of a worker that has just asked for a lease: it may be
    /// too new for any scan so far.
    pub(super) fn has_asked(&self, worker: &WorkerId, now: Moment) -> Option<Moment> {
        let grace = self.presence_window().saturating_sub(self.side.config.lease.expiry);
        self.last_moved(worker).max(Some(now + grace))
    }

    /// When the next silent lease will be expired.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.watch.next_expiry(now)
    }

    /// The workers that are there, this one included.
    pub(super) fn present(&mut self, now: Moment) -> BTreeSet<WorkerId> {
        let silenced = self
            .leases
            .values()
            .filter(|lease| self.watch.is_expired(lease, now))
            .filter_map(|lease| lease.holder().cloned())
            .collect();
        let window = self.presence_window();
        let mut present = self.presence.present(window, &silenced, now);
        present.insert(self.side.me.clone());
        present
    }

    /// The pause until the next scan.
    pub(super) fn scan_pause(&mut self, now: Moment) -> Duration {
        // Whoever shares the budget moves. Rows that crashed workers left must not make scans rare.
        let present = self.present(now);
        let sharing =
            |worker: &&WorkerId| **worker == self.side.me || self.presence.has_moved(worker);
        let workers = present.iter().filter(sharing).count();
        let budget = self.side.config.lease.scan_units;
        let chance = self.side.chance.draw();
        self.scan_every = scan_interval::pause(workers, self.scan_units, budget, chance);
        self.scan_every
    }

    /// What to take and what to ask for.
    pub(super) fn plan(
        &mut self,
        Own { held, blocked, refused, asked }: Own<'_>,
        now: Moment,
    ) -> BalancePlan {
        let present = self.present(now);
        let expired = self
            .leases
            .values()
            .filter(|lease| self.watch.is_expired(lease, now))
            .filter_map(|lease| Some((lease.key.clone(), self.watch.silent_for(&lease.key, now)?)))
            .collect();
        let fleet = Fleet {
            me: &self.side.me,
            leases: &self.leases,
            workable: &lineage::workable(&self.leases, self.listed.as_deref()),
            expired: &expired,
            present: &present,
            held,
            blocked,
            refused,
            asked,
            leftover: &self.leftover,
        };
        let limits = Limits {
            leases_max: self.side.config.lease.leases_max,
            hand_overs_max: self.side.config.lease.hand_overs_max,
        };
        balance::plan(&fleet, &limits)
    }

    /// How long a beat may stand still: where scans are rarer than an expiry, it is seen that rarely.
    fn presence_window(&self) -> Duration {
        self.side.config.lease.expiry.max(self.scan_every * SCANS_PRESENT)
    }
}
