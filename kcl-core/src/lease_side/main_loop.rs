//! The main loop of the lease side: scans the table, decides which leases to take or ask for, and
//! keeps the holders.
//!
//! It never waits for a call: scans, takes, requests and housekeeping run as jobs beside it, so
//! that a slow call delays neither an expiry nor a shutdown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use kcl_proto::fleet::balance::Take;
use kcl_proto::lease::request::RequestEnd;
use kcl_proto::model::{Lease, LeaseEnd, LeaseKey, Moment, TakeReason};
use kcl_proto::worker::missing_watch::{BELIEVED_AFTER, MissingWatch};
use kcl_proto::worker::schedule::{Schedule, TURN_EVERY};
use kcl_proto::worker::shutdown::{self, Action, Event as ShutdownEvent, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::backend::{LeaseStoreError, Page};
use crate::lease_side::fleet_view::{FleetView, OwnLeases};
use crate::lease_side::handover_requests::HandoverRequests;
use crate::lease_side::held_leases::HeldLeases;
use crate::lease_side::housekeeping::{self, TurnEnd, TurnReport};
use crate::lease_side::inbox::ToMainLoop;
use crate::lease_side::jobs::Jobs;
use crate::lease_side::presence::{self, Leaving};
use crate::lease_side::shared::Shared;
use crate::lease_side::stream_facts::StreamFacts;
use crate::lease_side::table_scan::TableScan;
use crate::lease_side::takes::{TakeEnd, Takes};
use crate::lease_side::worker_report::WorkerReport;
use crate::messages::Grant;
use crate::report::error::RunError;
use crate::report::event::{Event, ShardReport, WorkerState, WorkerStatus};
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::Tasks;

/// What a turn of housekeeping does, in events.
const SYNC: &str = "sync shards and leases";

/// How many messages wait for the main loop at most.
const INBOX_MAX: usize = 256;

/// How a job ended.
#[derive(Debug)]
enum JobEnd {
    Page(Result<Page, LeaseStoreError>),
    Took(Take, TakeEnd),
    Asked(LeaseKey, RequestEnd),
    Turned(TurnEnd),
    RemovedDead,
}

/// The main loop of the lease side.
#[derive(Debug)]
pub(super) struct MainLoop {
    shared: Arc<Shared>,
    stream: StreamFacts,
    grants: mpsc::Sender<Grant>,
    inbox: mpsc::Receiver<ToMainLoop>,
    scan: TableScan,
    fleet: FleetView,
    held: HeldLeases,
    takes: Takes,
    requests: HandoverRequests,
    jobs: Jobs<JobEnd>,
    schedule: Schedule,
    shutdown: Shutdown,
    /// Scans that do not find the table.
    missing_table: MissingWatch,
    /// Turns that do not find the stream.
    missing_stream: MissingWatch,
    leaving: Leaving,
    presence: Tasks,
    report: WorkerReport,
}

impl MainLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamFacts,
        grants: mpsc::Sender<Grant>,
        status: watch::Sender<WorkerStatus>,
        stop: &CancellationToken,
    ) -> Self {
        let (to_main_loop, inbox) = mpsc::channel(INBOX_MAX);
        // The presence task has the token of the stop itself, so that nothing is released before
        // it announces that this worker leaves.
        let leaving = Leaving { announce: stop.child_token(), remove: CancellationToken::new() };
        let mut presence = Tasks::default();
        let beats = presence::run(Arc::clone(&shared), leaving.clone(), to_main_loop.clone());
        presence.spawn("presence", Span::none(), beats);
        Self {
            scan: TableScan::new(Arc::clone(&shared)),
            fleet: FleetView::new(Arc::clone(&shared)),
            held: HeldLeases::new(Arc::clone(&shared), stream.clone(), to_main_loop.clone()),
            takes: Takes::new(Arc::clone(&shared), stream.started_at),
            requests: HandoverRequests::new(Arc::clone(&shared), to_main_loop),
            jobs: Jobs::new(),
            schedule: Schedule::new(shared.clock.now()),
            shutdown: Shutdown::Running,
            missing_table: MissingWatch::default(),
            missing_stream: MissingWatch::default(),
            leaving,
            presence,
            report: WorkerReport::new(status),
            shared,
            stream,
            grants,
            inbox,
        }
    }

    /// Works until the stop, then releases every lease. Returns how each lease ended.
    pub(super) async fn run(mut self) -> Result<Vec<ShardReport>, RunError> {
        self.report.state(WorkerState::Running);
        let halt = self.leaving.announce.clone();
        let mut fatal = None;
        loop {
            self.begin_due();
            if self.shutdown == Shutdown::Stopped {
                return fatal.map_or_else(|| Ok(self.report.into_shards()), Err);
            }
            let wake = sleep_until(&*self.shared.clock, self.wake_at());
            tokio::select! {
                biased;
                () = halt.cancelled(), if self.is_running() => self.stop_requested(),
                Some(message) = self.inbox.recv() => {
                    self.schedule.plan_changed();
                    self.received(message);
                }
                end = self.jobs.next() => {
                    self.schedule.plan_changed();
                    if let Err(error) = self.finish(end) {
                        // This worker cannot continue, others may: leases are released first.
                        fatal.get_or_insert(error);
                        halt.cancel();
                    }
                }
                end = self.held.task_ended() => end.check()?,
                end = self.presence.ended() => end.check()?,
                () = wake => {}
            }
        }
    }

    fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    fn is_running(&self) -> bool {
        self.shutdown == Shutdown::Running
    }

    fn wake_at(&self) -> Moment {
        let now = self.now();
        let wake_at = self.shutdown.wake_at().unwrap_or_else(|| self.schedule.wake_at(now));
        let takes = self.shared.congestion.borrow().ends_at(now);
        takes.filter(|_| self.takes.are_waiting()).map_or(wake_at, |at| at.min(wake_at))
    }

    fn begin_due(&mut self) {
        let now = self.now();
        if !self.is_running() {
            self.end_when_due(now);
            return;
        }
        if self.schedule.begin_page(now) {
            self.jobs.push(self.scan.page(now).map(JobEnd::Page));
        }
        if self.schedule.begin_turn(now) {
            let (shared, stream) = (Arc::clone(&self.shared), self.stream.clone());
            let known = self.fleet.known(now);
            self.jobs.push(async move {
                JobEnd::Turned(housekeeping::run(&shared, &stream, known).await)
            });
        }
        if self.schedule.begin_plan(now) {
            self.balance(now);
        }
        while self.may_move(now)
            && let Some(take) = self.takes.next()
        {
            self.take(take);
        }
    }

    /// Whether renewals leave room for moves.
    fn may_move(&self, now: Moment) -> bool {
        self.shared.congestion.borrow().may_move(now)
    }

    /// Decides what to take and what to ask for, and begins it.
    fn balance(&mut self, now: Moment) {
        let held = self.held.keys();
        let own = OwnLeases {
            held: &held,
            taking: &self.takes.taking(),
            blocked: &self.blocked(now),
            refused: &self.requests.refused(now),
            asked: &self.requests.open(),
        };
        let plan = self.fleet.plan(own, now);
        self.takes.plan(plan.take, plan.alternatives);
        let congestion = *self.shared.congestion.borrow();
        let asks = plan.ask.into_iter().filter(|_| congestion.may_move(now));
        for ask in asks {
            if let Some(job) = self.requests.begin(ask) {
                self.jobs.push(job.map(|(key, end)| JobEnd::Asked(key, end)));
            }
        }
        let lease = &self.shared.config.lease;
        let surplus = held.len().saturating_sub(lease.leases_max.unwrap_or(usize::MAX));
        self.held.release(surplus, now + lease.handover);
        let held = self.held.observe(&self.fleet, now);
        self.report.holdings(held, self.fleet.len(), self.shared.memory.usage());
        let changes = [
            self.takes.next_chance(now),
            self.requests.next_chance(now),
            self.fleet.next_expiry(now),
            congestion.ends_at(now),
        ];
        self.schedule.planned(changes.into_iter().flatten().min(), now, self.now());
    }

    /// The leases that must not be taken: a former consumer still exists, other workers come first,
    /// or the shard is stopped.
    fn blocked(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let mut blocked = self.takes.cooling(now);
        blocked.extend(self.held.lingering().cloned());
        blocked.extend(self.shared.stopped.leases());
        blocked
    }

    fn take(&mut self, take: Take) {
        if self.held.contains(&take.key) {
            return;
        }
        let key = take.key.clone();
        if let Some(job) = self.takes.begin(take, self.fleet.floor(&key)) {
            self.requests.abandon(&key);
            self.jobs.push(job.map(|(take, end)| JobEnd::Took(take, end)));
        }
    }

    /// Takes a lease whose row names this worker as its owner.
    fn take_own(&mut self, key: LeaseKey) {
        if let Some(row) = self.fleet.row(&key) {
            let Lease { counter, owner_switches, checkpoint, .. } = *row;
            let why = TakeReason::HandedOver;
            self.take(Take { key, counter, owner_switches, checkpoint, why });
        }
    }

    /// Handles the end of a job. An error ends the worker.
    fn finish(&mut self, end: JobEnd) -> Result<(), RunError> {
        let now = self.now();
        match end {
            JobEnd::Page(Ok(page)) => self.page_read(page, now),
            JobEnd::Page(Err(error)) => self.page_failed(error, now)?,
            JobEnd::Took(take, end) => self.took(&take, end, now),
            JobEnd::Asked(key, end) => self.asked(key, end, now),
            JobEnd::Turned(end) => self.turned(end, now)?,
            JobEnd::RemovedDead => {}
        }
        Ok(())
    }

    fn page_read(&mut self, page: Page, now: Moment) {
        self.missing_table.found();
        let (leases, end) = self.scan.read(page);
        self.fleet.saw_page(leases, now);
        let Some(scan) = end else { return self.schedule.page_ended(now) };
        if self.fleet.saw_table(&scan, now) {
            self.schedule.moved(now);
        }
        self.takes.scan_ended(scan.began, now);
        self.requests.prune(now);
        self.report.prune(|key| self.fleet.row(key).is_some());
        self.held.hint(&self.fleet);
        // A worker that was ahead in line may be gone.
        self.schedule.line_up(&self.shared.me, self.fleet.company());
        self.schedule.scan_ended(self.fleet.scan_pauses(), now);
    }

    fn page_failed(&mut self, error: LeaseStoreError, now: Moment) -> Result<(), RunError> {
        let retry_at = self.scan.failed(now);
        self.schedule.page_ended(retry_at);
        let is_missing = matches!(error, LeaseStoreError::TableMissing { .. })
            && self.missing_table.is_believed("table", now, BELIEVED_AFTER);
        if is_missing || matches!(error, LeaseStoreError::WrongKey { .. }) {
            return Err(RunError::Leases(error));
        }
        self.failed("scan the lease table", &error, retry_at.since(now));
        Ok(())
    }

    fn failed(&self, doing: &'static str, error: &dyn std::error::Error, retry_in: Duration) {
        self.report.error(chain(error));
        self.shared.events.call_failed(doing, error, Some(retry_in));
    }

    fn took(&mut self, take: &Take, end: TakeEnd, now: Moment) {
        self.takes.ended(&take.key, &end, now);
        self.schedule.moved(now);
        if self.fleet.is_outdated(self.takes.lost()) {
            self.schedule.outdated(now);
        }
        match end {
            TakeEnd::Held { row, sent } => self.hold(*row, sent, take.why),
            TakeEnd::Lost(Some(row)) => drop(self.fleet.saw_row(*row, now)),
            TakeEnd::Lost(None) => self.fleet.forget(&take.key),
            TakeEnd::Throttled | TakeEnd::Unread | TakeEnd::Unknown => {}
        }
    }

    /// Starts the holder of a lease that was taken, and grants the lease to a consumer.
    fn hold(&mut self, row: Lease, sent: Moment, why: TakeReason) {
        let key = row.key.clone();
        let (token, checkpoint) = (row.counter.into(), row.checkpoint);
        if let Some((dead, beat)) = self.fleet.saw_taken(row.clone(), sent) {
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                presence::remove_dead(&shared, &dead, beat).await;
                JobEnd::RemovedDead
            });
        }
        let grant = self.held.hold(row, sent);
        self.shared.events.emit(&Event::LeaseTaken { key, token, checkpoint, why });
        // A worker that stops, or whose application hangs, drops the grant: the holder then finds
        // that there is no consumer, and releases the lease.
        if self.is_running() {
            drop(self.grants.try_send(grant));
        }
    }

    fn asked(&mut self, key: LeaseKey, end: RequestEnd, now: Moment) {
        self.requests.ended(&key, &end, now);
        self.schedule.moved(now);
        if let RequestEnd::Arrived(row) = end {
            self.fleet.saw_row(*row, now);
            if self.is_running() {
                self.take_own(key);
            }
        }
    }

    fn turned(&mut self, end: TurnEnd, now: Moment) -> Result<(), RunError> {
        let is_done = matches!(end, TurnEnd::Done(_));
        match end {
            TurnEnd::Done(TurnReport { listed, uncovered, changes, error }) => {
                self.missing_stream.found();
                self.fleet.saw_shards(listed, &uncovered);
                if changes > 0 {
                    self.schedule.moved(now);
                }
                if let Some(error) = error {
                    self.failed(SYNC, &*error, TURN_EVERY);
                }
            }
            TurnEnd::Failed(error) => self.failed(SYNC, &*error, TURN_EVERY),
            TurnEnd::Missing(error) => {
                if self.missing_stream.is_believed("stream", now, BELIEVED_AFTER) {
                    return Err(RunError::Stream(error));
                }
                self.failed(SYNC, &error, TURN_EVERY);
            }
            TurnEnd::Fatal(error) => return Err(error),
        }
        let chance = self.shared.chance.draw();
        if is_done {
            self.schedule.turn_ended(chance, now);
        } else {
            self.schedule.turn_failed(chance, now);
        }
        self.schedule.line_up(&self.shared.me, &self.fleet.present(now));
        Ok(())
    }

    fn received(&mut self, message: ToMainLoop) {
        let now = self.now();
        match message {
            ToMainLoop::HandoverAsked { key, next } => {
                self.schedule.moved(now);
                let moved_at = self.fleet.has_asked(&next, now);
                self.held.asked(&key, next, moved_at);
            }
            ToMainLoop::LeaseEnded { key, how, row } => self.lease_ended(&key, how, *row, now),
            ToMainLoop::ConsumerGone { key } => {
                self.held.gone(&key);
                // A stopping worker re-takes the leases it kept, because taking them lets it
                // release them.
                if !self.is_running() && self.report.end_of(&key) == Some(LeaseEnd::Kept) {
                    self.take_own(key);
                }
            }
            ToMainLoop::Revived => self.fleet.start_over(),
            ToMainLoop::Announced => {
                // No other worker looks for the leases of the last one.
                let others = self.fleet.present(now).len() > 1;
                let notice = if others { self.notice() } else { Duration::ZERO };
                self.shut_down(ShutdownEvent::Announced { end: now + notice });
            }
            ToMainLoop::RowRead { row } => drop(self.fleet.saw_row(*row, now)),
        }
    }

    fn lease_ended(&mut self, key: &LeaseKey, how: LeaseEnd, row: Lease, now: Moment) {
        self.held.ended(key);
        self.report.ended(key.clone(), how, row.checkpoint);
        self.takes.cool_down(key.clone(), how, now);
        match how {
            LeaseEnd::Lost => self.fleet.forget(key),
            LeaseEnd::Released
            | LeaseEnd::Expired
            | LeaseEnd::HandedOver
            | LeaseEnd::ShardEnded
            | LeaseEnd::Kept => drop(self.fleet.saw_row(row, now)),
        }
        // Children and released leases wait for an owner.
        self.schedule.moved(now);
    }

    fn stop_requested(&mut self) {
        let (now, drain) = (self.now(), self.shared.config.shutdown.drain);
        let (end, until) = (now + self.notice() * 2, now + drain);
        self.shut_down(ShutdownEvent::StopRequested { end, until });
    }

    /// How long the other workers take to see that this one leaves.
    fn notice(&self) -> Duration {
        let drain = self.shared.config.shutdown.drain;
        shutdown::notice(self.fleet.scan_pauses().at_rest, drain)
    }

    fn shut_down(&mut self, event: ShutdownEvent) {
        let (next, action) = self.shutdown.on(event);
        self.shutdown = next;
        match action {
            Action::Nothing => {}
            Action::Announce => {
                self.report.state(WorkerState::Stopping);
                self.requests.withdraw_all();
            }
            Action::ReleaseLeases { until } => {
                self.leaving.remove.cancel();
                self.held.stop(until);
            }
        }
    }

    fn end_when_due(&mut self, now: Moment) {
        let is_clear = self.held.is_empty() && self.takes.is_empty() && self.requests.is_empty();
        let is_announcing = matches!(self.shutdown, Shutdown::Announcing { .. });
        if is_clear && (is_announcing || self.presence.len() == 0) {
            self.shut_down(ShutdownEvent::AllReleased);
        }
        // A machine that was suspended may have missed more than one end.
        while self.shutdown.wake_at().is_some_and(|at| now >= at) {
            self.shut_down(ShutdownEvent::TimeUp);
        }
    }
}
