//! The world: one lease, the rows of sessions, the network, the clocks and two workers.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::super::consumer::position;
use super::super::violation::Violation;
use super::message::Message;
use super::oracles::{Onlooker, Sessions};
use super::step::{Budget, Line, Mode, Scope, Step, Who};
use super::worker::{EXPIRY, Role, Sent, Worker};
use crate::lease::adoption::adopted;
use crate::lease::holding::HoldingInput;
use crate::lease::precondition::Precondition;
use crate::lease::session::SessionInput;
use crate::lease::session_write::{SessionWrite, SessionWriteKind};
use crate::lease::settle::Settler;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::model::{
    Conditional, Lease, LeaseCounter, LeaseKey, Liveness, NewLease, PendingCheckpoint, Session,
    WorkerId,
};

const NAMES: [&str; 2] = ["a", "b"];

/// Two workers, their sessions and one lease.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scope: &'static Scope,
    pub(super) budget: Budget,
    pub(super) row: Lease,
    pub(super) sessions: Sessions,
    /// Copies of writes that have not landed.
    pub(super) network: Vec<Message>,
    pub(super) workers: [Worker; 2],
    onlooker: Onlooker,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.budget.hash(state);
        self.row.hash(state);
        self.sessions.hash(state);
        self.network.hash(state);
        self.workers.hash(state);
        self.onlooker.hash(state);
    }
}

impl Worker {
    /// Returns the write that settles a lease that names this worker.
    pub(super) fn settles(&self, row: &Lease) -> Option<WriteKind> {
        let progress = self.keeper.as_ref()?.progress();
        let is_stopping = self.is_stopping;
        let settler = Settler { me: &self.me, expiry: EXPIRY, progress, is_stopping };
        settler.settle(row, LeaseCounter(0))
    }

    /// Returns the take of a lease that is free.
    fn take_of(&self, row: &Lease) -> WriteKind {
        let frozen = row.holder().and_then(|holder| self.sessions.frozen(holder));
        let adopt = frozen.filter(|_| self.mode != Mode::Unaware);
        WriteKind::Take {
            counter: row.counter,
            last_write: row.last_write.clone().into(),
            floor: LeaseCounter(0),
            expiry: EXPIRY,
            owner_switches: row.owner_switches + 1,
            start_at: None,
            lives_by: match self.mode {
                Mode::Session => Liveness::Session,
                Mode::Counter | Mode::Unaware => Liveness::Counter,
            },
            adopt: adopt.and_then(|progress| adopted(row, progress)).map(Box::new),
        }
    }
}

impl World {
    pub(super) fn new(scope: &'static Scope) -> Self {
        let key = LeaseKey::new("shard");
        let new = NewLease { key: key.clone(), checkpoint: position(0), ..NewLease::sample() };
        let kind = WriteKind::Create(new);
        let create = LeaseWrite { key, worker: "first".into(), number: 0, kind };
        let row = create.apply(None).flatten().expect("no row yet");
        let worker = |who: Who| Worker::new(NAMES[who], 0, 0, (scope.tick, scope.modes[who]));
        let mut world = Self {
            scope,
            budget: scope.budget,
            row,
            sessions: Sessions::new(),
            network: Vec::new(),
            workers: [worker(0), worker(1)],
            onlooker: Onlooker::default(),
        };
        for who in 0..NAMES.len() {
            if scope.modes[who] == Mode::Session {
                world.open(who).expect("a first session");
            }
        }
        world.look().expect("a look");
        world
    }

    /// Whether the lease names a worker.
    pub(super) fn is_named(&self, worker: &WorkerId) -> bool {
        [&self.row.owner, &self.row.checkpoint_owner]
            .into_iter()
            .any(|it| it.as_ref() == Some(worker))
    }

    /// Whether a worker waits for a write of which no copy is left.
    pub(super) fn is_never_answered(&self, who: Who, line: Line) -> bool {
        let worker = &self.workers[who];
        let lost = |message: Message| !self.network.contains(&message);
        match line {
            Line::Session => worker.beating.as_ref().is_some_and(|call| {
                call.is_waiting() && lost(Message::Session(Arc::clone(&call.write)))
            }),
            Line::Lease => worker.call.as_ref().is_some_and(|call| {
                call.is_waiting() && lost(Message::Lease(Arc::clone(&call.write)))
            }),
        }
    }

    /// A worker stops existing, and another incarnation starts.
    pub(super) fn restart(&mut self, who: Who) {
        let worker = &self.workers[who];
        let kind = (self.scope.tick, self.scope.modes[who]);
        self.workers[who] = Worker::new(NAMES[who], worker.life + 1, worker.ticks, kind);
    }

    /// Carries out one step and checks what must hold after it.
    pub(super) fn advance(&mut self, step: Step) -> Result<(), Violation> {
        self.budget.spend(step);
        self.carry_out(step)?;
        self.tidy();
        self.look()?;
        self.onlooker.see(&mut self.workers, &self.row, &self.sessions)
    }

    fn carry_out(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Tick => self.tick(),
            Step::Land(index) => {
                let message = self.network.remove(index);
                self.land(&message)?;
            }
            Step::Crash(who) => self.restart(who),
            Step::Open(who) => self.open(who)?,
            Step::Condemn(who, index) => {
                let worker = &self.workers[who];
                let (session, beat) = worker.sessions.silent(worker.now()).swap_remove(index);
                let kind = SessionWriteKind::Condemn { beat, by: worker.me.clone() };
                self.send(vec![Message::Session(Arc::new(SessionWrite { session, kind }))]);
            }
            Step::Bury(_) => {
                let is_named = |world: &Self, session: &Session| world.is_named(&session.worker);
                let dead = self
                    .sessions
                    .values()
                    .find(|session| session.dead.is_some() && !is_named(self, session));
                if let Some(session) = dead.map(|it| it.worker.clone()) {
                    drop(self.put(&SessionWrite { session, kind: SessionWriteKind::Bury })?);
                }
            }
            Step::Wipe(who) => {
                self.sessions.remove(&self.workers[who].me);
                self.onlooker.forgive();
            }
            Step::Wake(who, Line::Session) if self.is_idle(who) => self.beat_at_once(who)?,
            step => {
                let sent = self.act(step)?;
                self.send(sent);
            }
        }
        Ok(())
    }

    /// Whether no lease names the worker, nor may soon.
    fn is_idle(&self, who: Who) -> bool {
        let worker = &self.workers[who];
        matches!(worker.role, Role::Idle)
            && worker.call.is_none()
            && worker.beating.is_none()
            && !self.is_named(&worker.me)
            && self.network.iter().all(|it| match it {
                Message::Lease(write) => write.worker != worker.me,
                Message::Session(write) => write.session != worker.me,
            })
    }

    /// Makes the heartbeat of an idle worker, and answers it.
    fn beat_at_once(&mut self, who: Who) -> Result<(), Violation> {
        for message in self.workers[who].feed_keeper(SessionInput::Tick)? {
            self.land(&message)?;
        }
        let sent = self.answer(who, Line::Session)?;
        self.send(sent);
        Ok(())
    }

    fn open(&mut self, who: Who) -> Result<(), Violation> {
        let write = self.workers[who].open();
        self.land(&Message::Session(write))?;
        let sent = self.answer(who, Line::Session)?;
        self.send(sent);
        Ok(())
    }

    /// Puts copies into the network, at most two of each write: more make no difference.
    fn send(&mut self, sent: Sent) {
        for message in sent {
            if self.network.iter().filter(|it| **it == message).count() < 2 {
                self.network.push(message);
            }
        }
        let order = |message: &Message| match message {
            Message::Lease(write) => (0, write.worker.clone(), write.number, 0),
            Message::Session(write) => match &write.kind {
                SessionWriteKind::Open { number, .. }
                | SessionWriteKind::Beat { number, .. }
                | SessionWriteKind::Resign { number, .. } => (1, write.session.clone(), *number, 0),
                SessionWriteKind::Condemn { beat, .. } => (2, write.session.clone(), *beat, 1),
                SessionWriteKind::Close { beat } => (2, write.session.clone(), *beat, 2),
                SessionWriteKind::Bury => (2, write.session.clone(), 0, 3),
                SessionWriteKind::Ask { .. } => (2, write.session.clone(), 0, 4),
            },
        };
        self.network.sort_by_key(order);
    }

    /// Applies a write to a session's row, if its condition holds. Returns the answer.
    fn put(&mut self, write: &SessionWrite) -> Result<(bool, Conditional<Session>), Violation> {
        let before = self.sessions.remove(&write.session);
        let applied = write.apply(before.as_ref());
        let is_made = applied.is_some();
        let after = applied.unwrap_or_else(|| before.clone());
        Onlooker::see_session(before.as_ref(), after.as_ref(), &self.workers)?;
        let answer = match (is_made, after.clone().or(before)) {
            (true, Some(row)) => Conditional::Applied(row),
            (_, row) => Conditional::Lost { found: row },
        };
        if let Some(after) = after {
            self.sessions.insert(write.session.clone(), after);
        }
        Ok((is_made, answer))
    }

    fn land(&mut self, message: &Message) -> Result<(), Violation> {
        match message {
            Message::Session(write) => {
                let (is_made, answer) = self.put(write)?;
                let answer = Arc::new(answer);
                for call in self.workers.iter_mut().filter_map(|worker| worker.beating.as_mut()) {
                    call.landed(write, is_made, &answer);
                }
            }
            Message::Lease(write) => {
                let applied = write.apply(Some(&self.row)).flatten();
                let is_made = applied.is_some();
                let answer = match applied {
                    Some(after) => {
                        let rows = (&self.row, &after);
                        self.onlooker.see_write(write, rows, &self.sessions, &self.workers)?;
                        self.row = after.clone();
                        Conditional::Applied(after)
                    }
                    None => Conditional::Lost { found: Some(self.row.clone()) },
                };
                let answer = Arc::new(answer);
                for call in self.workers.iter_mut().filter_map(|worker| worker.call.as_mut()) {
                    call.landed(write, is_made, &answer);
                }
            }
        }
        Ok(())
    }

    /// Drops copies that can no longer change a row and that no worker waits for.
    fn tidy(&mut self) {
        let network = std::mem::take(&mut self.network);
        let is_useful = |message: &Message| match message {
            Message::Session(write) => {
                let is_waited_for = self.workers.iter().any(|worker| {
                    worker.beating.as_ref().is_some_and(|it| it.is_waiting() && it.write == *write)
                });
                is_waited_for || write.is_allowed(self.sessions.get(&write.session))
            }
            Message::Lease(write) => {
                let is_waited_for = self.workers.iter().any(|worker| {
                    worker.call.as_ref().is_some_and(|it| it.is_waiting() && it.write == *write)
                });
                let is_late = match write.precondition() {
                    Precondition::Row { counter, .. } => counter < self.row.counter,
                    Precondition::NoRow => true,
                };
                is_waited_for || !is_late
            }
        };
        self.network = network.into_iter().filter(is_useful).collect();
    }

    /// Shows all rows to all workers.
    fn look(&mut self) -> Result<(), Violation> {
        let rows: Vec<_> = self.sessions.values().cloned().collect();
        let is_marked = self.row.lives_by() == Liveness::Session;
        let holder = self.row.holder().filter(|_| is_marked || self.row.owner.is_some());
        let named = holder.map(|holder| (holder.clone(), EXPIRY)).into_iter().collect();
        for worker in &mut self.workers {
            let now = worker.now();
            worker.sessions.observe(&rows, &named, true, now);
            if matches!(worker.role, Role::Holding(_)) {
                worker.counters.start_over();
            } else {
                worker.counters.observe(&self.row, EXPIRY, now);
            }
            // A look does not wake a worker that is paused.
            let is_asleep = worker.keeper.as_ref().is_some_and(|keeper| {
                !keeper.progress().0.is_empty() && keeper.wake_at().is_none_or(|at| now < at)
            });
            if is_asleep {
                let sent = worker.feed_keeper(SessionInput::Seen(Box::new(self.row.clone())))?;
                assert_eq!(sent, [], "a look is no reason to beat");
            }
        }
        Ok(())
    }

    fn tick(&mut self) {
        let [first, second] = &mut self.workers;
        let is_even = first.ticks == second.ticks;
        first.ticks += u8::from(!self.scope.is_drifting || !is_even);
        second.ticks += u8::from(!self.scope.is_drifting || is_even);
    }

    fn answer(&mut self, who: Who, line: Line) -> Result<Sent, Violation> {
        let worker = &mut self.workers[who];
        match line {
            Line::Session => match worker.beating.as_ref().and_then(|call| call.answer.clone()) {
                Some(answer) => worker.feed_keeper(SessionInput::Answered((*answer).clone())),
                None => Ok(Sent::new()),
            },
            Line::Lease => match worker.call.as_ref().and_then(|call| call.answer.clone()) {
                Some(answer) => worker.lease_answered(Some((*answer).clone())),
                None => Ok(Sent::new()),
            },
        }
    }

    fn fail(&mut self, who: Who, line: Line) -> Result<Sent, Violation> {
        let worker = &mut self.workers[who];
        match line {
            Line::Session => {
                if let Some(call) = &mut worker.beating {
                    (call.has_failed, call.answer) = (true, None);
                }
                worker.feed_keeper(SessionInput::Unanswered)
            }
            Line::Lease => {
                if let Some(call) = &mut worker.call {
                    (call.has_failed, call.answer) = (true, None);
                }
                worker.lease_answered(None)
            }
        }
    }

    /// Carries out a worker's step. Returns the writes that it sends.
    fn act(&mut self, step: Step) -> Result<Sent, Violation> {
        let row = self.row.clone();
        match step {
            Step::Answer(who, line) => self.answer(who, line),
            Step::Fail(who, line) => self.fail(who, line),
            Step::Wake(who, Line::Session) => self.workers[who].feed_keeper(SessionInput::Tick),
            Step::Wake(who, Line::Lease) => self.workers[who].feed_holding(HoldingInput::Tick),
            Step::Read(who) => {
                self.workers[who].is_reading = false;
                self.workers[who].feed_holding(HoldingInput::Read(Some(row)))
            }
            Step::Take(who) => {
                let worker = &mut self.workers[who];
                let (kind, sent) = (worker.take_of(&row), worker.now());
                Ok(worker.send(kind, Role::Taking { sent }))
            }
            Step::Settle(who) => {
                let worker = &mut self.workers[who];
                let sent = worker.now();
                Ok(match worker.settles(&row) {
                    Some(kind @ WriteKind::Take { .. }) => worker.send(kind, Role::Taking { sent }),
                    Some(kind) => worker.send(kind, Role::Errand),
                    None => Sent::new(),
                })
            }
            Step::Ask(who) => {
                let victim = row.owner.clone().expect("an owner");
                let kind = WriteKind::BeginHandover { counter: row.counter, victim };
                Ok(self.workers[who].send(kind, Role::Errand))
            }
            Step::Withdraw(who) => {
                let victim = row.checkpoint_owner.clone().expect("a holder");
                let kind = WriteKind::Withdraw { counter: row.counter, victim };
                Ok(self.workers[who].send(kind, Role::Errand))
            }
            Step::Stop(who) => {
                let worker = &mut self.workers[who];
                worker.is_stopping = true;
                let until = worker.now() + worker.tick;
                let mut sent = worker.feed_holding(HoldingInput::Stop { until })?;
                sent.extend(worker.feed_keeper(SessionInput::Leave)?);
                let is_session = worker.mode == Mode::Session;
                worker.has_stopped = !is_session && matches!(worker.role, Role::Idle)
                    || is_session && worker.keeper.is_none();
                Ok(sent)
            }
            Step::Resign(who) => {
                let worker = &mut self.workers[who];
                drop(worker.feed_holding(HoldingInput::SessionOver)?);
                if matches!(worker.role, Role::Losing(_)) {
                    worker.role = Role::Idle; // Its consumer is cancelled.
                }
                worker.feed_keeper(SessionInput::Resign)
            }
            Step::Close(who) => {
                self.workers[who].feed_keeper(SessionInput::Close { is_named: false })
            }
            step => self.consume(step),
        }
    }

    /// Carries out a consumer's step.
    fn consume(&mut self, step: Step) -> Result<Sent, Violation> {
        match step {
            Step::Process(who) => {
                let worker = &mut self.workers[who];
                let Role::Holding(held) = &mut worker.role else { return Ok(Sent::new()) };
                held.1.processed = self.onlooker.deliveries.process(&held.1)?;
                worker.consumer_reports(HoldingInput::Tick)
            }
            Step::Checkpoint(who) => {
                let worker = &mut self.workers[who];
                let Some(consumer) = worker.consumer() else { return Ok(Sent::new()) };
                let checkpoint = consumer.processed;
                worker.consumer_reports(HoldingInput::Checkpoint(checkpoint))
            }
            Step::Prepare(who) => {
                let worker = &mut self.workers[who];
                let Some(consumer) = worker.consumer() else { return Ok(Sent::new()) };
                let pending = PendingCheckpoint { checkpoint: consumer.processed, state: None };
                worker.feed_holding(HoldingInput::Prepare(pending))
            }
            Step::Drained(who) => self.workers[who].consumer_reports(HoldingInput::Drained),
            Step::Leave(who) => {
                let worker = &mut self.workers[who];
                worker.role = Role::Idle;
                Ok(Sent::new())
            }
            _ => Ok(Sent::new()),
        }
    }
}
