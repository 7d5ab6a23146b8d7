//! Scans the table, decides which leases to take or ask for, and keeps the holders.
//!
//! The lease side's main loop. It never waits for a call: scans, takes and requests run as jobs
//! beside it, so that nothing slow keeps it from noticing an expiry or a shutdown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use kcl_proto::fleet::balance::Take;
use kcl_proto::fleet::cooldown::Cooldowns;
use kcl_proto::fleet::housekeeping_turn;
use kcl_proto::lease::request::AskEnd;
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{Lease, LeaseEnd, LeaseKey, Moment, StreamStart, TakeReason};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::fleet_view::{Own, View};
use crate::lease_side::handover_requests::Requests;
use crate::lease_side::held_leases::Holders;
use crate::lease_side::holder::FromHolder;
use crate::lease_side::housekeeping::{self, Synced, Turn};
use crate::lease_side::presence;
use crate::lease_side::shared::Side;
use crate::lease_side::table_scan::{self, Table};
use crate::lease_side::take::{self, Taken};
use crate::messages::Grant;
use crate::report::error::RunError;
use crate::report::event::Event;
use crate::report::event::{ShardReport, WorkerState, WorkerStatus};
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::Tasks;

/// The pause before a failed scan is tried again.
const SCAN_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The shortest pause between a scan's reply and the next scan, whatever happens.
const SCAN_GAP_MIN: Duration = Duration::from_millis(100);

/// How often a turn of housekeeping comes, over the whole fleet.
const TURN_EVERY: Duration = Duration::from_secs(10);

/// What a turn does, for people.
const SYNC: &str = "sync shards and leases";

/// How often a plan is made at least.
const PLAN_EVERY: Duration = Duration::from_secs(5);

/// How many messages of holders wait for the scanner at most.
const FROM_HOLDERS_MAX: usize = 256;

/// How long after the drain's end a stopping worker waits for writes to be settled.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Something that a job came to.
enum Job {
    Scanned(Result<Table, LeaseStoreError>),
    Took(Take, Taken),
    Asked(LeaseKey, AskEnd),
    Turned(Turn),
    PresenceRemoved,
    Told,
}

/// The lease side's main loop.
pub(super) struct Scanner {
    side: Arc<Side>,
    start: StreamStart,
    grants: mpsc::Sender<Grant>,
    status: watch::Sender<WorkerStatus>,
    view: View,
    holders: Holders,
    taking: BTreeSet<LeaseKey>,
    requests: Requests,
    /// What others shall take first.
    resting: Cooldowns,
    spare: Vec<Take>,
    jobs: FuturesUnordered<BoxFuture<'static, Job>>,
    from_holders: mpsc::Receiver<FromHolder>,
    scanning: bool,
    turning: bool,
    next_scan: Moment,
    next_turn: Moment,
    last_turn: Moment,
    turn_chance: f64,
    /// Whether something changed that the plan depends on.
    plan_due: bool,
    /// When the plan changes by itself.
    plan_at: Moment,
    stopping: Option<Moment>,
    fatal: Option<RunError>,
    presence_removed: Option<oneshot::Receiver<()>>,
    reports: BTreeMap<LeaseKey, ShardReport>,
}

impl Scanner {
    pub(super) fn new(
        side: Arc<Side>,
        (start, retention): (StreamStart, Duration),
        grants: mpsc::Sender<Grant>,
        status: watch::Sender<WorkerStatus>,
    ) -> Self {
        let (to_scanner, from_holders) = mpsc::channel(FROM_HOLDERS_MAX);
        let now = side.clock.now();
        let view = View::new(Arc::clone(&side));
        let stream = (start.clone(), retention);
        let holders = Holders::new(Arc::clone(&side), stream, to_scanner.clone());
        let requests = Requests::new(Arc::clone(&side), to_scanner);
        Self {
            side,
            start,
            grants,
            status,
            view,
            holders,
            taking: BTreeSet::new(),
            requests,
            resting: Cooldowns::default(),
            spare: Vec::new(),
            jobs: FuturesUnordered::new(),
            from_holders,
            scanning: false,
            turning: false,
            next_scan: now,
            next_turn: now,
            last_turn: now,
            turn_chance: 0.0,
            plan_due: false,
            plan_at: now + PLAN_EVERY,
            stopping: None,
            fatal: None,
            presence_removed: None,
            reports: BTreeMap::new(),
        }
    }

    /// Works until `stop`, then lets go of everything. Returns what became of each shard.
    pub(super) async fn run(
        mut self,
        stop: CancellationToken,
    ) -> Result<Vec<ShardReport>, RunError> {
        let mut tasks = Tasks::default();
        let (removed, presence_removed) = oneshot::channel();
        let halt = stop.child_token();
        let presence = presence::run(Arc::clone(&self.side), halt.clone(), removed);
        tasks.spawn("presence", tracing::Span::current(), presence);
        self.presence_removed = Some(presence_removed);
        loop {
            self.begin_what_is_due();
            if self.is_finished() {
                let reports = self.reports.into_values().collect();
                return self.fatal.map_or(Ok(reports), Err);
            }
            let wake = sleep_until(&*self.side.clock, self.wake_at());
            tokio::select! {
                biased;
                () = halt.cancelled(), if self.stopping.is_none() => self.stop(),
                Some(news) = self.from_holders.recv() => {
                    self.plan_due = true;
                    self.heard(news);
                }
                Some(job) = self.jobs.next(), if !self.jobs.is_empty() => {
                    self.plan_due = true;
                    if let Some(error) = self.finish(job) {
                        // Nobody can go on here, but others may: leases are released first.
                        self.fatal.get_or_insert(error);
                        halt.cancel();
                    }
                }
                end = self.holders.task_ended() => end.check()?,
                end = tasks.ended() => end.check()?,
                () = wake => {}
            }
        }
    }

    fn now(&self) -> Moment {
        self.side.clock.now()
    }

    fn wake_at(&self) -> Moment {
        if let Some(until) = self.stopping {
            return until + STOP_GRACE;
        }
        let scan = if self.scanning { None } else { Some(self.next_scan) };
        let turn = if self.turning { None } else { Some(self.next_turn) };
        [scan, turn].into_iter().flatten().fold(self.plan_at, Moment::min)
    }

    fn begin_what_is_due(&mut self) {
        let now = self.now();
        if self.stopping.is_some() {
            return;
        }
        if !self.scanning && now >= self.next_scan {
            self.scanning = true;
            let side = Arc::clone(&self.side);
            self.jobs.push(Box::pin(async move {
                Job::Scanned(table_scan::run(&side, Reading::Eventual).await)
            }));
        }
        if !self.turning && now >= self.next_turn {
            self.turning = true;
            let (side, start) = (Arc::clone(&self.side), self.start.clone());
            let litter = self.view.litter(now);
            self.jobs.push(Box::pin(async move {
                Job::Turned(housekeeping::run(&side, &start, &litter).await)
            }));
        }
        if self.plan_due || now >= self.plan_at {
            self.balance(now);
        }
    }

    fn finish(&mut self, job: Job) -> Option<RunError> {
        let now = self.now();
        match job {
            Job::Scanned(Ok(table)) => self.saw_table(table, now),
            Job::Scanned(Err(error)) => return self.scan_failed(error, now),
            Job::Took(take, taken) => self.took(&take, taken, now),
            Job::Asked(key, end) => self.ask_ended(&key, end, now),
            Job::Turned(turn) => return self.turned(turn, now),
            Job::PresenceRemoved => self.release_all(),
            Job::Told => {}
        }
        None
    }

    fn scan_failed(&mut self, error: LeaseStoreError, now: Moment) -> Option<RunError> {
        self.scanning = false;
        self.next_scan = now + SCAN_AGAIN_AFTER;
        if matches!(error, LeaseStoreError::TableMissing { .. } | LeaseStoreError::WrongKey { .. })
        {
            return Some(RunError::Leases(error));
        }
        let (doing, retry_in) = ("scan the lease table", SCAN_AGAIN_AFTER);
        self.failed(doing, chain(&error), retry_in);
        None
    }

    fn failed(&self, doing: &'static str, error: String, retry_in: Duration) {
        self.status.send_modify(|status| status.last_error = Some(error.clone()));
        self.side.events.emit(&Event::CallFailed { doing, error, retry_in });
    }

    fn saw_table(&mut self, table: Table, now: Moment) {
        self.scanning = false;
        self.view.saw_table(table, now);
        self.resting.prune(now);
        self.requests.prune(now);
        self.holders.hint(&self.view);
        if !self.turning {
            self.plan_turn(now);
        }
        self.next_scan = now + self.view.scan_pause(now);
    }

    /// Decides what to take and whom to ask, and begins it.
    fn balance(&mut self, now: Moment) {
        let held = self.holders.keys();
        let own = Own {
            held: &held,
            blocked: &self.blocked_keys(now),
            refused: &self.requests.refused(now),
            asked: &self.requests.open(),
        };
        let plan = self.view.plan(own, now);
        self.plan_due = false;
        let rested = [self.resting.next_end(now), self.requests.next_chance(now)];
        let changes = rested.into_iter().chain([self.view.next_expiry(now)]).flatten();
        self.plan_at = changes.fold(now + PLAN_EVERY, Moment::min);
        self.spare = plan.spare;
        for take in plan.take {
            self.take(take);
        }
        for ask in plan.ask {
            if let Some(asking) = self.requests.ask(ask) {
                self.jobs.push(Box::pin(asking.map(|(key, end)| Job::Asked(key, end))));
            }
        }
        let (held, leases) = (self.holders.look(&self.view, now), self.view.len());
        let memory = self.side.memory.usage();
        self.status.send_if_modified(|status| {
            let differs = status.held != held || status.leases != leases || status.memory != memory;
            status.held = held;
            status.leases = leases;
            status.memory = memory;
            differs
        });
    }

    /// What must not be taken: a former consumer is still here, a take is under way, or it rests.
    fn blocked_keys(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let here = self.holders.lingering().chain(&self.taking).cloned();
        here.chain(self.resting.keys(now)).chain(self.side.stopped.leases()).collect()
    }

    fn take(&mut self, take: Take) {
        if self.holders.contains(&take.key) || !self.taking.insert(take.key.clone()) {
            return;
        }
        self.requests.abandon(&take.key);
        let write = LeaseWrite {
            key: take.key.clone(),
            worker: self.side.me.clone(),
            number: self.side.write_numbers().draw(),
            kind: WriteKind::Take {
                counter: take.counter,
                expiry: self.side.config.lease.expiry,
                owner_switches: take.owner_switches,
            },
        };
        let side = Arc::clone(&self.side);
        self.jobs.push(Box::pin(async move {
            let taken = take::run(&side, &write).await;
            Job::Took(take, taken)
        }));
    }

    /// Takes a lease that is this worker's by its row.
    fn take_mine(&mut self, key: LeaseKey) {
        if let Some(row) = self.view.row(&key) {
            let (counter, owner_switches) = (row.counter, row.owner_switches);
            self.take(Take { key, counter, owner_switches, why: TakeReason::HandedOver });
        }
    }

    fn took(&mut self, take: &Take, taken: Taken, now: Moment) {
        self.taking.remove(&take.key);
        match taken {
            Taken::Held { row, sent } => self.hold(*row, sent, take.why),
            Taken::Lost(Some(row)) => {
                self.view.saw_row(*row, now);
                if self.stopping.is_none() && !self.spare.is_empty() {
                    let next = self.spare.remove(0);
                    self.take(next);
                }
            }
            Taken::Lost(None) => {
                self.view.forget(&take.key);
            }
            Taken::Unknown => self.next_scan = now,
        }
    }

    /// A lease was taken: starts its holder, and grants it to a consumer.
    fn hold(&mut self, row: Lease, sent: Moment, why: TakeReason) {
        let key = row.key.clone();
        let (token, checkpoint) = (row.counter.into(), row.checkpoint);
        self.view.saw_row(row.clone(), sent);
        let grant = self.holders.hold(row, sent);
        self.side.events.emit(&Event::LeaseTaken { key, token, checkpoint, why });
        // A worker that stops, or whose application hangs, drops the grant: the holder then sees
        // that there is no consumer, and releases the lease.
        if self.stopping.is_none() {
            drop(self.grants.try_send(grant));
        }
    }

    fn ask_ended(&mut self, key: &LeaseKey, end: AskEnd, now: Moment) {
        self.requests.ended(key, &end, now);
        if let AskEnd::Arrived(row) = end {
            self.view.saw_row(*row, now);
            if self.stopping.is_none() {
                self.take_mine(key.clone());
            }
        }
    }

    fn heard(&mut self, news: FromHolder) {
        let now = self.now();
        match news {
            FromHolder::Asked { key, next } => {
                let moved_at = self.view.has_asked(&next, now);
                self.holders.asked(&key, next, moved_at);
            }
            FromHolder::Ended { key, how, row } => self.lease_ended(&key, how, *row, now),
            FromHolder::Gone { key } => {
                self.holders.gone(&key);
                if self.stopping.is_some() {
                    self.let_go(key);
                }
            }
            FromHolder::Saw { row } => {
                self.view.saw_row(*row, now);
            }
        }
    }

    fn lease_ended(&mut self, key: &LeaseKey, how: LeaseEnd, row: Lease, now: Moment) {
        self.holders.ended(key);
        let report = ShardReport { key: key.clone(), how, checkpoint: row.checkpoint };
        self.reports.insert(key.clone(), report);
        let rest = match how {
            // Others go first: here it did not work.
            LeaseEnd::Released | LeaseEnd::Expired => self.side.config.lease.expiry / 3,
            LeaseEnd::HandedOver | LeaseEnd::ShardEnded | LeaseEnd::Lost | LeaseEnd::Kept => {
                Duration::ZERO
            }
        };
        self.resting.begin(key.clone(), now + rest);
        match how {
            LeaseEnd::Lost => {
                self.view.forget(key);
            }
            LeaseEnd::Released
            | LeaseEnd::Expired
            | LeaseEnd::HandedOver
            | LeaseEnd::ShardEnded
            | LeaseEnd::Kept => {
                self.view.saw_row(row, now);
            }
        }
        // The plan changed: look at once, so that children and free leases find somebody.
        self.next_scan = self.next_scan.min(now + SCAN_GAP_MIN);
    }

    /// A worker that stops takes what it kept once more, since that releases it.
    fn let_go(&mut self, key: LeaseKey) {
        if self.reports.get(&key).is_some_and(|report| report.how == LeaseEnd::Kept) {
            self.take_mine(key);
        }
    }

    fn turned(&mut self, turn: Turn, now: Moment) -> Option<RunError> {
        match turn {
            Turn::Done(Synced { listed, holes, changes, error }) => {
                self.view.saw_shards(listed, &holes);
                if changes > 0 {
                    self.next_scan = now;
                }
                error.into_iter().for_each(|error| self.failed(SYNC, error, TURN_EVERY));
            }
            Turn::Failed { error } => self.failed(SYNC, error, TURN_EVERY),
            Turn::Fatal(error) => return Some(error),
        }
        self.turning = false;
        self.last_turn = now;
        self.turn_chance = self.side.chance.draw();
        self.plan_turn(now);
        None
    }

    /// Sets when the next turn is: again with each scan, since whoever was before may be gone.
    fn plan_turn(&mut self, now: Moment) {
        let present = self.view.present(now);
        let pause = housekeeping_turn::delay(&self.side.me, &present, TURN_EVERY, self.turn_chance);
        self.next_turn = self.last_turn + pause;
    }

    /// Begins to stop: first the presence goes, so that nobody counts on this worker, then leases.
    fn stop(&mut self) {
        self.stopping = Some(self.now() + self.side.config.shutdown.drain);
        self.status.send_modify(|status| status.state = WorkerState::Stopping);
        self.requests.stop();
        if let Some(removed) = self.presence_removed.take() {
            self.jobs.push(Box::pin(async move {
                drop(removed.await); // Removed or given up: either way it goes on.
                Job::PresenceRemoved
            }));
        }
    }

    fn release_all(&mut self) {
        let Some(until) = self.stopping else { return };
        for tell in self.holders.stop(until) {
            self.jobs.push(Box::pin(async move {
                tell.await;
                Job::Told
            }));
        }
    }

    fn is_finished(&self) -> bool {
        let Some(until) = self.stopping else { return false };
        let is_empty =
            self.holders.is_empty() && self.taking.is_empty() && self.requests.is_empty();
        is_empty || self.now() >= until + STOP_GRACE
    }
}
