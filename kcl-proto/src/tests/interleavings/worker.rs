//! One worker: the real machines of its one lease, and the engine's part around them.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, CallState, Read};
use super::consumer::{Consumer, Order};
use super::scope::Times;
use super::violation::Violation;
use crate::consumer::progress::Done;
use crate::lease::expiry::CounterWatch;
use crate::lease::holding::{Holding, HoldingEffect, HoldingInput, HoldingTimes, Taken};
use crate::lease::request::{HandoverRequest, RequestEffect, RequestEnd, RequestInput, Target};
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{
    Conditional, Lease, LeaseCounter, LeaseEnd, LeaseKey, Liveness, Moment, WorkerId,
};

/// The lease expiry of both workers.
pub(super) const EXPIRY: Duration = Duration::from_secs(20);

/// What a worker is doing about the lease.
#[derive(Clone, Debug, Hash)]
pub(super) enum Role {
    Watching,
    Asking(Box<HandoverRequest>),
    Taking {
        sent: Moment,
    },
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

/// The writes that a step sends.
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

    /// Records a row that a scan or a read returned.
    pub(super) fn observe(&mut self, row: Option<Arc<Lease>>) {
        let now = self.now();
        match &row {
            Some(row) => self.watch.observe(row, EXPIRY, now),
            None => self.watch = CounterWatch::default(),
        }
        self.seen = row;
    }

    /// Returns the lease as it was last seen if it can be taken.
    pub(super) fn takeable(&self) -> Option<&Lease> {
        if self.is_stopping || !matches!(self.role, Role::Watching | Role::Asking(_)) {
            return None;
        }
        let row = self.seen.as_deref()?;
        let is_arrived = row.owner.as_ref() == Some(&self.me) && row.checkpoint_owner.is_none();
        let is_free = row.owner.is_none() || self.watch.is_expired(row, self.now());
        (!row.is_ended() && (is_arrived || is_free)).then_some(row)
    }

    /// Returns the owner that the worker could ask for the lease.
    pub(super) fn victim(&self) -> Option<&WorkerId> {
        let row = self.seen.as_deref()?;
        let is_free_to_ask = matches!(self.role, Role::Watching)
            && !self.is_stopping
            && !row.is_ended()
            && row.checkpoint_owner.is_none();
        row.owner.as_ref().filter(|owner| is_free_to_ask && **owner != self.me)
    }

    /// Sends a take, as `lease_side::take` does.
    pub(super) fn take(&mut self, row: &Lease, owner_switches: u64) -> Sent {
        let floor = LeaseCounter(0); // There is one lease.
        let kind = WriteKind::Take {
            counter: row.counter,
            last_write: row.last_write.clone().into(),
            floor,
            expiry: EXPIRY,
            owner_switches,
            start_at: None,
            lives_by: Liveness::Counter,
            adopt: None,
        };
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
        let target = Target { key: LeaseKey::new("shard"), owner: victim };
        let (asking, _) = HandoverRequest::new(self.me.clone(), target, numbers, now);
        self.role = Role::Asking(Box::new(asking));
        self.read = Some(Read::Sent);
    }

    /// Delivers the answer to the write in flight, or `None` if it fails.
    pub(super) fn write_answered(
        &mut self,
        answer: Option<Conditional>,
    ) -> Result<Sent, Violation> {
        match &self.role {
            Role::Holding(_) => self.feed_holding(match answer {
                Some(outcome) => HoldingInput::Answered(outcome),
                None => HoldingInput::Unanswered,
            }),
            Role::Asking(_) => Ok(self.feed_request(match answer {
                Some(outcome) => RequestInput::Answered(outcome),
                None => RequestInput::Unanswered,
            })),
            Role::Taking { sent } => {
                let sent = *sent;
                self.take_answered(answer, sent)
            }
            Role::Watching | Role::Losing(_) => Ok(Sent::new()),
        }
    }

    /// Delivers the row that a consistent read returned.
    pub(super) fn read_answered(&mut self, row: Option<Arc<Lease>>) -> Result<Sent, Violation> {
        let lease = row.as_deref().cloned();
        match &self.role {
            Role::Holding(_) => self.feed_holding(HoldingInput::Read(lease)),
            Role::Asking(_) => {
                if row.is_some() {
                    self.observe(row);
                }
                Ok(self.feed_request(RequestInput::Read(lease)))
            }
            Role::Watching | Role::Taking { .. } | Role::Losing(_) => Ok(Sent::new()),
        }
    }

    fn take_answered(
        &mut self,
        answer: Option<Conditional>,
        sent: Moment,
    ) -> Result<Sent, Violation> {
        let now = self.now();
        let Some(call) = &mut self.call else { return Ok(Sent::new()) };
        let row = match answer {
            None if now.since(sent) >= EXPIRY / 10 * 9 => {
                self.become_idle();
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
                self.become_idle();
                self.observe(found.map(Arc::new));
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
            is_active: !self.is_stopping,
        };
        let Times { tick, handover } = self.times;
        let times = HoldingTimes {
            expiry: EXPIRY,
            renew_first: tick,
            renew_every: tick,
            throttled: tick,
            handover,
            store_every: None,
            row_every: None,
        };
        let holding = Holding::new(self.me.clone(), times, numbers, Taken { row, sent });
        (self.seen, self.watch) = (None, CounterWatch::default()); // Unused until the holding ends.
        self.role = Role::Holding(Box::new((holding, consumer)));
        // A stopping worker starts no consumer.
        if self.is_stopping {
            self.feed_holding(HoldingInput::ConsumerFailed)
        } else {
            Ok(Sent::new())
        }
    }

    /// Drops everything in flight.
    fn become_idle(&mut self) {
        self.role = Role::Watching;
        self.creates_children = false;
        self.call = None;
        self.read = None;
    }

    /// Feeds the machine of the request, as `lease_side::handover_requests` does.
    pub(super) fn feed_request(&mut self, input: RequestInput) -> Sent {
        let now = self.now();
        let Role::Asking(asking) = &mut self.role else { return Sent::new() };
        let (is_settled, is_read) = (
            matches!(input, RequestInput::Answered(_)),
            matches!(input, RequestInput::Read(_) | RequestInput::Unread),
        );
        if is_settled {
            self.call = None;
        }
        if is_read {
            self.read = None;
        }
        match asking.on(input, now) {
            None | Some(RequestEffect::Begun) => Sent::new(),
            Some(RequestEffect::Read) => {
                self.read = Some(Read::Sent);
                Sent::new()
            }
            Some(RequestEffect::Write(write)) => self.send(*write),
            Some(RequestEffect::Ended(end)) => {
                self.become_idle();
                match end {
                    RequestEnd::Arrived(row) if !self.is_stopping => {
                        let row = Arc::from(row);
                        self.observe(Some(Arc::clone(&row)));
                        self.take(&row, row.owner_switches)
                    }
                    RequestEnd::Arrived(_) | RequestEnd::Refused(_) | RequestEnd::Withdrawn => {
                        Sent::new()
                    }
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

    /// Feeds the machine of the held lease, as `lease_side::holder` does.
    pub(super) fn feed_holding(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
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
                    Call::check_made(settled.as_ref())?;
                    consumer.deadline = deadline;
                }
                HoldingEffect::Drain { until } => consumer.drain(until),
                HoldingEffect::Cancel => consumer.lose(),
                HoldingEffect::Ended(how) => ended = Some(how),
                HoldingEffect::CreateChildren(_) => self.creates_children = true,
                HoldingEffect::Stored(_)
                | HoldingEffect::Keep { .. }
                | HoldingEffect::Prepared
                | HoldingEffect::Refused(_)
                | HoldingEffect::HandoverRequested(_)
                | HoldingEffect::HandoverEnded(_) => {}
            }
        }
        if let Some(how) = ended {
            let consumer = consumer.clone();
            self.become_idle();
            if consumer.is_active {
                self.role = Role::Losing(consumer);
            }
            match how {
                LeaseEnd::Lost => self.seen = None,
                LeaseEnd::Released
                | LeaseEnd::Expired
                | LeaseEnd::HandedOver
                | LeaseEnd::ShardEnded
                | LeaseEnd::Kept => self.observe(Some(Arc::new(row))),
            }
        }
        Ok(sent.into_iter().flat_map(|write| self.send(write)).collect())
    }

    /// Feeds the consumer's progress, then `input` from it.
    pub(super) fn consumer_reports(&mut self, input: HoldingInput) -> Result<Sent, Violation> {
        let Role::Holding(held) = &mut self.role else { return Ok(Sent::new()) };
        let checkpoint = Some(held.1.processed).filter(|it| it.has_progressed());
        let is_last = matches!(
            input,
            HoldingInput::Drained | HoldingInput::ConsumerFailed | HoldingInput::ShardEnded(_)
        );
        held.1.is_active &= !is_last;
        let done = Done { checkpoint, ..Done::default() };
        let mut sent = self.feed_holding(HoldingInput::Progress(done))?;
        sent.extend(self.feed_holding(input)?);
        Ok(sent)
    }
}
