//! One request for another worker's lease, as a state machine: begin, wait, receive or withdraw.
//!
//! The other side of a hand-over is [`holding`](crate::lease::holding). A scan only hints that a
//! lease should move: every write here rests on a consistent read. The rules are
//! `docs/internals/lease-protocol.md`, L5 and L6.

use std::time::Duration;

use crate::lease::holding::HAND_OVER_READ_EVERY;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Conditional, Lease, LeaseKey, Moment, WorkerId};

/// How often a request starts over when the owner's renewals win the race.
const BEGINS_MAX: u32 = 4;

/// How long a write of unknown outcome waits before it is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(250);

/// Why a lease that arrived was not kept.
const PASSED_ON: &str = "another worker asked for it on its way here";

/// Something that happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskingInput {
    /// Time passed.
    Tick,
    /// The row was read, consistently.
    Read(Option<Lease>),
    /// The read failed.
    Unread,
    /// The write in flight was answered.
    Answered(Conditional),
    /// The write in flight failed: its outcome is unknown.
    Unanswered,
    /// The worker stops: leave no request behind.
    Stop,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskingEffect {
    /// Read the row, consistently, and say what it is.
    Read,
    /// Make this write, and say what came of it.
    Write(Box<LeaseWrite>),
    /// The request is on the row.
    Begun,
    /// The request is over. Nothing follows.
    Ended(AskEnd),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskEnd {
    /// The owner handed the lease over: take it, with this row as sighted.
    Arrived(Box<Lease>),
    /// The owner kept it, or somebody else has it, or it is gone.
    Refused(&'static str),
    /// Nothing of it is left on the row.
    Withdrawn,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Reading the row, to begin.
    Looking,
    /// The begin is on its way.
    Beginning,
    /// The request is on the row.
    Waiting,
    /// The withdrawal, or the release of what has arrived, is on its way.
    Leaving,
    /// What has arrived is on its way to the next who asked for it.
    Passing,
}

/// A request for one lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asking {
    me: WorkerId,
    key: LeaseKey,
    victim: WorkerId,
    numbers: WriteNumbers,
    state: State,
    write: Option<LeaseWrite>,
    begins: u32,
    stopping: bool,
    wake_at: Moment,
}

impl Asking {
    /// A request for the lease `key` of `victim`. Its first effect is a read.
    #[must_use]
    pub fn new(
        me: WorkerId,
        (key, victim): (LeaseKey, WorkerId),
        numbers: WriteNumbers,
        now: Moment,
    ) -> (Self, AskingEffect) {
        let asking = Self {
            me,
            key,
            victim,
            numbers,
            state: State::Looking,
            write: None,
            begins: 0,
            stopping: false,
            wake_at: now,
        };
        (asking, AskingEffect::Read)
    }

    /// Takes in what happened, and returns what to do about it, if anything.
    ///
    /// Exactly one read or write is on its way at any time, or [`wake_at`](Self::wake_at) counts.
    pub fn on(&mut self, input: AskingInput, now: Moment) -> Option<AskingEffect> {
        match input {
            AskingInput::Stop => {
                self.stopping = true;
                None // What is on its way is answered first; while waiting the next read is near.
            }
            AskingInput::Tick => Some(match &self.write {
                Some(write) => AskingEffect::Write(Box::new(write.clone())),
                None => AskingEffect::Read,
            }),
            AskingInput::Unread if self.stopping && self.begins == 0 => {
                Some(AskingEffect::Ended(AskEnd::Withdrawn)) // Nothing was written.
            }
            AskingInput::Unread => self.again(now, HAND_OVER_READ_EVERY),
            AskingInput::Unanswered => self.again(now, RESEND_AFTER),
            AskingInput::Read(row) => self.read(row, now),
            AskingInput::Answered(outcome) => Some(self.answered(&outcome, now)),
        }
    }

    /// When to call [`on`](Self::on) with a tick, if nothing is on its way.
    #[must_use]
    pub const fn wake_at(&self) -> Moment {
        self.wake_at
    }

    /// The lease.
    #[must_use]
    pub const fn key(&self) -> &LeaseKey {
        &self.key
    }

    fn again(&mut self, now: Moment, pause: Duration) -> Option<AskingEffect> {
        self.wake_at = now + pause;
        None
    }

    fn read(&mut self, row: Option<Lease>, now: Moment) -> Option<AskingEffect> {
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
            if self.stopping {
                let (counter, victim) = (row.counter, self.victim.clone());
                self.state = State::Leaving;
                return Some(self.send(WriteKind::Withdraw { counter, victim }));
            }
            let first = self.state != State::Waiting;
            self.state = State::Waiting;
            self.wake_at = now + HAND_OVER_READ_EVERY;
            return first.then_some(AskingEffect::Begun);
        }
        // It arrived, and somebody asked for it before this was seen. Nobody holds it.
        let is_outgoing = row.checkpoint_owner.as_ref() == Some(&self.me) && self.begins > 0;
        if let Some(next) = row.owner.clone().filter(|_| is_outgoing) {
            self.state = State::Passing;
            let kind = WriteKind::CompleteHandOver { counter: row.counter, next, progress: None };
            return Some(self.send(kind));
        }
        let is_free_to_ask =
            row.owner.as_ref() == Some(&self.victim) && row.checkpoint_owner.is_none();
        match self.state {
            State::Looking if self.stopping => Some(AskingEffect::Ended(AskEnd::Withdrawn)),
            State::Looking if is_free_to_ask && self.begins < BEGINS_MAX => {
                let (counter, victim) = (row.counter, self.victim.clone());
                self.begins += 1;
                self.state = State::Beginning;
                Some(self.send(WriteKind::BeginHandOver { counter, victim }))
            }
            State::Leaving => Some(AskingEffect::Ended(AskEnd::Withdrawn)),
            State::Looking => Some(ended("the owner changed, or renewed too fast")),
            State::Beginning | State::Waiting => Some(ended("the owner kept the lease")),
            State::Passing => Some(ended(PASSED_ON)),
        }
    }

    fn arrived(&mut self, row: Lease) -> AskingEffect {
        if !self.stopping {
            return AskingEffect::Ended(AskEnd::Arrived(Box::new(row)));
        }
        self.state = State::Leaving;
        self.send(WriteKind::Release { counter: row.counter, progress: None })
    }

    fn answered(&mut self, outcome: &Conditional, now: Moment) -> AskingEffect {
        self.write = None;
        match (outcome, &self.state) {
            (Conditional::Applied(_), State::Leaving) => AskingEffect::Ended(AskEnd::Withdrawn),
            (Conditional::Applied(_), State::Passing) => ended(PASSED_ON),
            (Conditional::Applied(_), _) if self.stopping => AskingEffect::Read,
            (Conditional::Applied(_), _) => {
                self.state = State::Waiting;
                self.wake_at = now + HAND_OVER_READ_EVERY;
                AskingEffect::Begun
            }
            (Conditional::Lost { .. }, State::Beginning) => {
                // The owner renewed in between, or an earlier copy of this begin counted.
                self.state = State::Looking;
                AskingEffect::Read
            }
            (Conditional::Lost { .. }, _) => AskingEffect::Read,
        }
    }

    fn send(&mut self, kind: WriteKind) -> AskingEffect {
        let write = LeaseWrite {
            key: self.key.clone(),
            worker: self.me.clone(),
            number: self.numbers.draw(),
            kind,
        };
        self.write = Some(write.clone());
        AskingEffect::Write(Box::new(write))
    }
}

const fn ended(reason: &'static str) -> AskingEffect {
    AskingEffect::Ended(AskEnd::Refused(reason))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
