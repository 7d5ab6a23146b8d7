//! One worker: the real machines of its session and of its one lease, and the shell around them.

use std::sync::Arc;
use std::time::Duration;

use super::super::consumer::{Consumer, Order};
use super::super::violation::Violation;
use super::message::{Call, LeaseCall, Message, SessionCall};
use super::step::Mode;
use crate::consumer::progress::Done;
use crate::fleet::sessions::SessionWatch;
use crate::lease::expiry::CounterWatch;
use crate::lease::holding::{Holding, HoldingEffect, HoldingInput, HoldingTimes, InSession, Taken};
use crate::lease::session::{
    HolderReport, KeeperEffect, SessionEnd, SessionInput, SessionKeeper, SessionTimes,
};
use crate::lease::session_write::SessionWrite;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Checkpoint, Conditional, Lease, LeaseKey, Moment, Timestamp, WorkerId};

/// The expiry of both workers.
pub(super) const EXPIRY: Duration = Duration::from_secs(20);

/// What a worker is doing about the lease.
#[derive(Clone, Debug, Hash)]
pub(super) enum Role {
    Idle,
    Taking {
        sent: Moment,
    },
    /// A write is in flight whose outcome the next look shows.
    Errand,
    Holding(Box<(Holding, Consumer)>),
    /// The lease is no longer held, but its consumer still runs.
    Losing(Consumer),
}

/// One worker.
#[derive(Clone, Debug, Hash)]
pub(super) struct Worker {
    pub(super) me: WorkerId,
    pub(super) life: u8,
    pub(super) ticks: u8,
    pub(super) tick: Duration,
    pub(super) mode: Mode,
    lane: u32,
    pub(super) keeper: Option<Box<SessionKeeper>>,
    pub(super) beating: Option<SessionCall>,
    pub(super) role: Role,
    pub(super) call: Option<LeaseCall>,
    pub(super) is_reading: bool,
    pub(super) counters: CounterWatch,
    pub(super) sessions: SessionWatch,
    pub(super) is_stopping: bool,
    pub(super) has_stopped: bool,
    /// How far the worker learned that progress is stored, since the last look at this.
    pub(super) told: Option<Checkpoint>,
}

/// The writes that a step sends.
pub(super) type Sent = Vec<Message>;

impl Worker {
    pub(super) fn new(name: &str, life: u8, ticks: u8, (tick, mode): (Duration, Mode)) -> Self {
        let me = WorkerId::incarnation(name, u64::from(life));
        Self {
            sessions: SessionWatch::new(me.clone(), EXPIRY, tick),
            me,
            life,
            ticks,
            tick,
            mode,
            lane: 0,
            keeper: None,
            beating: None,
            role: Role::Idle,
            call: None,
            is_reading: false,
            counters: CounterWatch::default(),
            is_stopping: false,
            has_stopped: false,
            told: None,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_origin(self.tick * u32::from(self.ticks))
    }

    fn numbers(&mut self) -> WriteNumbers {
        self.lane += 1;
        WriteNumbers::of_lane(self.lane)
    }

    pub(super) fn consumer(&self) -> Option<&Consumer> {
        match &self.role {
            Role::Holding(held) => Some(&held.1),
            Role::Losing(consumer) => Some(consumer),
            Role::Idle | Role::Taking { .. } | Role::Errand => None,
        }
    }

    pub(super) fn may_run(&self) -> bool {
        self.consumer().is_some_and(|consumer| consumer.may_run(self.now()))
    }

    /// Whether the worker may begin to hold a lease now.
    pub(super) fn lives(&self) -> bool {
        match self.mode {
            Mode::Session => {
                let deadline = self.keeper.as_ref().and_then(|keeper| keeper.deadline());
                deadline.is_some_and(|at| self.now() < at)
            }
            Mode::Counter | Mode::Unaware => true,
        }
    }

    /// Opens a session. Returns the write.
    pub(super) fn open(&mut self) -> Arc<SessionWrite> {
        let times = SessionTimes { expiry: EXPIRY, beat_every: self.tick, throttled: self.tick };
        let now = (self.now(), Timestamp::default());
        let numbers = WriteNumbers::of_lane(0);
        let (keeper, effect) = SessionKeeper::open(self.me.clone(), times, numbers, now);
        self.keeper = Some(Box::new(keeper));
        match effect {
            KeeperEffect::Write(write) => self.beat(write),
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, write: SessionWrite) -> Arc<SessionWrite> {
        let write = Arc::new(write);
        match &mut self.beating {
            Some(call) if call.write == write => call.has_failed = false,
            _ => self.beating = Some(Call::new(Arc::clone(&write))),
        }
        write
    }

    /// Sends a write to the lease.
    pub(super) fn send(&mut self, kind: WriteKind, role: Role) -> Sent {
        let number = self.numbers().draw();
        let write =
            LeaseWrite { key: LeaseKey::new("shard"), worker: self.me.clone(), number, kind };
        self.role = role;
        self.post(write)
    }

    fn post(&mut self, write: LeaseWrite) -> Sent {
        let write = Arc::new(write);
        match &mut self.call {
            Some(call) if call.write == write => call.has_failed = false,
            _ => self.call = Some(Call::new(Arc::clone(&write))),
        }
        vec![Message::Lease(write)]
    }

    /// Feeds the machine of the session, as its task does.
    pub(super) fn feed_keeper(&mut self, input: SessionInput) -> Result<Sent, Violation> {
        let now = self.now();
        let Some(keeper) = &mut self.keeper else { return Ok(Sent::new()) };
        let settled = match input {
            SessionInput::Answered(_) => self.beating.take(),
            _ => None,
        };
        let effects = keeper.on(input, now, Timestamp::default());
        let mut sent = Sent::new();
        for effect in effects {
            match effect {
                KeeperEffect::Write(write) => sent.push(Message::Session(self.beat(write))),
                KeeperEffect::Lives(until) => {
                    Call::check_made(settled.as_ref())?;
                    sent.extend(self.feed_holding(HoldingInput::SessionLives(until))?);
                }
                KeeperEffect::Stored { progress, .. } => {
                    Call::check_made(settled.as_ref())?;
                    let is_held = matches!(&self.role, Role::Holding(held)
                        if held.0.row().token == Some(progress.token));
                    if let Some(position) = progress.position.filter(|_| is_held) {
                        sent.extend(self.feed_holding(HoldingInput::SessionStored(position))?);
                    }
                }
                // No roll is called here, and no worker tells another of its request.
                KeeperEffect::Stuck { .. } | KeeperEffect::Asked(_) => {}
                KeeperEffect::Ended(how) => {
                    drop(self.feed_holding(HoldingInput::SessionOver)?);
                    self.reincarnate(&how);
                }
            }
        }
        Ok(sent)
    }

    /// The session has ended: another one needs another id.
    fn reincarnate(&mut self, how: &SessionEnd) {
        (self.keeper, self.beating) = (None, None);
        self.call = None;
        if !matches!(self.role, Role::Losing(_)) {
            self.role = Role::Idle;
        }
        self.is_reading = false;
        if self.is_stopping || *how == SessionEnd::Resigned {
            self.has_stopped = true;
        } else {
            self.life += 1;
            self.lane = 0;
            self.me = WorkerId::incarnation(self.me.name(), u64::from(self.life));
            self.sessions = SessionWatch::new(self.me.clone(), EXPIRY, self.tick);
        }
    }

    /// Feeds the machine of the held lease, as its holder does.
    pub(super) fn feed_holding(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
        let now = self.now();
        let Role::Holding(held) = &mut self.role else { return Ok(Sent::new()) };
        let settled = match input {
            HoldingInput::Answered(_) => self.call.take(),
            _ => None,
        };
        let mut sent = Sent::new();
        for effect in held.0.on(input, now) {
            let Role::Holding(held) = &mut self.role else { break };
            match effect {
                HoldingEffect::Write(write) => sent.extend(self.post(write)),
                HoldingEffect::Read => self.is_reading = true,
                HoldingEffect::Deadline(deadline) => {
                    if self.mode != Mode::Session {
                        Call::check_made(settled.as_ref())?;
                    }
                    held.1.deadline = deadline;
                }
                HoldingEffect::Drain { until } => held.1.drain(until),
                HoldingEffect::Cancel => held.1.lose(),
                HoldingEffect::Ended(_) => {
                    let consumer = held.1.clone();
                    self.become_idle();
                    sent.extend(self.feed_keeper(SessionInput::Ended(LeaseKey::new("shard")))?);
                    if consumer.is_active {
                        self.role = Role::Losing(consumer);
                    }
                }
                HoldingEffect::Stored(checkpoint) => {
                    self.told = self.told.max(Some(checkpoint));
                }
                HoldingEffect::Keep { progress, is_urgent } => {
                    let key = LeaseKey::new("shard");
                    let reports = vec![HolderReport { key, progress: Some(progress) }];
                    let keep = SessionInput::Reports { reports, is_urgent };
                    sent.extend(self.feed_keeper(keep)?);
                }
                HoldingEffect::CreateChildren(_)
                | HoldingEffect::Prepared
                | HoldingEffect::Refused(_)
                | HoldingEffect::HandoverRequested(_)
                | HoldingEffect::HandoverEnded(_) => {}
            }
        }
        Ok(sent)
    }

    /// Feeds the consumer's progress, then `input` from it.
    pub(super) fn consumer_reports(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
        let Role::Holding(held) = &mut self.role else { return Ok(Sent::new()) };
        let checkpoint = Some(held.1.processed).filter(|it| it.has_progressed());
        let is_last = matches!(input, HoldingInput::Drained | HoldingInput::ConsumerFailed);
        held.1.is_active &= !is_last;
        let done = Done { checkpoint, ..Done::default() };
        let mut sent = self.feed_holding(HoldingInput::Progress(done))?;
        sent.extend(self.feed_holding(input)?);
        Ok(sent)
    }

    /// Delivers the answer to the write to the lease, or `None` if it fails.
    pub(super) fn lease_answered(
        &mut self,
        answer: Option<Conditional>,
    ) -> Result<Sent, Violation> {
        match &self.role {
            Role::Holding(_) => self.feed_holding(match answer {
                Some(outcome) => HoldingInput::Answered(outcome),
                None => HoldingInput::Unanswered,
            }),
            Role::Taking { sent } => {
                let sent = *sent;
                self.take_answered(answer, sent)
            }
            Role::Errand | Role::Idle | Role::Losing(_) => {
                self.become_idle();
                Ok(Sent::new())
            }
        }
    }

    fn take_answered(
        &mut self,
        answer: Option<Conditional>,
        sent: Moment,
    ) -> Result<Sent, Violation> {
        let Some(call) = &mut self.call else { return Ok(Sent::new()) };
        let row = match answer {
            None if self.tick * u32::from(self.ticks)
                >= sent.since(Moment::default()) + EXPIRY / 10 * 9 =>
            {
                self.become_idle();
                return Ok(Sent::new());
            }
            None => {
                call.has_failed = false;
                return Ok(vec![Message::Lease(Arc::clone(&call.write))]);
            }
            Some(Conditional::Applied(row)) => row,
            Some(Conditional::Lost { found: Some(row) }) if call.write.made(&row) => {
                Lease { owner: Some(self.me.clone()), checkpoint_owner: None, ..row }
            }
            Some(Conditional::Lost { .. }) => {
                self.become_idle();
                return Ok(Sent::new());
            }
        };
        Call::check_made(self.call.as_ref())?;
        self.become_idle();
        if self.lives() {
            self.begin(row, sent)
        } else {
            Ok(Sent::new()) // The session has lapsed, or resigns: nothing begins.
        }
    }

    /// Begins to hold a lease.
    pub(super) fn begin(&mut self, row: Lease, sent: Moment) -> Result<Sent, Violation> {
        let (now, tick) = (self.now(), self.tick);
        let lives_until = self.keeper.as_ref().and_then(|keeper| keeper.deadline());
        let times = HoldingTimes {
            expiry: EXPIRY,
            renew_first: tick,
            renew_every: tick,
            throttled: tick,
            handover: tick,
            store_every: None,
            row_every: None,
        };
        let token = row.counter.into();
        let consumer = Consumer {
            token: row.counter,
            processed: row.checkpoint,
            deadline: lives_until.unwrap_or(sent + EXPIRY / 10 * 9),
            order: Order::Run,
            is_active: !self.is_stopping,
        };
        let (me, numbers) = (self.me.clone(), self.numbers());
        let holding = match lives_until {
            Some(lives_until) => {
                Holding::in_session(me, times, numbers, InSession { row, lives_until, now })
            }
            None => Holding::new(me, times, numbers, Taken { row, sent }),
        };
        self.role = Role::Holding(Box::new((holding, consumer)));
        let mut sent =
            self.feed_keeper(SessionInput::Holds { key: LeaseKey::new("shard"), token })?;
        // A stopping worker starts no consumer.
        if self.is_stopping {
            sent.extend(self.feed_holding(HoldingInput::ConsumerFailed)?);
        }
        Ok(sent)
    }

    /// Drops everything in flight.
    fn become_idle(&mut self) {
        self.role = Role::Idle;
        self.call = None;
        self.is_reading = false;
    }
}
