//! What this worker knows about the fleet, from its scans and its own writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::assignments::{Assignments, Survey};
use kcl_proto::fleet::balance::{self, BalancePlan, Fleet, Limits};
use kcl_proto::fleet::candidate::{Candidate, CandidateState, Forsaken, Part};
use kcl_proto::fleet::lookout::{Line, Role, Standing};
use kcl_proto::fleet::presence::PresenceWatch;
use kcl_proto::fleet::scan_interval::{self, ScanCost, ScanPauses};
use kcl_proto::fleet::sessions::{self, Named, SessionWatch};
use kcl_proto::fleet::workers::Workers;
use kcl_proto::model::{
    HashKeyRange, Lease, LeaseKey, Liveness, Moment, Session, SessionProgress, Shard, WorkerId,
};
use kcl_proto::shards::cleanup::CleanupWatch;
use kcl_proto::shards::lineage;
use kcl_proto::shards::uncovered::HoleWatch;

use crate::lease_side::housekeeping::Known;
use crate::lease_side::lease_rows::LeaseRows;
use crate::lease_side::own_leases::OwnLeases;
use crate::lease_side::reported_workers::ReportedWorkers;
use crate::lease_side::shared::Shared;
use crate::lease_side::table_scan::Scanned;
use crate::lease_side::takes::Floor;
use crate::report::event::Event;

/// For how many scans a worker counts as present while its heartbeat stands still, where scans are
/// rare.
const SCANS_PRESENT: u32 = 3;

/// What this worker knows about the fleet.
#[derive(Debug)]
pub(super) struct FleetView {
    shared: Arc<Shared>,
    leases: LeaseRows,
    presence: PresenceWatch,
    sessions: SessionWatch,
    listed: Option<Vec<Shard>>,
    finished: CleanupWatch,
    uncovered: HoleWatch,
    /// Leases that were free at the last scan, and those that were free at the one before too.
    free: BTreeSet<LeaseKey>,
    leftover: BTreeSet<LeaseKey>,
    reported: ReportedWorkers,
    /// The workers that were present at the last scan.
    company: BTreeSet<WorkerId>,
    pauses: ScanPauses,
    /// When the last scan began, or this worker.
    scanned: Moment,
    /// What the last scan cost, in read units, and how long it took.
    scan_cost: f64,
    scan_time: Duration,
    is_scan_rare: bool,
    role: Role,
}

impl FleetView {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let scanned = shared.clock.now();
        Self {
            leases: LeaseRows::new(shared.config.lease.expiry),
            presence: PresenceWatch::default(),
            sessions: SessionWatch::new(
                shared.me.clone(),
                shared.config.lease.expiry,
                ScanPauses::SHORTEST.at_rest,
            ),
            shared,
            listed: None,
            finished: CleanupWatch::default(),
            uncovered: HoleWatch::default(),
            free: BTreeSet::new(),
            leftover: BTreeSet::new(),
            reported: ReportedWorkers::default(),
            company: BTreeSet::new(),
            pauses: ScanPauses::SHORTEST,
            scanned,
            scan_cost: 0.0,
            scan_time: Duration::ZERO,
            is_scan_rare: false,
            role: Role::Scans,
        }
    }

    /// Whether this worker knows all leases, or will soon: lookouts may know them in its place.
    pub(super) fn is_known(&self) -> bool {
        self.role != Role::Follows
    }

    /// Sets what this worker does to learn about the fleet.
    pub(super) fn set_role(&mut self, role: Role) {
        self.role = role;
        if role != Role::Scans {
            // What a follower has seen of sessions is old, and must not count as their silence.
            self.sessions.look_every(ScanPauses::SHORTEST.at_rest);
        }
    }

    /// Records rows that were read some time ago: newer ones may be known.
    pub(super) fn saw_page(&mut self, leases: Vec<Lease>, now: Moment) {
        for lease in leases {
            let dead = self.leases.saw_scanned(lease, now);
            self.presence.dead_for_others(&dead);
        }
    }

    /// Records the end of a scan. Leases that it did not contain are gone. Returns whether workers
    /// came or went since the scan before, or are leaving now.
    pub(super) fn saw_table(&mut self, scan: &Scanned, now: Moment) -> bool {
        self.leases.scan_ended(scan.began);
        self.scanned = scan.began;
        self.scan_time = now.since(scan.began);
        let alive = scan.sessions.iter().filter(|session| session.dead.is_none());
        let presence: Vec<_> = alive.map(Session::presence).collect();
        self.presence.observe_scan(&presence, now);
        let named = self.named();
        self.sessions.observe(&scan.sessions, &named, false, now);
        if !named.is_empty() {
            self.reported.outdated(&scan.sessions, &self.shared.events);
        }
        self.finished.observe_scan(self.leases.all().values(), now);
        let dead = self.sessions.dead();
        let free: BTreeSet<_> = self
            .leases
            .all()
            .values()
            .filter(|lease| !lease.is_ended())
            .filter(|lease| {
                lease.owner.is_none() || self.leases.forsaken(lease, &dead, now).is_some()
            })
            .map(|lease| lease.key.clone())
            .collect();
        self.leftover = self.free.intersection(&free).cloned().collect();
        self.free = free;
        let window = self.presence_window();
        if let Some(other) = self.presence.same_name(&self.shared.me, window, now) {
            self.reported.same_name(other, &self.shared.events);
        }
        let present = self.present(now);
        self.scan_cost = scan.read_units;
        let is_changed = present != self.company;
        self.company = present;
        is_changed || self.presence.is_one_leaving(window, now)
    }

    /// Records rows that were read one by one. A poll is a look at all sessions that are due.
    pub(super) fn saw_sessions(&mut self, rows: &[Session], is_poll: bool, now: Moment) {
        for row in rows.iter().filter(|row| row.dead.is_none()) {
            self.presence.see(&row.presence(), now);
        }
        if is_poll {
            self.sessions.poll(rows, now);
        } else {
            rows.iter().for_each(|row| self.sessions.see(row, now));
        }
    }

    /// The first worker in line but this one, as of the last [`standing`](Self::standing).
    pub(super) fn first_other(&self) -> Option<&WorkerId> {
        self.company.iter().find(|worker| !self.is_me(worker))
    }

    /// Where this worker stands: among those that are present, or that were at the last scan if it
    /// does not look at all sessions since.
    pub(super) fn standing(&mut self, now: Moment) -> Standing {
        if self.role.looks() {
            self.company = self.present(now);
        }
        let (me, present) = (&self.shared.me, &self.company);
        let lease = &self.shared.config.lease;
        let is_session = lease.lookouts && lease.liveness == Liveness::Session;
        let mut others = present.iter().filter(|worker| *worker != me);
        let has_sessions = is_session && others.all(|worker| self.sessions.is_live(worker));
        Line { me, present, has_sessions, scan_units: self.scan_cost }.standing()
    }

    /// The other workers that have sessions which nobody condemned.
    pub(super) fn live_sessions(&self) -> BTreeSet<WorkerId> {
        self.sessions.live()
    }

    /// Assigns the leases that are to move to the workers of the last [`standing`](Self::standing).
    pub(super) fn assign(&self, assignments: &mut Assignments, now: Moment) {
        let (present, dead) = (&self.company, self.sessions.dead());
        let leaving = self.presence.leaving(self.presence_window(), now);
        let leases: Vec<_> = lineage::workable(self.rows(), self.listed.as_deref()).collect();
        let forsaken = leases
            .iter()
            .filter(|lease| self.leases.forsaken(lease, &dead, now).is_some())
            .map(|lease| lease.key.clone())
            .collect();
        self.shared.clock.planned(leases.len());
        let survey = Survey { leases: &leases, forsaken: &forsaken, present, leaving: &leaving };
        assignments.plan(&survey, self.scanned, now);
    }

    /// Sets the pauses between scans by what the last one cost, and by who shares the budget.
    pub(super) fn plan_scans(&mut self) {
        let lease = &self.shared.config.lease;
        let (budget, expiry) = (lease.scan_units, lease.expiry);
        let workers = self.role.scanners(self.company.len());
        let cost = ScanCost { workers, units: self.scan_cost, budget, expiry };
        let affordable = cost.pauses(self.shared.chance.draw());
        let scans = self.role == Role::Scans;
        if scans {
            self.sessions.look_every(affordable.at_rest + self.scan_time);
        }
        self.pauses = self.role.scan_pauses(affordable);
        let is_rare = scans && scan_interval::is_too_rare(self.pauses.at_rest, expiry);
        if is_rare && !self.is_scan_rare {
            let (period, needed) = (self.pauses.at_rest, cost.budget_for(expiry / 2));
            self.shared.events.emit(&Event::ScansRare { period, budget, needed });
        }
        self.is_scan_rare = is_rare;
    }

    /// Whether the last scan is outdated, because so many takes were lost since.
    pub(super) fn is_outdated(&self, takes_lost: usize) -> bool {
        scan_interval::is_outdated(self.scan_cost, takes_lost)
    }

    /// How long to wait after the last scan.
    pub(super) const fn scan_pauses(&self) -> ScanPauses {
        self.pauses
    }

    /// Records a row that was read or written. Returns the worker that it proves dead.
    pub(super) fn saw_row(&mut self, row: Lease, now: Moment) -> Option<WorkerId> {
        let dead = self.leases.saw(row, now);
        self.presence.dead_for_others(&dead);
        dead
    }

    /// Records a row that this worker has taken. Returns the former holder if it is dead and has a
    /// row to be removed, with the heartbeat of that row.
    pub(super) fn saw_taken(&mut self, row: Lease, now: Moment) -> Option<(WorkerId, u64)> {
        // A session stays until no lease names its worker.
        let dead = self.saw_row(row, now).filter(|dead| self.sessions.frozen(dead).is_none())?;
        let beat = self.presence.remove(&dead)?;
        Some((dead, beat))
    }

    /// Records the row of a worker's session, or that it has none.
    pub(super) fn saw_session(&mut self, worker: &WorkerId, row: Option<&Session>, now: Moment) {
        match row {
            Some(row) => self.sessions.see(row, now),
            None => {
                let said = self.named().get(worker).copied().unwrap_or_default();
                self.sessions.miss(worker, said, now);
            }
        }
    }

    /// Records that the session of a worker may be gone.
    pub(super) fn doubt(&mut self, worker: &WorkerId) {
        self.sessions.doubt(worker);
    }

    /// Records that the rows of these dead workers were deleted.
    pub(super) fn buried(&mut self, workers: &[WorkerId]) {
        workers.iter().for_each(|worker| self.sessions.buried(worker));
    }

    /// The workers whose sessions leases live by.
    fn named(&self) -> Named {
        sessions::named(self.rows().values())
    }

    /// The workers that leases name as their holders, whatever keeps these leases. One that was
    /// handed over to a silent worker waits for it, too.
    fn holders(&self) -> BTreeSet<WorkerId> {
        let leases = self.rows().values().filter(|lease| !lease.is_ended());
        let holders: BTreeSet<_> = leases.filter_map(Lease::holder).collect();
        holders.into_iter().cloned().collect()
    }

    /// The workers to condemn, each with its heartbeat as it was sighted: those that leases name,
    /// and those whose rows have stood still for long.
    pub(super) fn silent(&self, now: Moment) -> Vec<(WorkerId, u64)> {
        let mut silent = self.sessions.silent(now);
        if !silent.is_empty() {
            let mut due = self.holders();
            due.extend(self.presence.long_gone(self.presence_window(), now));
            silent.retain(|(worker, _)| due.contains(worker));
        }
        silent
    }

    /// The workers that leases name and whose rows no scan has shown.
    pub(super) fn unknown_holders(&self) -> Vec<WorkerId> {
        self.named().into_keys().filter(|worker| !self.sessions.knows(worker)).collect()
    }

    /// Whether this is the worker's own id.
    pub(super) fn is_me(&self, worker: &WorkerId) -> bool {
        *worker == self.shared.me
    }

    /// The final progress of a dead worker, or `None` if it is not known to be dead.
    pub(super) fn frozen(&self, worker: &WorkerId) -> Option<&SessionProgress> {
        self.sessions.frozen(worker)
    }

    /// The leases that name this worker as a holder that lives by its session.
    pub(super) fn naming_me(&self) -> impl Iterator<Item = &Lease> {
        self.rows().values().filter(|row| row.session_holder() == Some(&self.shared.me))
    }

    /// Drops a row that is gone, or whose content is unknown.
    pub(super) fn forget(&mut self, key: &LeaseKey) {
        self.leases.forget(key);
    }

    /// Forgets for how long rows have stood still: this worker could not write, and perhaps no
    /// other could.
    pub(super) fn start_over(&mut self) {
        self.leases.start_over();
    }

    /// Replaces the list of shards, and notes which hash keys have no lease.
    pub(super) fn saw_shards(&mut self, mut listed: Vec<Shard>, uncovered: &[HashKeyRange]) {
        listed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        self.listed = Some(listed);
        for range in self.uncovered.observe(uncovered) {
            self.shared.events.emit(&Event::HashKeysUncovered { range });
        }
    }

    /// All leases, and the rows that the fleet no longer needs.
    pub(super) fn known(&self, now: Moment) -> Known {
        let named = self.holders();
        let long_gone = self.presence.long_gone(self.presence_window(), now).into_iter();
        let long_gone = long_gone.filter(|worker| !self.is_me(worker));
        Known {
            leases: self.rows().clone(),
            finished: self.finished.deletable_at(now),
            workers: long_gone.filter(|worker| !self.sessions.is_live(worker)).collect(),
            dead: self.sessions.dead().difference(&named).cloned().collect(),
        }
    }

    /// The row as it was last seen.
    pub(super) fn row(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases.all().get(key)
    }

    /// All rows.
    pub(super) const fn rows(&self) -> &BTreeMap<LeaseKey, Lease> {
        self.leases.all()
    }

    /// What the counter of a take of the lease must exceed.
    pub(super) fn floor(&self, key: &LeaseKey) -> Floor {
        let Some(row) = self.row(key) else { return Floor::default() };
        // The list of a worker that follows is old: a parent that it lacks may have a lease.
        let listed = self.listed.as_deref().filter(|_| self.role != Role::Follows);
        Floor {
            counter: lineage::counter_floor(row, self.rows()),
            unproven: lineage::unproven_parents(row, self.rows(), listed),
        }
    }

    /// Whether the lease has stood still for an expiry, and no scan since proves it expired.
    pub(super) fn is_unproven(&self, key: &LeaseKey, now: Moment) -> bool {
        self.leases.is_unproven(key, now)
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

    /// When the next silent lease expires, or the next silent worker is to be condemned.
    pub(super) fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.leases.next_expiry(now).into_iter().chain(self.sessions.next_silence(now)).min()
    }

    /// The workers that are present, this one included.
    pub(super) fn present(&mut self, now: Moment) -> BTreeSet<WorkerId> {
        let dead = self.sessions.dead();
        let silenced = self
            .leases
            .all()
            .values()
            .filter(|lease| self.leases.forsaken(lease, &dead, now).is_some())
            .filter_map(|lease| lease.holder().cloned())
            .collect();
        let window = self.presence_window();
        let mut present = self.presence.present(window, &silenced, now);
        present.insert(self.shared.me.clone());
        present
    }

    /// The workers that were present at the last scan, this one included.
    pub(super) const fn company(&self) -> &BTreeSet<WorkerId> {
        &self.company
    }

    /// Plans what to take and what to ask for: what lookouts have `assigned`, or by itself. A worker
    /// that is led considers only the leases that concern it.
    pub(super) fn plan(
        &mut self,
        own: OwnLeases<'_>,
        assigned: Option<&BTreeSet<LeaseKey>>,
        now: Moment,
    ) -> BalancePlan {
        let present = self.present(now);
        let dead = self.sessions.dead();
        let concerns_me = |lease: &&Lease| {
            assigned.is_none_or(|assigned| assigned.contains(&lease.key))
                || lease.owner.as_ref() == Some(&self.shared.me)
                || own.part(&lease.key) != Part::None
        };
        let candidates: Vec<_> = lineage::workable(self.rows(), self.listed.as_deref())
            .filter(concerns_me)
            .map(|lease| {
                let forsaken = self.leases.forsaken(lease, &dead, now);
                let mut state = self.state(lease, own, forsaken);
                // The worker that it was handed over to is gone.
                state.is_leftover |= assigned.is_some_and(|keys| keys.contains(&lease.key));
                Candidate { lease, state }
            })
            .collect();
        let fleet = Fleet {
            workers: Workers { me: &self.shared.me, present: &present },
            candidates: &candidates,
            held: own.held.union(own.taking).count(),
            requests: own.asked.len(),
        };
        let limits = Limits {
            leases_max: self.shared.config.lease.leases_max,
            requests_max: self.shared.config.lease.handovers_max,
        };
        self.shared.clock.planned(candidates.len());
        match assigned {
            Some(assigned) => balance::follow(&fleet, &limits, assigned),
            None => balance::plan(&fleet, &limits),
        }
    }

    /// Returns what this worker knows about a lease beyond its row.
    fn state(
        &self,
        lease: &Lease,
        own: OwnLeases<'_>,
        forsaken: Option<Forsaken>,
    ) -> CandidateState {
        let (part, restriction) = (own.part(&lease.key), own.restriction(&lease.key));
        let is_leftover = self.leftover.contains(&lease.key);
        CandidateState { part, restriction, forsaken, is_leftover }
    }

    /// How long the heartbeat of a present worker may stand still. Where scans are rarer than an
    /// expiry, or take longer, its movement is seen as rarely.
    fn presence_window(&self) -> Duration {
        let expiry = self.shared.config.lease.expiry;
        match self.role {
            Role::Scans => expiry.max((self.pauses.at_rest + self.scan_time) * SCANS_PRESENT),
            Role::Looks { .. } | Role::Follows => expiry,
        }
    }
}
