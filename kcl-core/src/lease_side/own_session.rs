//! This worker's session: runs the state machine [`SessionKeeper`], and links it to the holders.
//!
//! The main loop owns it, and sends its writes. A heartbeat is due at [`OwnSession::wake_at`]; what
//! the session wants of the main loop is its [`OwnSession::next_news`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kcl_proto::lease::session::{
    HolderReport, KeeperEffect, SessionEnd, SessionInput, SessionKeeper, SessionTimes,
};
use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::model::{Conditional, Lease, LeaseKey, Moment, Session, SessionProgress, WorkerId};
use tokio::sync::Notify;

use crate::backend::{LeaseStore, LeaseStoreError};
use crate::lease_side::held_leases::InSession;
use crate::lease_side::session_link::{self, KeeperEnd};
use crate::lease_side::shared::Shared;
use crate::report::events::Events;

/// The name of its writes, in events.
pub(super) const WRITE: &str = "write this worker's session";

/// How often a resignation is tried: a last heartbeat may land in between.
const RESIGNATIONS_MAX: usize = 3;

/// Frees the leases of a worker that has ended without releasing them, if its session still lives.
/// No part of the worker runs, so the progress in its row is final.
pub(crate) async fn resign(store: &dyn LeaseStore, worker: &WorkerId, events: &Events) {
    for _ in 0..RESIGNATIONS_MAX {
        match try_to_resign(store, worker).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return events.call_failed(WRITE, &error, None),
        }
    }
}

/// Returns whether the session is over.
async fn try_to_resign(store: &dyn LeaseStore, me: &WorkerId) -> Result<bool, LeaseStoreError> {
    let Some(row) = store.session(me).await?.filter(Session::is_live) else { return Ok(true) };
    let Session { beat, write, progress, .. } = row;
    let number = write.map_or(0, |last| last.wrapping_add(1));
    let kind = SessionWriteKind::Resign { beat, number, progress };
    let end = store.write_session(&SessionWrite { session: me.clone(), kind }).await?;
    Ok(matches!(end, Conditional::Applied(_)))
}

/// Removes the row of a session that has not beaten yet, if the table allows it.
pub(super) async fn remove(shared: &Shared) {
    let (session, kind) = (shared.me.clone(), SessionWriteKind::Close { beat: 1 });
    let write = SessionWrite { session, kind };
    if let Err(error) = shared.store.write_session(&write).await {
        shared.events.call_failed("remove this worker's session", &error, None);
    }
}

/// What the session wants of the main loop.
#[derive(Debug)]
pub(super) enum SessionNews {
    /// Send this write, and pass its outcome to [`OwnSession::answered`].
    Write(SessionWrite),
    /// The row says that this worker leaves.
    Announced,
    /// The heartbeat counts again. It had not for so long that no holder was left.
    Revived,
    /// Another worker asks for this lease.
    Asked(LeaseKey),
    /// The holder of this lease does not answer. Its consumer stops at that moment.
    Stuck { key: LeaseKey, until: Moment },
    /// The session is over, and so is every holding.
    Ended(SessionEnd),
}

/// The session of this worker.
#[derive(Debug)]
pub(super) struct OwnSession {
    shared: Arc<Shared>,
    keeper: SessionKeeper,
    holders: BTreeMap<LeaseKey, KeeperEnd>,
    /// Woken by a holder whose progress is to be stored at once.
    urgent: Arc<Notify>,
    news: VecDeque<SessionNews>,
    /// Until when holders may process.
    lives_until: Option<Moment>,
    /// Whether the heartbeat in flight says that this worker leaves.
    is_announcing: bool,
    is_closing: bool,
    is_over: bool,
}

impl OwnSession {
    /// A new session, whose first write is its first news.
    pub(super) fn open(shared: &Arc<Shared>) -> Self {
        let lease = &shared.config.lease;
        let times = SessionTimes {
            expiry: lease.expiry,
            beat_every: lease.beat(),
            throttled: (lease.expiry / 10).mul_f64(shared.chance.draw_near_one()),
        };
        let now = (shared.clock.now(), shared.clock.time_of_day());
        let (me, numbers) = (shared.me.clone(), shared.write_numbers());
        let (keeper, first) = SessionKeeper::open(me, times, numbers, now);
        let mut session = Self {
            shared: Arc::clone(shared),
            keeper,
            holders: BTreeMap::new(),
            urgent: Arc::default(),
            news: VecDeque::new(),
            lives_until: None,
            is_announcing: false,
            is_closing: false,
            is_over: false,
        };
        session.carry_out(first, shared.clock.now());
        session
    }

    /// Removes and returns what the session wants next.
    pub(super) fn next_news(&mut self) -> Option<SessionNews> {
        self.news.pop_front()
    }

    /// Until when a holding that begins now may process, or `None` if the session has lapsed.
    pub(super) fn lives_until(&self, now: Moment) -> Option<Moment> {
        self.keeper.deadline().filter(|until| *until > now)
    }

    /// The progress of this worker's leases that their rows may lack.
    pub(super) const fn progress(&self) -> &SessionProgress {
        self.keeper.progress()
    }

    /// The progress that the row contains.
    pub(super) const fn stored(&self) -> &SessionProgress {
        self.keeper.stored()
    }

    /// Whether the session is over: its row is deleted, or says that this worker is dead.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// When to call [`tick`](Self::tick).
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.keeper.wake_at().filter(|_| !self.is_over)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Moment) {
        if self.wake_at().is_some_and(|at| now >= at) {
            self.feed(SessionInput::Tick, now);
        }
    }

    /// Waits until a holder wants progress to be stored at once. Call [`hurry`](Self::hurry) then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// Stores the progress of the holders soon.
    pub(super) fn hurry(&mut self, now: Moment) {
        self.read_reports(None, true, now);
    }

    /// Passes on what the holders have said since the last call, and what one `more` says.
    fn read_reports(&mut self, more: Option<HolderReport>, is_urgent: bool, now: Moment) {
        let reports = self.holders.values_mut().filter_map(KeeperEnd::report);
        let reports = reports.chain(more).collect();
        self.pass(SessionInput::Reports { reports, is_urgent }, now);
    }

    /// Notes the outcome of the write in flight.
    pub(super) fn answered(
        &mut self,
        outcome: Result<Conditional<Session>, LeaseStoreError>,
        now: Moment,
    ) {
        let input = match outcome {
            Ok(outcome) => SessionInput::Answered(outcome),
            Err(error) => {
                let is_throttled = error.is_throttled();
                self.shared.events.call_failed(WRITE, &error, None);
                if is_throttled { SessionInput::Throttled } else { SessionInput::Unanswered }
            }
        };
        self.feed(input, now);
    }

    /// Adds a holder for the lease with this row. Returns what it needs, or `None` if the session
    /// has lapsed.
    pub(super) fn hold(&mut self, row: &Lease, now: Moment) -> Option<InSession> {
        let lives_until = self.lives_until(now)?;
        let (key, urgent) = (row.key.clone(), Arc::clone(&self.urgent));
        let token = row.counter.into();
        let (link, session) = session_link::link(key.clone(), token, urgent);
        self.holders.insert(key.clone(), session);
        self.feed(SessionInput::Holds { key, token }, now);
        Some(InSession { link, lives_until, now })
    }

    /// Notes that a holding has ended, and keeps its last progress until a row contains it.
    pub(super) fn ended(&mut self, key: &LeaseKey, now: Moment) {
        if let Some(mut holder) = self.holders.remove(key) {
            self.read_reports(Some(holder.last_report()), false, now);
            self.pass(SessionInput::Ended(key.clone()), now);
        }
    }

    /// Notes a row that was read or written.
    pub(super) fn saw(&mut self, row: &Lease, now: Moment) {
        if self.progress().0.contains_key(&row.key) {
            self.feed(SessionInput::Seen(Box::new(row.clone())), now);
        }
    }

    /// Notes that a lease has no row.
    pub(super) fn saw_none(&mut self, key: &LeaseKey, now: Moment) {
        if self.progress().0.contains_key(key) {
            self.feed(SessionInput::Gone(key.clone()), now);
        }
    }

    /// Announces that this worker leaves.
    pub(super) fn leave(&mut self, now: Moment) {
        self.feed(SessionInput::Leave, now);
    }

    /// Whether the session is over, or about to be.
    pub(super) const fn is_closing(&self) -> bool {
        self.is_closing || self.is_over
    }

    /// Ends the session: nothing is held. If a lease may still name this worker, its row
    /// stays and says that the worker is dead.
    pub(super) fn close(&mut self, is_named: bool, now: Moment) {
        self.is_closing = true;
        self.feed(SessionInput::Close { is_named }, now);
    }

    /// Feeds an input. What the holders have to say comes before one that may cause a heartbeat.
    fn feed(&mut self, input: SessionInput, now: Moment) {
        let may_beat = matches!(
            input,
            SessionInput::Answered(_) | SessionInput::Leave | SessionInput::Close { .. }
        );
        if may_beat || self.wake_at().is_some_and(|at| now >= at) {
            self.read_reports(None, false, now);
        }
        self.pass(input, now);
    }

    fn pass(&mut self, input: SessionInput, now: Moment) {
        let time = self.shared.clock.time_of_day();
        for effect in self.keeper.on(input, now, time) {
            self.carry_out(effect, now);
        }
    }

    fn carry_out(&mut self, effect: KeeperEffect, now: Moment) {
        match effect {
            KeeperEffect::Write(write) => {
                self.is_announcing =
                    matches!(write.kind, SessionWriteKind::Beat { is_leaving: true, .. });
                self.news.push_back(SessionNews::Write(write));
            }
            KeeperEffect::Lives(until) => {
                if self.lives_until.is_some_and(|until| until <= now) {
                    self.news.push_back(SessionNews::Revived);
                }
                if self.is_announcing {
                    self.news.push_back(SessionNews::Announced);
                }
                self.lives_until = Some(until);
                self.holders.values().for_each(|holder| holder.lives(until));
            }
            KeeperEffect::Stored { key, progress } => {
                if let Some(holder) = self.holders.get(&key) {
                    holder.stored(progress);
                }
            }
            KeeperEffect::Asked(key) => self.news.push_back(SessionNews::Asked(key)),
            KeeperEffect::Stuck { key, until } => {
                if let Some(holder) = self.holders.get_mut(&key) {
                    holder.stuck();
                }
                self.news.push_back(SessionNews::Stuck { key, until });
            }
            KeeperEffect::Ended(how) => {
                self.is_over = true;
                self.holders.values().for_each(KeeperEnd::over);
                self.news.push_back(SessionNews::Ended(how));
            }
        }
    }
}
