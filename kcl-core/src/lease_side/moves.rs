//! The leases that come to this worker and leave it: what it takes, asks for, holds and releases.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::FutureExt;
use kcl_proto::fleet::balance::Take;
use kcl_proto::lease::holding::Taken;
use kcl_proto::lease::notices::Notices;
use kcl_proto::lease::request::RequestEnd;
use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::model::{Lease, LeaseEnd, LeaseKey, Moment, TakeReason, WorkerId};
use tokio::sync::mpsc;

use crate::backend::LeaseStoreError;
use crate::lease_side::attempts::Attempts;
use crate::lease_side::handover_requests::HandoverRequests;
use crate::lease_side::held_leases::HeldLeases;
use crate::lease_side::inbox::{EndedLease, ToMainLoop};
use crate::lease_side::jobs::Jobs;
use crate::lease_side::known_rows::KnownRows;
use crate::lease_side::lease_calls::MOVES_MAX;
use crate::lease_side::own_leases::OwnLeases;
use crate::lease_side::shared::Shared;
use crate::lease_side::stream_facts::StreamFacts;
use crate::lease_side::takes::{TakeEnd, Takes};
use crate::lease_side::{presence, settlement};
use crate::messages::Grant;
use crate::report::event::{Event, HeldShard};
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::TaskEnd;

/// How a job of a move ended.
#[derive(Debug)]
pub(super) enum MoveEnd {
    Took(Take, TakeEnd),
    Asked(LeaseKey, RequestEnd),
    LetGo(LeaseKey, Result<Option<Box<Lease>>, LeaseStoreError>),
    Told { owner: WorkerId, keys: BTreeSet<LeaseKey>, is_sent: bool },
    RemovedDead,
}

impl MoveEnd {
    /// Whether a lease may name this worker although it does not hold it.
    pub(super) const fn is_unclear(&self) -> bool {
        matches!(self, Self::Took(_, TakeEnd::Unknown) | Self::LetGo(_, Err(_)))
    }
}

/// The leases that come to this worker and leave it.
#[derive(Debug)]
pub(super) struct Moves {
    shared: Arc<Shared>,
    stream: StreamFacts,
    grants: mpsc::Sender<Grant>,
    to_main_loop: mpsc::Sender<ToMainLoop>,
    held: HeldLeases,
    takes: Takes,
    requests: HandoverRequests,
    notices: Notices,
    let_go: Attempts<LeaseKey>,
    jobs: Jobs<MoveEnd>,
    is_stopping: bool,
}

impl Moves {
    /// No lease yet. Consumers get `grants`; holders and requests report to `to_main_loop`.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamFacts,
        grants: mpsc::Sender<Grant>,
        to_main_loop: mpsc::Sender<ToMainLoop>,
    ) -> Self {
        Self {
            held: HeldLeases::new(Arc::clone(&shared), stream.clone(), to_main_loop.clone()),
            takes: Takes::new(Arc::clone(&shared), stream.started_at),
            requests: HandoverRequests::new(Arc::clone(&shared), to_main_loop.clone()),
            notices: Notices::default(),
            let_go: Attempts::new(MOVES_MAX),
            jobs: Jobs::new(),
            is_stopping: false,
            shared,
            stream,
            grants,
            to_main_loop,
        }
    }

    /// Continues as another incarnation of this worker: forgets what was under way, apart from
    /// consumers of the former one that still exist.
    pub(super) fn reborn(&mut self, shared: &Arc<Shared>) {
        self.held.reborn(Arc::clone(shared));
        self.takes = Takes::new(Arc::clone(shared), self.stream.started_at);
        self.requests = HandoverRequests::new(Arc::clone(shared), self.to_main_loop.clone());
        self.notices = Notices::default();
        (self.let_go, self.jobs) = (Attempts::new(MOVES_MAX), Jobs::new());
        self.shared = Arc::clone(shared);
    }

    /// Whether no lease is held, no take is in flight, and no request is open.
    pub(super) fn are_over(&self) -> bool {
        self.held.is_empty() && self.takes.is_empty() && self.requests.is_empty()
    }

    /// Whether renewals leave room for moves, and this worker may take leases.
    fn may_begin(&self, rows: &KnownRows, now: Moment) -> bool {
        self.shared.congestion.borrow().may_move(now) && rows.own.may_take(now)
    }

    /// Decides what to take, what to ask for and what to release, and begins it.
    pub(super) fn balance(
        &mut self,
        rows: &mut KnownRows,
        assigned: Option<&BTreeSet<LeaseKey>>,
        now: Moment,
    ) {
        self.takes.settle(|key| rows.fleet.row(key).map(|row| row.counter), now);
        let held = self.held.keys();
        let own = OwnLeases {
            held: &held,
            taking: &self.takes.taking(),
            blocked: &self.blocked(now),
            refused: &self.requests.refused(now),
            asked: &self.requests.open(),
        };
        let plan = rows.fleet.plan(own, assigned, now);
        self.takes.plan(plan.take, plan.alternatives);
        let may_begin = self.may_begin(rows, now);
        for ask in plan.ask.into_iter().filter(|_| may_begin) {
            if let Some(job) = self.requests.begin(ask) {
                self.jobs.push(job.map(|(key, end)| MoveEnd::Asked(key, end)));
            }
        }
        let lease = &self.shared.config.lease;
        let leases_max = lease.leases_max.unwrap_or(usize::MAX);
        self.held.release(held.len().saturating_sub(leases_max), now + lease.handover);
        self.let_go(rows, held.len() < leases_max, now);
    }

    /// The leases that are held.
    pub(super) fn held(&self) -> BTreeSet<LeaseKey> {
        self.held.keys()
    }

    /// The leases whose rows may come to name this worker, however late.
    pub(super) fn may_land(&self) -> impl Iterator<Item = &LeaseKey> {
        self.takes.may_land()
    }

    /// Whether this worker holds the lease, or takes it.
    pub(super) fn has(&self, key: &LeaseKey) -> bool {
        self.held.contains(key) || self.takes.is_taking(key)
    }

    /// Whether only a scan can prove that a worker is dead which this one has asked for a lease.
    pub(super) fn needs_scan(&self, rows: &KnownRows, now: Moment) -> bool {
        self.requests.open().iter().any(|key| rows.fleet.is_unproven(key, now))
    }

    /// The workers that have asked for leases of this one, or that it has asked.
    pub(super) fn partners(&self) -> BTreeSet<WorkerId> {
        self.held.next_owners().chain(self.requests.owners()).cloned().collect()
    }

    /// Tells the holders what is known about their leases.
    pub(super) fn hint(&self, rows: &KnownRows) {
        self.held.hint(&rows.fleet);
    }

    /// Begins the takes that wait, as far as there is room, and the notices to other owners.
    pub(super) fn begin_due(&mut self, rows: &KnownRows, now: Moment) {
        while let Some((owner, keys)) = self.notices.next(now) {
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                let is_sent = tell(&shared, &owner, &keys).await;
                MoveEnd::Told { owner, keys, is_sent }
            });
        }
        while self.may_begin(rows, now)
            && let Some(take) = self.takes.next()
        {
            self.take(take, rows);
        }
    }

    /// When takes and notices that wait may begin.
    pub(super) fn wake_at(&self, now: Moment) -> Option<Moment> {
        let room_at = self.shared.congestion.borrow().ends_at(now);
        let takes_at = room_at.filter(|_| self.takes.are_waiting());
        [takes_at, self.notices.wake_at()].into_iter().flatten().min()
    }

    /// When to decide again if nothing else happens before.
    pub(super) fn next_chance(&self, now: Moment) -> Option<Moment> {
        let room_at = self.shared.congestion.borrow().ends_at(now);
        let chances = [self.takes.next_chance(now), self.requests.next_chance(now), room_at];
        chances.into_iter().flatten().min()
    }

    /// How many takes were lost since the last scan ended.
    pub(super) const fn takes_lost(&self) -> usize {
        self.takes.lost()
    }

    /// The leases that must not be taken: a former consumer still exists, this worker is letting go
    /// of them, other workers come first, or the shard is stopped.
    fn blocked(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let mut blocked = self.takes.cooling(now);
        blocked.extend(self.held.lingering().cloned());
        blocked.extend(self.let_go.in_flight().iter().cloned());
        blocked.extend(self.shared.stopped.leases());
        blocked
    }

    fn take(&mut self, take: Take, rows: &KnownRows) {
        if self.held.contains(&take.key) || self.let_go.in_flight().contains(&take.key) {
            return;
        }
        let key = take.key.clone();
        let (floor, adopt) = (rows.fleet.floor(&key), rows.adopted(&key));
        if let Some(job) = self.takes.begin(take, floor, adopt) {
            self.requests.abandon(&key);
            self.jobs.push(job.map(|(take, end)| MoveEnd::Took(take, end)));
        }
    }

    /// Takes a lease whose row names this worker as its owner.
    fn take_own(&mut self, key: LeaseKey, rows: &KnownRows) {
        if let Some(row) = rows.fleet.row(&key) {
            let Lease { counter, owner_switches, checkpoint, .. } = *row;
            let last_write = row.last_write.clone();
            let why = TakeReason::HandedOver;
            self.take(Take { key, counter, last_write, owner_switches, checkpoint, why }, rows);
        }
    }

    /// Releases the leases that no other worker may take, because they name this one, and that it
    /// neither holds nor takes. `has_room` is whether it may hold more than it does.
    fn let_go(&mut self, rows: &KnownRows, has_room: bool, now: Moment) {
        if !rows.own.is_session() {
            return; // Such leases expire.
        }
        let (taking, asked) = (self.takes.taking(), self.requests.open());
        let stopped = self.shared.stopped.leases();
        let is_idle = |key: &LeaseKey| {
            !self.held.contains(key) && !taking.contains(key) && !asked.contains(key)
        };
        let may_take =
            |row: &Lease| has_room && row.checkpoint_owner.is_none() && !stopped.contains(&row.key);
        let named = rows.fleet.naming_me().filter(|row| is_idle(&row.key) && !may_take(row));
        let named: Vec<_> = named.map(|row| row.key.clone()).collect();
        named.into_iter().for_each(|key| self.let_go_of(key, now, rows));
    }

    /// Releases a lease at `at`.
    fn let_go_of(&mut self, key: LeaseKey, at: Moment, rows: &KnownRows) {
        if self.let_go.begin(&key, self.shared.clock.now()) {
            let (shared, progress) = (Arc::clone(&self.shared), rows.own.progress().clone());
            self.jobs.push(async move {
                sleep_until(&*shared.clock, at).await;
                let end = settlement::run(&shared, &key, &progress).await;
                MoveEnd::LetGo(key, end.map(|row| row.map(Box::new)))
            });
        }
    }

    /// Releases a lease whose holder does not answer, once its consumer has stopped.
    pub(super) fn give_up(&mut self, key: LeaseKey, until: Moment, rows: &KnownRows) {
        self.shared.events.emit(&Event::HolderStuck { key: key.clone() });
        self.held.ended(&key);
        self.let_go_of(key, until, rows);
    }

    /// Releases all leases that name this worker. Returns `None` while that is under way, then
    /// whether leases may still name it.
    pub(super) fn let_go_of_all(&mut self, rows: &KnownRows, now: Moment) -> Option<bool> {
        self.let_go(rows, false, now);
        self.takes.settle(|key| rows.fleet.row(key).map(|row| row.counter), now);
        let may_land = !self.takes.taking().is_empty() || self.takes.may_land().next().is_some();
        let may_be_named = may_land || rows.fleet.naming_me().next().is_some();
        self.let_go.is_empty().then_some(may_be_named)
    }

    /// Waits for a job to end. Pass its end to [`finish`](Self::finish).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Move {
        tokio::select! {
            biased;
            end = self.jobs.next() => Move::Job(end),
            end = self.held.task_ended() => Move::Holder(end),
        }
    }

    /// Handles the end of a job. Returns whether a lease moved.
    pub(super) fn finish(&mut self, end: MoveEnd, rows: &mut KnownRows, now: Moment) -> bool {
        match end {
            MoveEnd::Took(take, end) => self.took(&take, end, rows, now),
            MoveEnd::Asked(key, end) => {
                self.requests.ended(&key, &end, now);
                if let RequestEnd::Arrived(row) = end {
                    rows.saw_row(*row, now);
                    if !self.is_stopping {
                        self.take_own(key, rows);
                    }
                }
            }
            MoveEnd::LetGo(key, end) => {
                self.let_go.ended(&key);
                match end {
                    Ok(Some(row)) => rows.saw_row(*row, now),
                    Ok(None) => rows.saw_none(&key, now),
                    Err(_) => return false,
                }
            }
            MoveEnd::Told { owner, keys, is_sent } => {
                self.notices.ended(&owner, keys, is_sent, now);
                return false;
            }
            MoveEnd::RemovedDead => return false,
        }
        true
    }

    fn took(&mut self, take: &Take, end: TakeEnd, rows: &mut KnownRows, now: Moment) {
        self.takes.ended(take, &end, now);
        match end {
            TakeEnd::Held { row, sent } => {
                self.hold(Taken { row: *row, sent }, take.why, rows, now);
            }
            TakeEnd::Lost(Some(row)) => rows.saw_row(*row, now),
            TakeEnd::Lost(None) => rows.saw_none(&take.key, now),
            TakeEnd::Throttled | TakeEnd::Unread | TakeEnd::Unknown => {}
        }
    }

    /// Starts the holder of a lease that was taken, and grants the lease to a consumer.
    ///
    /// A take is no sign of life: if the session has lapsed meanwhile, the lease is not held, and
    /// is taken anew once the session lives again.
    fn hold(&mut self, taken: Taken, why: TakeReason, rows: &mut KnownRows, now: Moment) {
        let Taken { row, sent } = taken;
        if !rows.own.may_take(now) {
            return rows.saw_row(row, now);
        }
        let key = row.key.clone();
        let (token, checkpoint) = (row.counter.into(), row.checkpoint);
        if let Some((dead, beat)) = rows.fleet.saw_taken(row.clone(), sent) {
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                presence::remove_dead(&shared, &dead, beat).await;
                MoveEnd::RemovedDead
            });
        }
        let session = rows.own.session().and_then(|session| session.hold(&row, now));
        let grant = self.held.hold(row, sent, session);
        self.shared.events.emit(&Event::LeaseTaken { key, token, checkpoint, why });
        // A worker that stops, or whose application hangs, drops the grant: the holder then finds
        // that there is no consumer, and releases the lease.
        if !self.is_stopping {
            drop(self.grants.try_send(grant));
        }
    }

    /// Notes that a request for a lease has begun, of which no renewal tells its owner.
    pub(super) fn request_begun(&mut self, key: LeaseKey, owner: WorkerId, now: Moment) {
        if !self.is_stopping {
            self.notices.add(owner, key, now);
        }
    }

    /// Has the holder of a lease read its row, which another worker has changed.
    pub(super) fn row_changed(&self, key: &LeaseKey) {
        self.held.row_changed(key);
    }

    /// Notes that a worker asks for a lease.
    pub(super) fn asked(&mut self, key: &LeaseKey, next: WorkerId, rows: &KnownRows, now: Moment) {
        let moved_at = rows.fleet.has_asked(&next, now);
        self.held.asked(key, next, moved_at);
    }

    /// Notes that a lease is no longer held.
    pub(super) fn lease_ended(
        &mut self,
        EndedLease { how, row }: EndedLease,
        rows: &mut KnownRows,
        now: Moment,
    ) {
        let key = &row.key;
        self.held.ended(key);
        if let Some(session) = rows.own.session() {
            session.ended(key, now);
        }
        self.takes.cool_down(key.clone(), how, now);
        match how {
            LeaseEnd::Lost => rows.fleet.forget(key),
            LeaseEnd::Released
            | LeaseEnd::Expired
            | LeaseEnd::HandedOver
            | LeaseEnd::ShardEnded
            | LeaseEnd::Kept => rows.saw_row(row, now),
        }
    }

    /// Notes that the consumer of a lease is gone, too. `how` is how the lease last ended.
    pub(super) fn consumer_gone(&mut self, key: LeaseKey, how: Option<LeaseEnd>, rows: &KnownRows) {
        self.held.gone(&key);
        // A stopping worker re-takes the leases it kept, because taking them lets it release them.
        if self.is_stopping && how == Some(LeaseEnd::Kept) {
            self.take_own(key, rows);
        }
    }

    /// Notes that a scan which began at `began` has ended.
    pub(super) fn scan_ended(&mut self, began: Moment, rows: &KnownRows, now: Moment) {
        self.let_go.scan_ended();
        self.takes.scan_ended(began, now);
        self.requests.prune(now);
        self.held.hint(&rows.fleet);
    }

    /// Returns how the consumers of the held leases are doing. Emits the events that are due.
    pub(super) fn observe(&mut self, rows: &KnownRows, now: Moment) -> Vec<HeldShard> {
        self.held.observe(|key| rows.checkpoint(key), now)
    }

    /// Has every consumer drain until `until`, and releases every lease.
    pub(super) fn release_all(&self, until: Moment) {
        self.held.stop(until);
    }

    /// Stops taking leases and asking for them.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.notices = Notices::default();
        self.requests.withdraw_all();
    }
}

/// Tells an owner of requests. Returns whether that is done: one that is dead needs no notice.
async fn tell(shared: &Shared, owner: &WorkerId, keys: &BTreeSet<LeaseKey>) -> bool {
    let (session, kind) = (owner.clone(), SessionWriteKind::Ask { keys: keys.clone() });
    let outcome = shared.calls.write_session(&SessionWrite { session, kind }).await;
    outcome
        .inspect_err(|error| shared.events.call_failed("tell an owner of requests", error, None))
        .is_ok()
}

/// What ended.
#[derive(Debug)]
pub(super) enum Move {
    Job(MoveEnd),
    /// The task of a holder.
    Holder(TaskEnd),
}
