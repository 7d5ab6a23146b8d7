//! A request for another worker's lease, as a state machine: begin, wait, receive or withdraw.
//!
//! The owner's side of a hand-over is [`holding`](crate::lease::holding). A scan only hints that a
//! lease should move: every write here follows a consistent read. The rules are
//! `docs/internals/lease-protocol.md`, L5 and L6.

use std::time::Duration;

use crate::lease::holding::HANDOVER_READ_EVERY;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Conditional, Lease, LeaseKey, Moment, WorkerId};

/// How many times a request starts over because a renewal of the owner wins the race.
const BEGINS_MAX: u32 = 4;

/// The pause before a write of unknown outcome is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(250);

/// The time between reads of a row that carries the request while moves rest. The lease may arrive
/// in between.
const RESTING_READ_EVERY: Duration = Duration::from_secs(1);

/// Why a lease that arrived was passed on.
const PASSED_ON: &str = "another worker asked for it on its way here";

/// The lease that a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The lease's key.
    pub key: LeaseKey,
    /// The owner that is asked.
    pub owner: WorkerId,
}

/// An input of a [`HandoverRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestInput {
    /// Time passed.
    Tick,
    /// A consistent read returned this row.
    Read(Option<Lease>),
    /// The read failed.
    Unread,
    /// The write in flight was answered.
    Answered(Conditional),
    /// The write in flight failed: its outcome is unknown.
    Unanswered,
    /// The write in flight was throttled: this copy of it was not made.
    Throttled,
    /// Moves rest until then, because renewals suffer. A request that has written nothing waits.
    Rest {
        /// When they go on.
        until: Moment,
    },
    /// The worker stops and must leave no request behind.
    Stop,
}

/// An effect of a [`HandoverRequest`], for the caller to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEffect {
    /// Read the row consistently, and feed the result.
    Read,
    /// Send this write, and feed its outcome.
    Write(Box<LeaseWrite>),
    /// The row now carries the request.
    Begun,
    /// The request has ended. No effect follows.
    Ended(RequestEnd),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// The owner handed the lease over: take it, from this row.
    Arrived(Box<Lease>),
    /// The request ended without moving the lease here, for this reason.
    Refused(&'static str),
    /// The request was withdrawn: no trace of it is left on the row.
    Withdrawn,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// The row is being read, to begin.
    Reading,
    /// The begin is in flight.
    Beginning,
    /// The row carries the request.
    Waiting,
    /// The withdrawal is in flight, or the release of a lease that arrived.
    Leaving,
    /// The hand-over of a lease that arrived to the next requester is in flight.
    Passing,
}

/// A request of worker `me` for the lease of `victim`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandoverRequest {
    me: WorkerId,
    key: LeaseKey,
    victim: WorkerId,
    numbers: WriteNumbers,
    state: State,
    write: Option<LeaseWrite>,
    /// Whether an earlier copy of that write may have been made.
    may_be_made: bool,
    begins: u32,
    is_stopping: bool,
    wake_at: Moment,
    /// Until when moves rest.
    rests_until: Moment,
}

impl HandoverRequest {
    /// Creates a request for the lease `target`, and returns its first effect, a read.
    #[must_use]
    pub fn new(
        me: WorkerId,
        target: Target,
        numbers: WriteNumbers,
        now: Moment,
    ) -> (Self, RequestEffect) {
        let Target { key, owner: victim } = target;
        let request = Self {
            me,
            key,
            victim,
            numbers,
            state: State::Reading,
            write: None,
            may_be_made: false,
            begins: 0,
            is_stopping: false,
            wake_at: now,
            rests_until: now,
        };
        (request, RequestEffect::Read)
    }

    /// Feeds an input, and returns its effect.
    ///
    /// At any time one read or write is in flight, or the request waits until
    /// [`wake_at`](Self::wake_at).
    pub fn on(&mut self, input: RequestInput, now: Moment) -> Option<RequestEffect> {
        match input {
            RequestInput::Stop => {
                self.is_stopping = true;
                None // The answer in flight arrives first; a waiting request reads soon.
            }
            RequestInput::Tick => Some(match &self.write {
                Some(write) => RequestEffect::Write(Box::new(write.clone())),
                None => RequestEffect::Read,
            }),
            RequestInput::Unread if self.is_stopping && self.begins == 0 => {
                Some(RequestEffect::Ended(RequestEnd::Withdrawn)) // No write was sent.
            }
            RequestInput::Unread => self.retry(now, HANDOVER_READ_EVERY),
            RequestInput::Unanswered => {
                self.may_be_made = true;
                self.retry(now, RESEND_AFTER)
            }
            RequestInput::Throttled => {
                if self.state == State::Beginning && !self.may_be_made {
                    // The owner renews meanwhile: it is begun from a newer row.
                    (self.write, self.state) = (None, State::Reading);
                    self.begins -= 1;
                }
                self.retry(now, RESEND_AFTER)
            }
            RequestInput::Rest { until } => {
                self.rests_until = until;
                None
            }
            RequestInput::Read(row) => self.read(row, now),
            RequestInput::Answered(outcome) => Some(self.answered(&outcome, now)),
        }
    }

    /// Returns when to feed a tick if no read or write is in flight.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let most = match self.state {
            State::Reading | State::Beginning if !self.is_stopping => self.rests_until,
            State::Waiting if !self.is_stopping => {
                let pause = RESTING_READ_EVERY.saturating_sub(HANDOVER_READ_EVERY);
                self.rests_until.min(self.wake_at + pause)
            }
            State::Reading
            | State::Beginning
            | State::Waiting
            | State::Leaving
            | State::Passing => self.wake_at,
        };
        self.wake_at.max(most)
    }

    /// Returns the lease's key.
    #[must_use]
    pub const fn key(&self) -> &LeaseKey {
        &self.key
    }

    fn retry(&mut self, now: Moment, pause: Duration) -> Option<RequestEffect> {
        self.wake_at = now + pause;
        None
    }

    fn read(&mut self, row: Option<Lease>, now: Moment) -> Option<RequestEffect> {
        let Some(row) = row else { return Some(ended("the row is gone")) };
        if row.is_ended() {
            return Some(ended("the shard is finished"));
        }
        let is_mine = row.owner.as_ref() == Some(&self.me);
        let is_asked = is_mine && row.checkpoint_owner.as_ref() == Some(&self.victim);
        if is_mine && row.checkpoint_owner.is_none() {
            return Some(self.arrived(row));
        }
        if is_asked {
            if self.is_stopping {
                let (counter, victim) = (row.counter, self.victim.clone());
                self.state = State::Leaving;
                return Some(self.send(WriteKind::Withdraw { counter, victim }));
            }
            let is_first = self.state != State::Waiting;
            self.state = State::Waiting;
            self.wake_at = now + HANDOVER_READ_EVERY;
            return is_first.then_some(RequestEffect::Begun);
        }
        // The lease arrived, and another worker asked for it before this read. No worker holds it.
        let is_outgoing = row.checkpoint_owner.as_ref() == Some(&self.me) && self.begins > 0;
        if let Some(next) = row.owner.clone().filter(|_| is_outgoing) {
            self.state = State::Passing;
            let kind = WriteKind::CompleteHandover {
                counter: row.counter,
                next,
                progress: None,
                unmark: None,
            };
            return Some(self.send(kind));
        }
        let is_free_to_ask =
            row.owner.as_ref() == Some(&self.victim) && row.checkpoint_owner.is_none();
        match self.state {
            State::Reading if self.is_stopping => Some(RequestEffect::Ended(RequestEnd::Withdrawn)),
            State::Reading if is_free_to_ask && now < self.rests_until => {
                self.retry(now, HANDOVER_READ_EVERY)
            }
            State::Reading if is_free_to_ask && self.begins < BEGINS_MAX => {
                let (counter, victim) = (row.counter, self.victim.clone());
                self.begins += 1;
                self.state = State::Beginning;
                Some(self.send(WriteKind::BeginHandover { counter, victim }))
            }
            State::Leaving => Some(RequestEffect::Ended(RequestEnd::Withdrawn)),
            State::Reading => Some(ended("the owner changed, or renewed too fast")),
            State::Beginning | State::Waiting => Some(ended("the owner kept the lease")),
            State::Passing => Some(ended(PASSED_ON)),
        }
    }

    fn arrived(&mut self, row: Lease) -> RequestEffect {
        if !self.is_stopping {
            return RequestEffect::Ended(RequestEnd::Arrived(Box::new(row)));
        }
        self.state = State::Leaving;
        self.send(WriteKind::Release { counter: row.counter, progress: None, unmark: None })
    }

    fn answered(&mut self, outcome: &Conditional, now: Moment) -> RequestEffect {
        self.write = None;
        match (outcome, &self.state) {
            (Conditional::Applied(_), State::Leaving) => {
                RequestEffect::Ended(RequestEnd::Withdrawn)
            }
            (Conditional::Applied(_), State::Passing) => ended(PASSED_ON),
            (Conditional::Applied(_), _) if self.is_stopping => RequestEffect::Read,
            (Conditional::Applied(_), _) => {
                self.state = State::Waiting;
                self.wake_at = now + HANDOVER_READ_EVERY;
                RequestEffect::Begun
            }
            (Conditional::Lost { .. }, State::Beginning) => {
                // The owner renewed in between, or an earlier copy of this begin was applied.
                self.state = State::Reading;
                RequestEffect::Read
            }
            (Conditional::Lost { .. }, _) => RequestEffect::Read,
        }
    }

    fn send(&mut self, kind: WriteKind) -> RequestEffect {
        let write = LeaseWrite {
            key: self.key.clone(),
            worker: self.me.clone(),
            number: self.numbers.draw(),
            kind,
        };
        (self.write, self.may_be_made) = (Some(write.clone()), false);
        RequestEffect::Write(Box::new(write))
    }
}

const fn ended(reason: &'static str) -> RequestEffect {
    RequestEffect::Ended(RequestEnd::Refused(reason))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
