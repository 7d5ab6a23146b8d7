//! The main loop of the lease side: scans the table, decides which leases to take or ask for, and
//! keeps the holders.
//!
//! It never waits for a call: scans, moves of leases and housekeeping run as jobs beside it, so
//! that a slow call delays neither an expiry nor a shutdown.

use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use kcl_proto::fleet::lookout::Role;
use kcl_proto::lease::session::SessionEnd;
use kcl_proto::model::{Conditional, Moment, Session};
use kcl_proto::worker::missing_watch::{BELIEVED_AFTER, MissingWatch};
use kcl_proto::worker::schedule::{Schedule, TURN_EVERY};
use kcl_proto::worker::shutdown::{self, Action, Event as ShutdownEvent, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::backend::{LeaseStoreError, Page};
use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::housekeeping::{self, TurnEnd, TurnReport};
use crate::lease_side::inbox::{EndedLease, ToMainLoop};
use crate::lease_side::jobs::Jobs;
use crate::lease_side::known_rows::KnownRows;
use crate::lease_side::lookout::Lookout;
use crate::lease_side::lookout_end::LookoutEnd;
use crate::lease_side::moves::{Move, Moves};
use crate::lease_side::own_row::{OwnRow, Wake};
use crate::lease_side::own_session::{OwnSession, SessionNews};
use crate::lease_side::shared::Shared;
use crate::lease_side::startup_checks::Start;
use crate::lease_side::stream_facts::StreamFacts;
use crate::lease_side::table_scan::TableScan;
use crate::lease_side::verdicts::Verdicts;
use crate::lease_side::worker_report::WorkerReport;
use crate::messages::Grant;
use crate::report::error::RunError;
use crate::report::event::{Event, ShardReport, WorkerState, WorkerStatus};
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;

/// What a turn of housekeeping does, in events.
const SYNC: &str = "sync shards and leases";

/// How many messages wait for the main loop at most.
const INBOX_MAX: usize = 256;

/// How a job ended.
#[derive(Debug)]
enum JobEnd {
    Page(Result<Page, LeaseStoreError>),
    Turned(TurnEnd),
    WroteSession(Result<Conditional<Session>, LeaseStoreError>),
}

/// The main loop of the lease side.
#[derive(Debug)]
pub(super) struct MainLoop {
    shared: Arc<Shared>,
    stream: StreamFacts,
    inbox: mpsc::Receiver<ToMainLoop>,
    scan: TableScan,
    rows: KnownRows,
    moves: Moves,
    verdicts: Verdicts,
    lookout: Lookout,
    jobs: Jobs<JobEnd>,
    schedule: Schedule,
    shutdown: Shutdown,
    /// Scans that do not find the table.
    missing_table: MissingWatch,
    /// Turns that do not find the stream.
    missing_stream: MissingWatch,
    /// Ends the worker: the application's stop, or an error of its own.
    halt: CancellationToken,
    report: WorkerReport,
}

impl MainLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        Start { stream, session }: Start,
        grants: mpsc::Sender<Grant>,
        status: watch::Sender<WorkerStatus>,
        stop: &CancellationToken,
    ) -> Self {
        let (to_main_loop, inbox) = mpsc::channel(INBOX_MAX);
        // A presence has the token of the stop itself, so that nothing is released before it
        // announces that this worker leaves.
        let halt = stop.child_token();
        let own = OwnRow::new(&shared, session, halt.clone(), to_main_loop.clone());
        Self {
            scan: TableScan::new(Arc::clone(&shared)),
            rows: KnownRows { fleet: FleetView::new(Arc::clone(&shared)), own },
            moves: Moves::new(Arc::clone(&shared), stream.clone(), grants, to_main_loop),
            verdicts: Verdicts::new(Arc::clone(&shared)),
            lookout: Lookout::new(Arc::clone(&shared), stream.start.stream.clone()),
            jobs: Jobs::new(),
            schedule: Schedule::new(shared.clock.now()),
            shutdown: Shutdown::Running,
            missing_table: MissingWatch::default(),
            missing_stream: MissingWatch::default(),
            halt,
            report: WorkerReport::new(status),
            shared,
            stream,
            inbox,
        }
    }

    /// Works until the stop, then releases every lease. Returns how each lease ended.
    pub(super) async fn run(mut self) -> Result<Vec<ShardReport>, RunError> {
        self.report.state(WorkerState::Running);
        let halt = self.halt.clone();
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
                    if let Err(error) = self.finish(end) {
                        // This worker cannot continue, others may: leases are released first.
                        fatal.get_or_insert(error);
                        halt.cancel();
                    }
                }
                moved = self.moves.next() => match moved {
                    Move::Job(end) => {
                        let now = self.now();
                        if end.is_unclear() && self.lookout.role(now) == Role::Follows {
                            self.schedule.scan_by(now); // No lookout knows what this worker knows.
                        }
                        let has_moved = self.moves.finish(end, &mut self.rows, now);
                        self.moved(has_moved, now);
                    }
                    Move::Holder(end) => end.check()?,
                },
                end = self.lookout.next() => self.looked(end),
                verdict = self.verdicts.next() => {
                    self.schedule.plan_changed();
                    let now = self.now();
                    self.verdicts.reached(verdict, &mut self.rows.fleet, now);
                }
                wake = self.rows.own.wakes() => match wake {
                    Wake::TaskEnded(end) => end.check()?,
                    Wake::Urgent => self.hurry(),
                },
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
        let others = [self.moves.wake_at(now), self.rows.own.wake_at(), self.lookout.wake_at(now)];
        others.into_iter().flatten().fold(wake_at, Moment::min)
    }

    fn begin_due(&mut self) {
        let now = self.now();
        self.keep_session(now);
        self.take_part(now);
        if !self.is_running() {
            self.end_when_due(now);
            return;
        }
        if self.schedule.begin_page(now) {
            self.jobs.push(self.scan.page(now).map(JobEnd::Page));
        }
        if self.schedule.begin_turn(now) {
            self.take_turn(now);
        }
        if self.schedule.begin_plan(now) {
            self.balance(now);
        }
        self.moves.begin_due(&self.rows, now);
    }

    /// Takes a turn of housekeeping, or leaves it to those that know all leases.
    fn take_turn(&mut self, now: Moment) {
        if !self.rows.fleet.is_known() {
            return self.turn_ended(true, now);
        }
        let (shared, stream) = (Arc::clone(&self.shared), self.stream.clone());
        let known = self.rows.fleet.known(now);
        self.jobs
            .push(async move { JobEnd::Turned(housekeeping::run(&shared, &stream, known).await) });
    }

    /// Does this worker's part among the lookouts.
    fn take_part(&mut self, now: Moment) {
        self.rows.fleet.set_role(self.lookout.role(now));
        for at in self.lookout.scans_at(&self.moves, &self.rows, now) {
            self.schedule.scan_by(at);
        }
        if self.lookout.lacks_plan(now) {
            self.schedule.plan_changed();
        }
        self.lookout.begin_due(&self.moves, now);
    }

    /// Notes what this worker read as a lookout, or from them.
    fn looked(&mut self, end: LookoutEnd) {
        let now = self.now();
        let Some(learned) = self.lookout.finish(end, now) else { return };
        learned.doubtful.iter().for_each(|key| self.moves.row_changed(key));
        if learned.is_look() {
            self.rows.learned(learned, now);
            self.moves.hint(&self.rows);
            self.verdicts.rows_read(&self.rows.fleet, now);
        }
        self.schedule.plan_changed();
    }

    /// Decides which leases move and which workers are dead, and begins it.
    fn balance(&mut self, now: Moment) {
        let assigned = self.lookout.assigned(now);
        self.moves.balance(&mut self.rows, assigned.as_ref(), now);
        self.lookout.plan(&mut self.rows.fleet, &self.moves, now);
        if self.lookout.is_moving() {
            self.schedule.moved(now);
        }
        self.verdicts.condemn(&self.rows.fleet, now);
        let held = self.moves.observe(&self.rows, now);
        self.report.holdings(held, &self.rows.fleet, &self.shared);
        let changes = [self.moves.next_chance(now), self.rows.fleet.next_expiry(now)];
        self.schedule.planned(changes.into_iter().flatten().min(), now, self.now());
    }

    /// Notes that a job of a move has ended.
    fn moved(&mut self, has_moved: bool, now: Moment) {
        self.schedule.plan_changed();
        if has_moved {
            self.schedule.moved(now);
        }
        if self.rows.fleet.is_outdated(self.moves.takes_lost()) {
            self.schedule.outdated(now);
        }
    }

    /// Has the progress of the holders stored soon.
    fn hurry(&mut self) {
        let now = self.now();
        if let Some(session) = self.rows.own.session() {
            session.hurry(now);
        }
    }

    /// Does what is due for this worker's session, and carries out what it wants.
    fn keep_session(&mut self, now: Moment) {
        let Some(session) = self.rows.own.session() else { return };
        session.tick(now);
        while let Some(news) = self.rows.own.session().and_then(OwnSession::next_news) {
            match news {
                SessionNews::Write(write) => {
                    let shared = Arc::clone(&self.shared);
                    self.jobs.push(async move {
                        JobEnd::WroteSession(shared.store.write_session(&write).await)
                    });
                }
                SessionNews::Announced => self.announced(now),
                SessionNews::Revived => self.rows.fleet.start_over(),
                SessionNews::Asked(key) => {
                    self.moves.row_changed(&key);
                    self.lookout.asked(key, now);
                }
                SessionNews::Stuck { key, until } => self.moves.give_up(key, until, &self.rows),
                SessionNews::Ended(how) if self.is_running() => self.begin_again(&how),
                SessionNews::Ended(_) => {}
            }
        }
    }

    /// Continues as another incarnation: this one counts as dead. Its holdings end by themselves.
    fn begin_again(&mut self, how: &SessionEnd) {
        let shared = Arc::new(self.shared.reborn());
        let (worker, reason) = (shared.me.clone(), how.to_string());
        shared.events.emit(&Event::SessionLost { worker: worker.clone(), reason });
        shared.events.set_worker(&worker);
        self.report.worker(&worker);
        self.jobs = Jobs::new();
        self.scan = TableScan::new(Arc::clone(&shared));
        let own = OwnRow::Session(Box::new(OwnSession::open(&shared)));
        self.rows = KnownRows { fleet: FleetView::new(Arc::clone(&shared)), own };
        self.moves.reborn(&shared);
        self.verdicts = Verdicts::new(Arc::clone(&shared));
        self.lookout = Lookout::new(Arc::clone(&shared), self.stream.start.stream.clone());
        self.schedule = Schedule::new(shared.clock.now());
        self.shared = shared;
    }

    /// Handles the end of a job. An error ends the worker.
    fn finish(&mut self, end: JobEnd) -> Result<(), RunError> {
        let now = self.now();
        match end {
            JobEnd::Page(Ok(page)) => self.page_read(page, now),
            JobEnd::Page(Err(error)) => self.page_failed(error, now)?,
            JobEnd::Turned(end) => self.turned(end, now)?,
            JobEnd::WroteSession(outcome) => {
                if let Some(session) = self.rows.own.session() {
                    session.answered(outcome, now);
                }
                return Ok(()); // A heartbeat changes no plan.
            }
        }
        self.schedule.plan_changed();
        Ok(())
    }

    fn page_read(&mut self, page: Page, now: Moment) {
        self.missing_table.found();
        let (leases, end) = self.scan.read(page);
        self.rows.saw_page(leases, now);
        let Some(scan) = end else { return self.schedule.page_ended(now) };
        if self.rows.fleet.saw_table(&scan, now) {
            self.schedule.moved(now);
        }
        let fleet = &self.rows.fleet;
        self.report.prune(|key| fleet.row(key).is_some());
        self.verdicts.rows_read(fleet, now);
        self.lookout.observe(self.rows.fleet.standing(now));
        self.rows.fleet.set_role(self.lookout.role(now));
        self.rows.fleet.plan_scans();
        self.moves.scan_ended(scan.began, &self.rows, now);
        let fleet = &self.rows.fleet;
        // A worker that was ahead in line may be gone.
        self.schedule.line_up(&self.shared.me, fleet.company());
        self.schedule.scan_ended(fleet.scan_pauses(), now);
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

    fn turned(&mut self, end: TurnEnd, now: Moment) -> Result<(), RunError> {
        let is_done = matches!(end, TurnEnd::Done(_));
        match end {
            TurnEnd::Done(TurnReport { listed, uncovered, changes, buried, error }) => {
                self.missing_stream.found();
                self.rows.fleet.buried(&buried);
                self.rows.fleet.saw_shards(listed, &uncovered);
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
        self.turn_ended(is_done, now);
        Ok(())
    }

    fn turn_ended(&mut self, is_done: bool, now: Moment) {
        let chance = self.shared.chance.draw();
        if is_done {
            self.schedule.turn_ended(chance, now);
        } else {
            self.schedule.turn_failed(chance, now);
        }
        self.schedule.line_up(&self.shared.me, &self.rows.fleet.present(now));
    }

    fn received(&mut self, message: ToMainLoop) {
        let now = self.now();
        match message {
            ToMainLoop::HandoverAsked { key, next } => {
                self.schedule.moved(now);
                self.moves.asked(&key, next, &self.rows, now);
            }
            ToMainLoop::LeaseEnded(ended) => {
                let EndedLease { how, row } = &*ended;
                self.report.ended(row.key.clone(), *how, row.checkpoint);
                if row.owner.is_none() || row.is_ended() {
                    let children = row.children.iter().map(ToString::to_string);
                    self.lookout.tell(children.chain([row.key.to_string()]), now);
                }
                self.moves.lease_ended(*ended, &mut self.rows, now);
                // Children and released leases wait for an owner.
                self.schedule.moved(now);
            }
            ToMainLoop::ConsumerGone { key } => {
                let how = self.report.end_of(&key);
                self.moves.consumer_gone(key, how, &self.rows);
            }
            ToMainLoop::Revived => self.rows.fleet.start_over(),
            ToMainLoop::Announced => self.announced(now),
            ToMainLoop::RequestBegun { key, owner } => self.moves.request_begun(key, owner, now),
            ToMainLoop::RowKnown { row } => self.rows.saw_page(vec![*row], now),
        }
    }

    /// Notes that this worker's row says that it leaves.
    fn announced(&mut self, now: Moment) {
        self.lookout.leave(now);
        // No other worker looks for the leases of the last one.
        let others =
            self.lookout.role(now) != Role::Scans || self.rows.fleet.present(now).len() > 1;
        let notice = if others { self.notice() } else { Duration::ZERO };
        self.shut_down(ShutdownEvent::Announced { end: now + notice });
    }

    fn stop_requested(&mut self) {
        let (now, drain) = (self.now(), self.shared.config.shutdown.drain);
        let (end, until) = (now + self.notice() * 2, now + drain);
        self.shut_down(ShutdownEvent::StopRequested { end, until });
    }

    /// How long the other workers take to see that this one leaves.
    fn notice(&self) -> Duration {
        let drain = self.shared.config.shutdown.drain;
        shutdown::notice(self.rows.fleet.scan_pauses().at_rest, drain)
    }

    fn shut_down(&mut self, event: ShutdownEvent) {
        let (next, action) = self.shutdown.on(event);
        self.shutdown = next;
        match action {
            Action::Nothing => {}
            Action::Announce => {
                self.report.state(WorkerState::Stopping);
                self.moves.stop();
                let now = self.now();
                self.rows.own.leave(now);
            }
            Action::ReleaseLeases { until } => {
                self.rows.own.remove();
                self.moves.release_all(until);
            }
        }
    }

    fn end_when_due(&mut self, now: Moment) {
        let are_over = self.moves.are_over();
        let is_announcing = matches!(self.shutdown, Shutdown::Announcing { .. });
        if are_over && !is_announcing {
            self.close_session(now);
        }
        if are_over && (is_announcing || self.rows.own.is_gone()) {
            self.shut_down(ShutdownEvent::AllReleased);
        }
        // A machine that was suspended may have missed more than one end.
        while self.shutdown.wake_at().is_some_and(|at| now >= at) {
            self.shut_down(ShutdownEvent::TimeUp);
        }
    }

    /// Ends this worker's session once no lease names it, or none can be released.
    fn close_session(&mut self, now: Moment) {
        if self.rows.own.session().is_none_or(|session| session.is_closing()) {
            return;
        }
        if let Some(may_be_named) = self.moves.let_go_of_all(&self.rows, now)
            && let Some(session) = self.rows.own.session()
        {
            session.close(may_be_named, now);
            self.keep_session(now);
        }
    }
}
