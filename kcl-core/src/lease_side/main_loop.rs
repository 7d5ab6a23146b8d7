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
use kcl_proto::worker::schedule::{SCAN_RETRY_AFTER, Schedule, TURN_EVERY};
use kcl_proto::worker::shutdown::{Action, Event as ShutdownEvent, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::fleet_view::{FleetView, OwnLeases};
use crate::lease_side::handover_requests::HandoverRequests;
use crate::lease_side::held_leases::HeldLeases;
use crate::lease_side::holder::ToMainLoop;
use crate::lease_side::housekeeping::{self, TurnEnd, TurnReport};
use crate::lease_side::jobs::Jobs;
use crate::lease_side::presence;
use crate::lease_side::shared::Shared;
use crate::lease_side::startup_checks::StreamFacts;
use crate::lease_side::table_scan::{self, Table};
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
    Scanned(Result<Table, LeaseStoreError>),
    Took(Take, TakeEnd),
    Asked(LeaseKey, RequestEnd),
    Turned(TurnEnd),
}

/// The main loop of the lease side.
#[derive(Debug)]
pub(super) struct MainLoop {
    shared: Arc<Shared>,
    stream: StreamFacts,
    grants: mpsc::Sender<Grant>,
    inbox: mpsc::Receiver<ToMainLoop>,
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
    report: WorkerReport,
}

impl MainLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamFacts,
        grants: mpsc::Sender<Grant>,
        status: watch::Sender<WorkerStatus>,
    ) -> Self {
        let (to_main_loop, inbox) = mpsc::channel(INBOX_MAX);
        Self {
            fleet: FleetView::new(Arc::clone(&shared)),
            held: HeldLeases::new(Arc::clone(&shared), stream.clone(), to_main_loop.clone()),
            takes: Takes::new(Arc::clone(&shared)),
            requests: HandoverRequests::new(Arc::clone(&shared), to_main_loop),
            jobs: Jobs::new(),
            schedule: Schedule::new(shared.clock.now()),
            shutdown: Shutdown::Running,
            missing_table: MissingWatch::default(),
            missing_stream: MissingWatch::default(),
            report: WorkerReport::new(status),
            shared,
            stream,
            grants,
            inbox,
        }
    }

    /// Works until `stop`, then releases every lease. Returns how each lease ended.
    pub(super) async fn run(
        mut self,
        stop: CancellationToken,
    ) -> Result<Vec<ShardReport>, RunError> {
        self.report.state(WorkerState::Running);
        let halt = stop.child_token();
        let mut presence = Tasks::default();
        let span = tracing::Span::current();
        presence.spawn("presence", span, presence::run(Arc::clone(&self.shared), halt.clone()));
        let mut fatal = None;
        loop {
            self.begin_due();
            if self.shutdown == Shutdown::Stopped {
                return fatal.map_or_else(|| Ok(self.report.into_shards()), Err);
            }
            let wake = sleep_until(&*self.shared.clock, self.wake_at());
            tokio::select! {
                biased;
                () = halt.cancelled(), if self.shutdown == Shutdown::Running => {
                    let until = self.now() + self.shared.config.shutdown.drain;
                    self.shut_down(ShutdownEvent::StopRequested { until });
                }
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
                end = presence.ended() => {
                    end.check()?;
                    self.shut_down(ShutdownEvent::PresenceRemoved);
                }
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
        self.shutdown.wake_at().unwrap_or_else(|| self.schedule.wake_at())
    }

    fn begin_due(&mut self) {
        let now = self.now();
        if !self.is_running() {
            self.end_when_due(now);
            return;
        }
        if self.schedule.begin_scan(now) {
            let shared = Arc::clone(&self.shared);
            self.jobs.push(async move {
                JobEnd::Scanned(table_scan::run(&shared, Reading::Eventual).await)
            });
        }
        if self.schedule.begin_turn(now) {
            let (shared, stream) = (Arc::clone(&self.shared), self.stream.clone());
            let obsolete = self.fleet.obsolete(now);
            self.jobs.push(async move {
                JobEnd::Turned(housekeeping::run(&shared, &stream, &obsolete).await)
            });
        }
        if self.schedule.begin_plan(now) {
            self.balance(now);
        }
    }

    /// Decides what to take and what to ask for, and begins it.
    fn balance(&mut self, now: Moment) {
        let held = self.held.keys();
        let own = OwnLeases {
            held: &held,
            blocked: &self.blocked(now),
            refused: &self.requests.refused(now),
            asked: &self.requests.open(),
        };
        let plan = self.fleet.plan(own, now);
        let changes = [
            self.takes.next_chance(now),
            self.requests.next_chance(now),
            self.fleet.next_expiry(now),
        ];
        self.schedule.planned(changes.into_iter().flatten().min(), now);
        self.takes.set_alternatives(plan.alternatives);
        for take in plan.take {
            self.take(take);
        }
        for ask in plan.ask {
            if let Some(job) = self.requests.begin(ask) {
                self.jobs.push(job.map(|(key, end)| JobEnd::Asked(key, end)));
            }
        }
        let held = self.held.observe(&self.fleet, now);
        self.report.holdings(held, self.fleet.len(), self.shared.memory.usage());
    }

    /// The leases that must not be taken: a former consumer still exists, a take is in flight,
    /// other workers come first, or the shard is stopped.
    fn blocked(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let mut blocked = self.takes.blocked(now);
        blocked.extend(self.held.lingering().cloned());
        blocked.extend(self.shared.stopped.leases());
        blocked
    }

    fn take(&mut self, take: Take) {
        if self.held.contains(&take.key) {
            return;
        }
        let key = take.key.clone();
        if let Some(job) = self.takes.begin(take) {
            self.requests.abandon(&key);
            self.jobs.push(job.map(|(take, end)| JobEnd::Took(take, end)));
        }
    }

    /// Takes a lease whose row names this worker as its owner.
    fn take_own(&mut self, key: LeaseKey) {
        if let Some(row) = self.fleet.row(&key) {
            let (counter, owner_switches) = (row.counter, row.owner_switches);
            self.take(Take { key, counter, owner_switches, why: TakeReason::HandedOver });
        }
    }

    /// Handles the end of a job. An error ends the worker.
    fn finish(&mut self, end: JobEnd) -> Result<(), RunError> {
        let now = self.now();
        match end {
            JobEnd::Scanned(Ok(table)) => self.scanned(table, now),
            JobEnd::Scanned(Err(error)) => self.scan_failed(error, now)?,
            JobEnd::Took(take, end) => self.took(&take, end, now),
            JobEnd::Asked(key, end) => self.asked(key, end, now),
            JobEnd::Turned(end) => self.turned(end, now)?,
        }
        Ok(())
    }

    fn scanned(&mut self, table: Table, now: Moment) {
        self.missing_table.found();
        self.fleet.saw_table(table, now);
        self.takes.prune(now);
        self.requests.prune(now);
        self.held.hint(&self.fleet);
        // A worker that was ahead in line may be gone.
        self.schedule.line_up(&self.shared.me, &self.fleet.present(now));
        self.schedule.scan_ended(self.fleet.scan_pause(now), now);
    }

    fn scan_failed(&mut self, error: LeaseStoreError, now: Moment) -> Result<(), RunError> {
        self.schedule.scan_ended(SCAN_RETRY_AFTER, now);
        let is_missing = matches!(error, LeaseStoreError::TableMissing { .. })
            && self.missing_table.is_believed("table", now, BELIEVED_AFTER);
        if is_missing || matches!(error, LeaseStoreError::WrongKey { .. }) {
            return Err(RunError::Leases(error));
        }
        self.failed("scan the lease table", &error, SCAN_RETRY_AFTER);
        Ok(())
    }

    fn failed(&self, doing: &'static str, error: &dyn std::error::Error, retry_in: Duration) {
        self.report.error(chain(error));
        self.shared.events.call_failed(doing, error, Some(retry_in));
    }

    fn took(&mut self, take: &Take, end: TakeEnd, now: Moment) {
        self.takes.ended(&take.key);
        match end {
            TakeEnd::Held { row, sent } => self.hold(*row, sent, take.why),
            TakeEnd::Lost(Some(row)) => {
                self.fleet.saw_row(*row, now);
                if self.is_running()
                    && let Some(next) = self.takes.next_alternative()
                {
                    self.take(next);
                }
            }
            TakeEnd::Lost(None) => self.fleet.forget(&take.key),
            TakeEnd::Unknown => self.schedule.scan_now(now),
        }
    }

    /// Starts the holder of a lease that was taken, and grants the lease to a consumer.
    fn hold(&mut self, row: Lease, sent: Moment, why: TakeReason) {
        let key = row.key.clone();
        let (token, checkpoint) = (row.counter.into(), row.checkpoint);
        self.fleet.saw_row(row.clone(), sent);
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
                    self.schedule.scan_now(now);
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
            ToMainLoop::RowRead { row } => self.fleet.saw_row(*row, now),
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
            | LeaseEnd::Kept => self.fleet.saw_row(row, now),
        }
        // Children and released leases wait for an owner.
        self.schedule.scan_soon(now);
    }

    fn shut_down(&mut self, event: ShutdownEvent) {
        let (next, action) = self.shutdown.on(event);
        self.shutdown = next;
        match action {
            Action::Nothing => {}
            Action::LeaveFleet => {
                // The presence task has the same token, and removes the row.
                self.report.state(WorkerState::Stopping);
                self.requests.withdraw_all();
            }
            Action::ReleaseLeases { until } => self.held.stop(until),
        }
    }

    fn end_when_due(&mut self, now: Moment) {
        if self.held.is_empty() && self.takes.is_empty() && self.requests.is_empty() {
            self.shut_down(ShutdownEvent::AllReleased);
        }
        // A machine that was suspended may have missed more than one end.
        while self.shutdown.wake_at().is_some_and(|at| now >= at) {
            self.shut_down(ShutdownEvent::TimeUp);
        }
    }
}
