//! One worker: the real machines of its one lease, and what the engine does around them.

use std::sync::Arc;
use std::time::Duration;

use super::explorer::Violation;
use super::oracles;
use crate::consumer::progress::Done;
use crate::lease::expiry::CounterWatch;
use crate::lease::holding::{Holding, HoldingEffect, HoldingInput, HoldingTimes};
use crate::lease::request::{AskEnd, Asking, AskingEffect, AskingInput};
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{
    Checkpoint, Conditional, Lease, LeaseCounter, LeaseEnd, LeaseKey, Moment, Position,
    SequenceNumber, WorkerId,
};

/// The lease expiry of both workers.
pub(super) const EXPIRY: Duration = Duration::from_secs(20);

/// The times of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Times {
    /// How long a tick is. A renewal is due after one.
    pub(super) tick: Duration,
    /// How long a hand-over may take.
    pub(super) hand_over: Duration,
}

pub(super) fn position(number: u8) -> Checkpoint {
    match number {
        0 => Checkpoint::TrimHorizon,
        _ => Checkpoint::After(Position::of(SequenceNumber::from(u128::from(number)))),
    }
}

/// A write that a machine made and whose outcome it does not know.
#[derive(Clone, Debug, Hash)]
pub(super) struct Call {
    pub(super) write: LeaseWrite,
    /// Whether it was made: what the worker cannot know.
    pub(super) is_made: bool,
    pub(super) state: CallState,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum CallState {
    Waiting,
    Answered(Box<Conditional>),
    Failed,
}

impl Call {
    fn new(write: LeaseWrite) -> Self {
        Self { write, is_made: false, state: CallState::Waiting }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, CallState::Waiting)
    }
}

/// A consistent read.
#[derive(Clone, Debug, Hash)]
pub(super) enum Read {
    /// It is on its way to the store.
    Sent,
    /// The answer is on its way back.
    Served(Option<Arc<Lease>>),
}

/// What a consumer shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Run,
    Drain { until: Moment },
    Lost { until: Option<Moment> },
}

/// The consumer of one ownership.
#[derive(Clone, Debug, Hash)]
pub(super) struct Consumer {
    pub(super) token: LeaseCounter,
    pub(super) processed: Checkpoint,
    pub(super) deadline: Moment,
    pub(super) order: Order,
    /// It has not said its last word.
    pub(super) is_there: bool,
}

impl Consumer {
    /// Whether the application's code may run: what `engine/guard.rs` allows.
    pub(super) fn may_run(&self, now: Moment) -> bool {
        let until = match self.order {
            Order::Run | Order::Lost { until: None } => self.deadline,
            // A loss leaves a grace.
            Order::Drain { until } | Order::Lost { until: Some(until) } => until,
        };
        self.is_there && now < self.deadline.min(until)
    }
}

/// What a worker does about the lease.
#[derive(Clone, Debug, Hash)]
pub(super) enum Role {
    Watching,
    Asking(Box<Asking>),
    Taking {
        sent: Moment,
    },
    Holding(Box<(Holding, Consumer)>),
    /// The lease is held no longer, but its consumer is still here.
    Losing(Consumer),
}

/// One worker.
#[derive(Clone, Debug, Hash)]
pub(super) struct Worker {
    pub(super) me: WorkerId,
    pub(super) life: u8,
    pub(super) ticks: u8,
    pub(super) times: Times,
    lane: u32,
    pub(super) role: Role,
    pub(super) call: Option<Call>,
    pub(super) read: Option<Read>,
    pub(super) watch: CounterWatch,
    pub(super) seen: Option<Arc<Lease>>,
    pub(super) is_stopping: bool,
    /// The leases of the shard's children are being created.
    pub(super) creates_children: bool,
}

/// Writes that go out.
pub(super) type Sent = Vec<LeaseWrite>;

impl Worker {
    pub(super) fn new(name: &str, life: u8, ticks: u8, times: Times) -> Self {
        Self {
            me: WorkerId::incarnation(name, u64::from(life)),
            life,
            ticks,
            times,
            lane: 0,
            role: Role::Watching,
            call: None,
            read: None,
            watch: CounterWatch::default(),
            seen: None,
            is_stopping: false,
            creates_children: false,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_origin(self.times.tick * u32::from(self.ticks))
    }

    fn numbers(&mut self) -> WriteNumbers {
        self.lane += 1;
        WriteNumbers::of_lane(self.lane)
    }

    pub(super) fn consumer(&self) -> Option<&Consumer> {
        match &self.role {
            Role::Holding(held) => Some(&held.1),
            Role::Losing(consumer) => Some(consumer),
            Role::Watching | Role::Asking(_) | Role::Taking { .. } => None,
        }
    }

    pub(super) fn may_run(&self) -> bool {
        self.consumer().is_some_and(|consumer| consumer.may_run(self.now()))
    }

    /// Takes in a row that a scan or a read showed.
    pub(super) fn sees(&mut self, row: Option<Arc<Lease>>) {
        let now = self.now();
        match &row {
            Some(row) => self.watch.observe(row, EXPIRY, now),
            None => self.watch = CounterWatch::default(),
        }
        self.seen = row;
    }

    /// The lease, if it can be taken as it was last seen.
    pub(super) fn takeable(&self) -> Option<&Lease> {
        if self.is_stopping || !matches!(self.role, Role::Watching | Role::Asking(_)) {
            return None;
        }
        let row = self.seen.as_deref()?;
        let is_arrived = row.owner.as_ref() == Some(&self.me) && row.checkpoint_owner.is_none();
        let is_free = row.owner.is_none() || self.watch.is_expired(row, self.now());
        (!row.is_ended() && (is_arrived || is_free)).then_some(row)
    }

    /// Whom the worker could ask for the lease.
    pub(super) fn victim(&self) -> Option<&WorkerId> {
        let row = self.seen.as_deref()?;
        let is_free_to_ask = matches!(self.role, Role::Watching)
            && !self.is_stopping
            && !row.is_ended()
            && row.checkpoint_owner.is_none();
        row.owner.as_ref().filter(|owner| is_free_to_ask && **owner != self.me)
    }

    /// Takes the lease as it was seen: `engine/take.rs`.
    pub(super) fn take(&mut self, counter: LeaseCounter, owner_switches: u64) -> Sent {
        let kind = WriteKind::Take { counter, expiry: EXPIRY, owner_switches };
        let number = self.numbers().draw();
        let key = LeaseKey::new("shard");
        let write = LeaseWrite { key, worker: self.me.clone(), number, kind };
        self.role = Role::Taking { sent: self.now() };
        self.call = Some(Call::new(write.clone()));
        self.read = None;
        vec![write]
    }

    pub(super) fn ask(&mut self, victim: WorkerId) {
        let (numbers, now) = (self.numbers(), self.now());
        let (asking, _) =
            Asking::new(self.me.clone(), (LeaseKey::new("shard"), victim), numbers, now);
        self.role = Role::Asking(Box::new(asking));
        self.read = Some(Read::Sent);
    }

    /// The write in flight is answered, or fails (none).
    pub(super) fn hears(&mut self, answer: Option<Conditional>) -> Result<Sent, Violation> {
        match &self.role {
            Role::Holding(_) => self.holds(match answer {
                Some(outcome) => HoldingInput::Answered(outcome),
                None => HoldingInput::Unanswered,
            }),
            Role::Asking(_) => Ok(self.asks(match answer {
                Some(outcome) => AskingInput::Answered(outcome),
                None => AskingInput::Unanswered,
            })),
            Role::Taking { sent } => {
                let sent = *sent;
                self.takes(answer, sent)
            }
            Role::Watching | Role::Losing(_) => Ok(Sent::new()),
        }
    }

    /// A row that was read arrives.
    pub(super) fn reads(&mut self, row: Option<Arc<Lease>>) -> Result<Sent, Violation> {
        let lease = row.as_deref().cloned();
        match &self.role {
            Role::Holding(_) => self.holds(HoldingInput::Read(lease)),
            Role::Asking(_) => {
                if row.is_some() {
                    self.sees(row);
                }
                Ok(self.asks(AskingInput::Read(lease)))
            }
            Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
        }
    }

    fn takes(&mut self, answer: Option<Conditional>, sent: Moment) -> Result<Sent, Violation> {
        let now = self.now();
        let Some(call) = &mut self.call else { return Ok(Sent::new()) };
        let row = match answer {
            None if now.since(sent) >= EXPIRY / 10 * 9 => {
                self.rest();
                return Ok(Sent::new());
            }
            None => {
                call.state = CallState::Waiting;
                return Ok(vec![call.write.clone()]);
            }
            Some(Conditional::Applied(row)) => row,
            Some(Conditional::Lost { found: Some(row) }) if call.write.made(&row) => {
                Lease { owner: Some(self.me.clone()), checkpoint_owner: None, ..row }
            }
            Some(Conditional::Lost { found }) => {
                self.rest();
                self.sees(found.map(Arc::new));
                return Ok(Sent::new());
            }
        };
        self.call = None;
        let numbers = self.numbers();
        let consumer = Consumer {
            token: row.counter,
            processed: row.checkpoint,
            deadline: sent + EXPIRY / 10 * 9,
            order: Order::Run,
            is_there: !self.is_stopping,
        };
        let Times { tick, hand_over } = self.times;
        let times =
            HoldingTimes { expiry: EXPIRY, renew_every: tick, hand_over, store_every: None };
        let holding = Holding::new(self.me.clone(), times, numbers, (row, sent));
        (self.seen, self.watch) = (None, CounterWatch::default()); // Not asked before it ends.
        self.role = Role::Holding(Box::new((holding, consumer)));
        // A worker that stops has no consumer for it.
        if self.is_stopping { self.holds(HoldingInput::GaveUp) } else { Ok(Sent::new()) }
    }

    /// Nothing is under way any more.
    fn rest(&mut self) {
        self.role = Role::Watching;
        self.creates_children = false;
        self.call = None;
        self.read = None;
    }

    /// Runs the request: `engine/asker.rs`.
    pub(super) fn asks(&mut self, input: AskingInput) -> Sent {
        let now = self.now();
        let Role::Asking(asking) = &mut self.role else { return Sent::new() };
        let (is_settled, is_read) = (
            matches!(input, AskingInput::Answered(_)),
            matches!(input, AskingInput::Read(_) | AskingInput::Unread),
        );
        if is_settled {
            self.call = None;
        }
        if is_read {
            self.read = None;
        }
        match asking.on(input, now) {
            None | Some(AskingEffect::Begun) => Sent::new(),
            Some(AskingEffect::Read) => {
                self.read = Some(Read::Sent);
                Sent::new()
            }
            Some(AskingEffect::Write(write)) => self.send(*write),
            Some(AskingEffect::Ended(end)) => {
                self.rest();
                match end {
                    AskEnd::Arrived(row) if !self.is_stopping => {
                        let (counter, switches) = (row.counter, row.owner_switches);
                        self.sees(Some(Arc::from(row)));
                        self.take(counter, switches)
                    }
                    AskEnd::Arrived(_) | AskEnd::Refused(_) | AskEnd::Withdrawn => Sent::new(),
                }
            }
        }
    }

    fn send(&mut self, write: LeaseWrite) -> Sent {
        match &mut self.call {
            Some(call) if call.write == write => call.state = CallState::Waiting,
            Some(_) | None => self.call = Some(Call::new(write.clone())),
        }
        vec![write]
    }

    /// Runs the machine of the held lease: `engine/holder.rs`.
    pub(super) fn holds(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
        let now = self.now();
        let Role::Holding(held) = &mut self.role else { return Ok(Sent::new()) };
        let (holding, consumer) = &mut **held;
        let settled = match input {
            HoldingInput::Answered(_) => self.call.take(),
            _ => None,
        };
        if matches!(input, HoldingInput::Read(_)) {
            self.read = None;
        }
        let mut sent = Sent::new();
        let mut ended = None;
        let effects = holding.on(input, now);
        let row = holding.row().clone();
        for effect in effects {
            match effect {
                HoldingEffect::Write(write) => sent.push(write),
                HoldingEffect::Read => {
                    self.read.get_or_insert(Read::Sent);
                }
                HoldingEffect::Deadline(deadline) => {
                    oracles::believed_writes_were_made(settled.as_ref())?;
                    consumer.deadline = deadline;
                }
                HoldingEffect::Drain { until } => consumer.drain(until),
                HoldingEffect::Cancel => consumer.lose(),
                HoldingEffect::Ended(how) => ended = Some(how),
                HoldingEffect::CreateChildren(_) => self.creates_children = true,
                HoldingEffect::Stored(_)
                | HoldingEffect::Prepared
                | HoldingEffect::Refused(_)
                | HoldingEffect::HandOverAsked(_)
                | HoldingEffect::HandOverEnded(_) => {}
            }
        }
        if let Some(how) = ended {
            let consumer = consumer.clone();
            self.rest();
            if consumer.is_there {
                self.role = Role::Losing(consumer);
            }
            match how {
                LeaseEnd::Lost => self.seen = None,
                LeaseEnd::Released
                | LeaseEnd::Expired
                | LeaseEnd::HandedOver
                | LeaseEnd::ShardEnded
                | LeaseEnd::Kept => self.sees(Some(Arc::new(row))),
            }
        }
        Ok(sent.into_iter().flat_map(|write| self.send(write)).collect())
    }

    /// Feeds what the consumer has done, then what it says, if anything.
    pub(super) fn consumer_says(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
        let Role::Holding(held) = &mut self.role else { return Ok(Sent::new()) };
        let checkpoint = Some(held.1.processed).filter(|it| it.has_progressed());
        let is_last = matches!(
            input,
            HoldingInput::Drained | HoldingInput::GaveUp | HoldingInput::ShardEnded(_)
        );
        held.1.is_there &= !is_last;
        let done = Done { checkpoint, ..Done::default() };
        let mut sent = self.holds(HoldingInput::Progress(done))?;
        sent.extend(self.holds(input)?);
        Ok(sent)
    }
}

impl Consumer {
    fn drain(&mut self, until: Moment) {
        match self.order {
            Order::Run => self.order = Order::Drain { until },
            Order::Drain { until: earlier } if until < earlier => {
                self.order = Order::Drain { until };
            }
            Order::Drain { .. } | Order::Lost { .. } => {}
        }
    }

    fn lose(&mut self) {
        self.order = match self.order {
            Order::Run => Order::Lost { until: None },
            Order::Drain { until } => Order::Lost { until: Some(until) },
            lost @ Order::Lost { .. } => lost,
        };
    }
}
