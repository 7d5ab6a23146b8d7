//! The state machine of a session.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entries::Entries;
use super::input::{HolderReport, KeeperEffect, SessionEnd, SessionInput, SessionTimes};
use super::roll::Roll;
use crate::lease::in_flight::InFlight;
use crate::lease::session_write::{SessionWrite, SessionWriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Conditional, LeaseKey, Moment, Session, SessionProgress, Timestamp, WorkerId};

/// How old the row claims to be, so that a Java leader never assigns leases to this worker.
pub const LAST_UPDATE_AGE: Duration = Duration::from_hours(1);

/// The least time between two heartbeats: requests for checkpoints that come together share one.
const GROUP_EVERY: Duration = Duration::from_millis(200);

/// What the session is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    /// To live.
    Live,
    /// To free all leases at once.
    Resign,
    /// To delete its row.
    Close,
}

/// The session of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKeeper {
    me: WorkerId,
    times: SessionTimes,
    numbers: WriteNumbers,
    /// The heartbeat of the last settled write.
    beat: u64,
    /// When the first copy of the last settled write was sent, or `None` before the first one.
    settled_from: Option<Moment>,
    /// When the last heartbeat was first sent.
    sent_at: Moment,
    in_flight: Option<InFlight<SessionWrite>>,
    entries: Entries,
    roll: Roll,
    /// The requests that the row contains, which the next heartbeat removes.
    asked: BTreeSet<LeaseKey>,
    is_urgent: bool,
    is_leaving: bool,
    goal: Goal,
    has_ended: bool,
}

impl SessionKeeper {
    /// Opens the session of `me`, and returns its first effect. `numbers` are used by nothing else.
    ///
    /// `time` is the time of day.
    #[must_use]
    pub fn open(
        me: WorkerId,
        times: SessionTimes,
        mut numbers: WriteNumbers,
        (now, time): (Moment, Timestamp),
    ) -> (Self, KeeperEffect) {
        let kind = SessionWriteKind::Open {
            number: numbers.draw(),
            expiry: times.expiry,
            last_update: time.before(LAST_UPDATE_AGE),
        };
        let write = SessionWrite { session: me.clone(), kind };
        let keeper = Self {
            me,
            times,
            numbers,
            beat: 0,
            settled_from: None,
            sent_at: now,
            in_flight: Some(InFlight::new(write.clone(), now)),
            entries: Entries::default(),
            roll: Roll::default(),
            asked: BTreeSet::new(),
            is_urgent: false,
            is_leaving: false,
            goal: Goal::Live,
            has_ended: false,
        };
        (keeper, KeeperEffect::Write(write))
    }

    /// Feeds an input, and returns its effects in order. `time` is the time of day.
    pub fn on(&mut self, input: SessionInput, now: Moment, time: Timestamp) -> Vec<KeeperEffect> {
        let mut effects = Vec::new();
        if self.has_ended {
            return effects;
        }
        self.handle(input, now, &mut effects);
        if !self.has_ended {
            self.act(now, time, &mut effects);
        }
        effects
    }

    /// Returns until when the holders may process: `None` before the session is open, once it
    /// resigns or closes, and after its end.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let lives = self.goal == Goal::Live && !self.has_ended;
        self.settled_from.filter(|_| lives).map(|from| self.times.deadline(from))
    }

    /// Returns the progress of this worker's leases that their rows may lack: what a take of a
    /// lease that already names this worker adopts.
    #[must_use]
    pub const fn progress(&self) -> &SessionProgress {
        self.entries.progress()
    }

    /// Returns the progress that the row contains.
    #[must_use]
    pub const fn stored(&self) -> &SessionProgress {
        self.entries.stored()
    }

    /// Returns when to feed a tick if there is no other input before.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        match &self.in_flight {
            Some(in_flight) => in_flight.resend_at(),
            None => Some(self.beat_at()),
        }
    }

    /// Returns when the next heartbeat is due.
    fn beat_at(&self) -> Moment {
        let pause = if self.is_urgent { GROUP_EVERY } else { self.times.beat_every };
        self.sent_at + pause.min(self.times.beat_every)
    }

    fn handle(&mut self, input: SessionInput, now: Moment, effects: &mut Vec<KeeperEffect>) {
        match input {
            SessionInput::Tick => {}
            SessionInput::Answered(outcome) => self.settle(&outcome, now, effects),
            SessionInput::Unanswered => {
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.unanswered(now);
                }
            }
            SessionInput::Throttled => {
                let left = self.deadline().map_or(Duration::ZERO, |at| at.since(now));
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.throttled(self.times.throttled, left, now);
                }
            }
            SessionInput::Holds { key, token } => {
                self.entries.begin(&key, token);
                self.roll.add(key);
            }
            SessionInput::Reports { reports, is_urgent } => {
                self.is_urgent |= is_urgent;
                for HolderReport { key, progress } in reports {
                    self.roll.answers(&key);
                    if let Some(progress) = progress {
                        self.entries.keep(key, progress);
                    }
                }
            }
            SessionInput::Ended(key) => self.roll.remove(&key),
            SessionInput::Seen(row) => self.entries.see(&row, &self.me),
            SessionInput::Gone(key) => self.entries.remove(&key),
            SessionInput::Leave => {
                self.is_urgent |= !self.is_leaving;
                self.is_leaving = true;
            }
            SessionInput::Resign => self.goal = Goal::Resign,
            SessionInput::Close { is_named } => {
                let is_named = is_named || !self.entries.progress().0.is_empty();
                let is_clean = self.goal == Goal::Live && !is_named;
                self.goal = if is_clean { Goal::Close } else { Goal::Resign };
            }
        }
    }

    /// Handles the answer to the write in flight.
    fn settle(
        &mut self,
        outcome: &Conditional<Session>,
        now: Moment,
        effects: &mut Vec<KeeperEffect>,
    ) {
        let Some(InFlight { write, first_sent, .. }) = self.in_flight.take() else { return };
        let is_close = matches!(write.kind, SessionWriteKind::Close { .. });
        let is_made = match outcome {
            Conditional::Applied(_) => true,
            Conditional::Lost { found: Some(row) } => write.made(row),
            Conditional::Lost { found: None } => is_close,
        };
        if !is_made {
            return self.end(lost(outcome), effects);
        }
        let (progress, heard) = match write.kind {
            SessionWriteKind::Beat { progress, heard, .. } => (progress, heard),
            SessionWriteKind::Resign { .. } => return self.end(SessionEnd::Resigned, effects),
            SessionWriteKind::Close { .. } => return self.end(SessionEnd::Closed, effects),
            SessionWriteKind::Open { .. }
            | SessionWriteKind::Ask { .. }
            | SessionWriteKind::Condemn { .. }
            | SessionWriteKind::Bury => (SessionProgress::EMPTY, BTreeSet::new()),
        };
        self.beat += 1;
        self.settled_from = Some(first_sent);
        effects.extend(self.deadline().filter(|at| now < *at).map(KeeperEffect::Lives));
        let stored = self.entries.settle(progress);
        effects.extend(
            stored.into_iter().map(|(key, progress)| KeeperEffect::Stored { key, progress }),
        );
        self.asked = outcome.row().map_or_else(BTreeSet::new, |row| row.asked.clone());
        // A lease may have been asked for again before the heartbeat removed the first request.
        effects.extend(heard.union(&self.asked).cloned().map(KeeperEffect::Asked));
    }

    fn end(&mut self, how: SessionEnd, effects: &mut Vec<KeeperEffect>) {
        self.has_ended = true;
        effects.push(KeeperEffect::Ended(how));
    }

    /// Does what is due at `now`.
    fn act(&mut self, now: Moment, time: Timestamp, effects: &mut Vec<KeeperEffect>) {
        if let Some(in_flight) = &mut self.in_flight {
            return effects.extend(in_flight.resend(now).map(KeeperEffect::Write));
        }
        let beat = self.beat;
        let kind = match self.goal {
            Goal::Live if now < self.beat_at() => return,
            Goal::Live => {
                self.call_the_roll(now, effects);
                (self.sent_at, self.is_urgent) = (now, false);
                SessionWriteKind::Beat {
                    beat,
                    number: self.numbers.draw(),
                    progress: self.entries.progress().clone(),
                    heard: self.asked.clone(),
                    is_leaving: self.is_leaving,
                    last_update: time.before(LAST_UPDATE_AGE),
                }
            }
            Goal::Resign => {
                let (number, progress) = (self.numbers.draw(), self.entries.progress().clone());
                SessionWriteKind::Resign { beat, number, progress }
            }
            Goal::Close => SessionWriteKind::Close { beat },
        };
        let write = SessionWrite { session: self.me.clone(), kind };
        self.in_flight = Some(InFlight::new(write.clone(), now));
        effects.push(KeeperEffect::Write(write));
    }

    fn call_the_roll(&mut self, now: Moment, effects: &mut Vec<KeeperEffect>) {
        let until = self.deadline().unwrap_or(now);
        let stuck = self.roll.call(self.times.beat_every, now);
        effects.extend(stuck.into_iter().map(|key| KeeperEffect::Stuck { key, until }));
    }
}

/// Returns why a write of the session's own worker was lost.
fn lost(outcome: &Conditional<Session>) -> SessionEnd {
    let Some(row) = outcome.row() else { return SessionEnd::Gone };
    row.dead.clone().map_or(SessionEnd::Overwritten, SessionEnd::Condemned)
}
