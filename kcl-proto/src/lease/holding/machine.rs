//! The state machine of a held lease.

use std::collections::BTreeSet;
use std::time::Duration;

use super::goal::Goal;
use super::handover::{self, Handover};
use super::input::{HoldingEffect, HoldingInput, HoldingTimes, InSession, Taken};
use super::life::Life;
use super::pending_write::PendingWrite;
use crate::lease::in_flight::InFlight;
use crate::lease::write::{LeaseWrite, Progress, WriteKind};
use crate::lease::write_numbers::WriteNumbers;
use crate::model::{Checkpoint, Conditional, Lease, LeaseCounter, LeaseEnd, Moment, WorkerId};

/// How long after its deadline a consumer may report that it drained. Later it counts as hung.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// When a write was sent and answered.
#[derive(Clone, Copy)]
struct Answered {
    first_sent: Moment,
    now: Moment,
}

/// A lease that this worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    me: WorkerId,
    times: HoldingTimes,
    numbers: WriteNumbers,
    row: Lease,
    life: Life,
    in_flight: Option<InFlight<LeaseWrite>>,
    pending: PendingWrite,
    handover: Option<Handover>,
    goal: Goal,
    drain_until: Option<Moment>,
    is_consumer_gone: bool,
    has_ended: bool,
}

impl Holding {
    /// Creates the holding of a lease that was just taken and lives by its counter.
    #[must_use]
    pub fn new(me: WorkerId, times: HoldingTimes, numbers: WriteNumbers, taken: Taken) -> Self {
        let Taken { row, sent } = taken;
        let life = Life::Counter { renewed_at: sent, renew_after: times.renew_first };
        Self::with_life(me, times, numbers, row, life)
    }

    /// Creates the holding of a lease that was just taken and lives by its worker's session.
    ///
    /// A take is no sign of life: the holding lives as long as the session, and ends at once if
    /// that has lapsed.
    #[must_use]
    pub fn in_session(
        me: WorkerId,
        times: HoldingTimes,
        numbers: WriteNumbers,
        taken: InSession,
    ) -> Self {
        let InSession { row, lives_until: deadline, now: written_at } = taken;
        Self::with_life(me, times, numbers, row, Life::Session { deadline, written_at })
    }

    fn with_life(
        me: WorkerId,
        times: HoldingTimes,
        numbers: WriteNumbers,
        row: Lease,
        life: Life,
    ) -> Self {
        debug_assert_eq!(row.owner.as_ref(), Some(&me), "a held lease is owned by its holder");
        Self {
            me,
            times,
            numbers,
            row,
            life,
            in_flight: None,
            pending: PendingWrite::new(times.store_every),
            handover: None,
            goal: Goal::Hold,
            drain_until: None,
            is_consumer_gone: false,
            has_ended: false,
        }
    }

    /// Feeds an input, and returns its effects in order.
    pub fn on(&mut self, input: HoldingInput, now: Moment) -> Vec<HoldingEffect> {
        let mut effects = Vec::new();
        if self.has_ended {
            return effects;
        }
        self.handle(input, now, &mut effects);
        if !self.has_ended && now >= self.deadline() {
            self.end(LeaseEnd::Expired, &mut effects);
        }
        if !self.has_ended {
            self.keep(now, &mut effects);
            self.act(now, &mut effects);
        }
        effects
    }

    /// Returns the row as this worker last saw it.
    #[must_use]
    pub const fn row(&self) -> &Lease {
        &self.row
    }

    /// Returns until when the consumer may poll the application's futures.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.life.deadline(&self.times)
    }

    /// Returns the worker that asked for the lease, or `None` if no hand-over is open.
    #[must_use]
    pub fn next_owner(&self) -> Option<&WorkerId> {
        self.handover.as_ref().map(Handover::next)
    }

    /// Returns when to feed a tick if there is no other input before.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let write = match &self.in_flight {
            None => {
                let renewal = self.renewal_at();
                self.pending.due_at().into_iter().chain(renewal).min()
            }
            Some(in_flight) => in_flight.resend_at(),
        };
        let read = self.handover.as_ref().map(Handover::read_at);
        let drained =
            self.drain_until.filter(|_| self.is_awaiting()).map(|until| until + DRAIN_GRACE);
        [write, read, drained].into_iter().flatten().fold(self.deadline(), Moment::min)
    }

    fn handle(&mut self, input: HoldingInput, now: Moment, effects: &mut Vec<HoldingEffect>) {
        match input {
            HoldingInput::Tick => {}
            HoldingInput::Answered(outcome) => self.settle(outcome, now, effects),
            HoldingInput::Unanswered => {
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.unanswered(now);
                }
            }
            HoldingInput::Throttled => {
                let left = self.deadline().since(now);
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.throttled(self.times.throttled, left, now);
                }
            }
            HoldingInput::Read(row) => self.look_at(row, now, effects),
            HoldingInput::ChangeHinted => {
                if self.handover.is_none() && self.in_flight.is_none() {
                    effects.push(HoldingEffect::Read);
                }
            }
            HoldingInput::Progress(done) => self.pending.advance(done, &self.row, now),
            HoldingInput::Checkpoint(checkpoint) => self.ask_for(checkpoint, effects),
            HoldingInput::Prepare(pending) => {
                if !self.pending.prepare(pending, &self.row) {
                    effects.push(HoldingEffect::Prepared);
                }
            }
            HoldingInput::ShardEnded(children) => {
                self.is_consumer_gone = true;
                effects.push(HoldingEffect::CreateChildren(children.clone()));
                self.goal = Goal::EndShard { children, created: false };
            }
            HoldingInput::ChildrenCreated => {
                if let Goal::EndShard { created, .. } = &mut self.goal {
                    *created = true;
                }
            }
            HoldingInput::Drained => self.is_consumer_gone = true,
            HoldingInput::ConsumerFailed => {
                // A consumer that reported its end before is expected to be gone.
                if !self.is_consumer_gone {
                    self.is_consumer_gone = true;
                    self.goal = Goal::Release;
                }
            }
            HoldingInput::Stop { until } => self.stop(until, effects),
            HoldingInput::NextOwnerMoved(moved_at) => {
                if let Some(handover) = &mut self.handover {
                    handover.moved(moved_at);
                }
            }
            HoldingInput::SessionLives(until) => {
                if self.life.lives(until) {
                    effects.push(HoldingEffect::Deadline(until));
                }
            }
            HoldingInput::SessionStored(position) => {
                let checkpoint = Checkpoint::After(position);
                self.pending.kept(checkpoint);
                effects.push(HoldingEffect::Stored(checkpoint));
            }
            HoldingInput::SessionOver => {
                if self.life.is_session() {
                    self.end(LeaseEnd::Expired, effects);
                }
            }
        }
    }

    fn stop(&mut self, until: Moment, effects: &mut Vec<HoldingEffect>) {
        match self.goal {
            Goal::Release => {}
            Goal::EndShard { .. } => {
                self.drain_by(until);
            }
            Goal::Hold | Goal::Handover => {
                self.goal = Goal::Release;
                let until = self.drain_by(until);
                if !self.is_consumer_gone {
                    effects.push(HoldingEffect::Drain { until });
                }
            }
        }
    }

    /// Moves the end of the drain to `until`, unless it is earlier already.
    fn drain_by(&mut self, until: Moment) -> Moment {
        let until = self.drain_until.map_or(until, |earlier| earlier.min(until));
        self.drain_until = Some(until);
        until
    }

    /// Whether the end of the consumer or the leases of the children are still missing.
    const fn is_awaiting(&self) -> bool {
        !self.is_consumer_gone || matches!(self.goal, Goal::EndShard { created: false, .. })
    }

    fn ask_for(&mut self, checkpoint: Checkpoint, effects: &mut Vec<HoldingEffect>) {
        let stored = self.pending.stored(&self.row);
        if checkpoint < stored {
            effects.push(HoldingEffect::Refused(checkpoint));
        } else if checkpoint == stored && self.row.pending.is_none() {
            effects.push(HoldingEffect::Stored(checkpoint));
        } else {
            self.pending.ask(checkpoint);
        }
    }

    /// Handles the answer to the write in flight.
    fn settle(&mut self, outcome: Conditional, now: Moment, effects: &mut Vec<HoldingEffect>) {
        let Some(InFlight { write, first_sent, .. }) = self.in_flight.take() else { return };
        match outcome {
            Conditional::Applied(row) => {
                self.written(&write, Answered { first_sent, now }, row, effects);
            }
            Conditional::Lost { found: Some(row) } if write.made(&row) => {
                self.written(&write, Answered { first_sent, now }, row, effects);
            }
            Conditional::Lost { found: None } => {
                let ended = matches!(write.kind, WriteKind::EndShard { .. });
                self.end(if ended { LeaseEnd::ShardEnded } else { LeaseEnd::Lost }, effects);
            }
            Conditional::Lost { found: Some(row) } => self.learn(row, now, effects),
        }
    }

    fn written(
        &mut self,
        write: &LeaseWrite,
        Answered { first_sent, now }: Answered,
        row: Lease,
        effects: &mut Vec<HoldingEffect>,
    ) {
        self.row = row;
        if self.life.written(&self.times, first_sent) {
            effects.push(HoldingEffect::Deadline(self.deadline()));
        }
        effects.push(HoldingEffect::Stored(self.row.checkpoint));
        if self.pending.written(&self.row, now) {
            effects.push(HoldingEffect::Prepared);
        }
        match write.kind {
            WriteKind::CompleteHandover { .. } => self.end(LeaseEnd::HandedOver, effects),
            WriteKind::Release { .. } => self.end(LeaseEnd::Released, effects),
            WriteKind::EndShard { .. } => self.end(LeaseEnd::ShardEnded, effects),
            WriteKind::CancelHandover { .. } => {
                self.close_handover("the next owner went silent", effects);
            }
            WriteKind::Renew { .. }
            | WriteKind::Create(_)
            | WriteKind::Take { .. }
            | WriteKind::BeginHandover { .. }
            | WriteKind::Withdraw { .. }
            | WriteKind::DeleteEnded { .. }
            | WriteKind::DeleteUntouched => {}
        }
    }

    /// Handles a row that a consistent read returned.
    fn look_at(&mut self, row: Option<Lease>, now: Moment, effects: &mut Vec<HoldingEffect>) {
        if self.in_flight.is_some() {
            return; // The write's own answer is newer.
        }
        match row {
            None => self.end(LeaseEnd::Lost, effects),
            Some(row) if self.is_outdated(&row) => {}
            Some(row) if row == self.row && row.checkpoint_owner.is_none() => {}
            Some(row) => self.learn(row, now, effects),
        }
    }

    /// Whether a row was read before the last write: it names this worker with a lower counter. A
    /// row that was deleted by hand starts again below, and names another.
    fn is_outdated(&self, row: &Lease) -> bool {
        row.counter < self.row.counter
            && row.token == self.row.token
            && row.holder() == Some(&self.me)
    }

    /// Handles a row that another worker changed.
    fn learn(&mut self, row: Lease, now: Moment, effects: &mut Vec<HoldingEffect>) {
        match row.owner.clone() {
            Some(next) if handover::is_requested(&row, &self.me) => {
                self.row = row;
                if self.next_owner() != Some(&next) {
                    self.close_handover("it was withdrawn", effects);
                    self.open_handover(next, now, effects);
                }
            }
            Some(_) if handover::is_withdrawn(&row, &self.me) => {
                self.row = row;
                self.close_handover("it was withdrawn", effects);
            }
            Some(_) | None => self.end(LeaseEnd::Lost, effects),
        }
    }

    fn open_handover(&mut self, next: WorkerId, now: Moment, effects: &mut Vec<HoldingEffect>) {
        effects.push(HoldingEffect::HandoverRequested(next.clone()));
        self.handover = Some(Handover::new(next, now));
        let until = now + self.times.handover;
        match self.goal {
            Goal::Hold => {
                self.goal = Goal::Handover;
                self.drain_until = Some(until);
                effects.push(HoldingEffect::Drain { until });
            }
            Goal::EndShard { .. } => {
                self.drain_by(until);
            }
            Goal::Handover | Goal::Release => {}
        }
    }

    fn close_handover(&mut self, reason: &'static str, effects: &mut Vec<HoldingEffect>) {
        // A request may come and go between two reads.
        if self.handover.take().is_some() {
            effects.push(HoldingEffect::HandoverEnded(reason));
        }
    }

    fn end(&mut self, how: LeaseEnd, effects: &mut Vec<HoldingEffect>) {
        self.has_ended = true;
        effects.push(HoldingEffect::Cancel);
        effects.push(HoldingEffect::Ended(how));
    }

    /// Does what is due at `now`.
    fn act(&mut self, now: Moment, effects: &mut Vec<HoldingEffect>) {
        if self.is_awaiting() && self.drain_until.is_some_and(|until| now >= until + DRAIN_GRACE) {
            self.stop_waiting(effects);
        }
        let is_read_due = self.handover.as_mut().is_some_and(|it| it.is_read_due(now));
        if is_read_due && self.in_flight.is_none() {
            effects.push(HoldingEffect::Read);
        }
        match &mut self.in_flight {
            Some(in_flight) => effects.extend(in_flight.resend(now).map(HoldingEffect::Write)),
            None => {
                if let Some(kind) = self.due(now) {
                    self.send(kind, now, effects);
                } else if self.is_over() {
                    self.end(LeaseEnd::Kept, effects);
                }
            }
        }
    }

    /// Ends the wait of a drain that took too long. The next holder ends the shard again.
    fn stop_waiting(&mut self, effects: &mut Vec<HoldingEffect>) {
        if self.is_consumer_gone {
            self.goal = Goal::Release;
        } else {
            effects.push(HoldingEffect::Cancel);
            self.is_consumer_gone = true;
        }
    }

    /// Whether a hand-over ended without moving the lease after its consumer ended.
    fn is_over(&self) -> bool {
        self.is_consumer_gone && self.goal == Goal::Handover && self.handover.is_none()
    }

    /// Returns the write that is due at `now`.
    fn due(&self, now: Moment) -> Option<WriteKind> {
        let counter = self.row.counter;
        let next = self.next_owner().cloned();
        if self.is_consumer_gone {
            match (&self.goal, &self.handover) {
                (Goal::EndShard { children, created: true }, _) => {
                    let children: BTreeSet<_> =
                        children.iter().map(|child| child.id.clone()).collect();
                    return Some(WriteKind::EndShard {
                        counter,
                        next,
                        children,
                        unmark: self.row.lives_by().unmark(self.times.expiry),
                    });
                }
                (Goal::Release | Goal::Handover, Some(handover)) => {
                    return Some(self.close(handover, now));
                }
                (Goal::Release, None) => {
                    let (progress, unmark) =
                        (self.progress(), self.row.lives_by().unmark(self.times.expiry));
                    return Some(WriteKind::Release { counter, progress, unmark });
                }
                (Goal::Handover, None) => {
                    // The lease is kept: the progress of the drain is stored before its consumer
                    // restarts.
                    return self.progress().map(|progress| self.renewal(counter, Some(progress)));
                }
                (Goal::Hold | Goal::EndShard { created: false, .. }, _) => {}
            }
        }
        let is_due = self.stores_in_row() && self.pending.is_urgent(&self.row, now)
            || self.renewal_at().is_some_and(|at| now >= at);
        is_due.then(|| self.renewal(counter, self.progress()))
    }

    fn renewal(&self, counter: LeaseCounter, progress: Option<Progress>) -> WriteKind {
        WriteKind::Renew { counter, next: self.next_owner().cloned(), progress }
    }

    /// Returns the write that ends an open hand-over once the consumer is gone: it completes if the
    /// next owner is alive.
    fn close(&self, handover: &Handover, now: Moment) -> WriteKind {
        let counter = self.row.counter;
        if handover.is_next_alive(self.times.expiry, now) {
            let next = handover.next().clone();
            let (progress, unmark) =
                (self.progress(), self.row.lives_by().unmark(self.times.expiry));
            WriteKind::CompleteHandover { counter, next, progress, unmark }
        } else {
            WriteKind::CancelHandover { counter }
        }
    }

    fn send(&mut self, kind: WriteKind, now: Moment, effects: &mut Vec<HoldingEffect>) {
        let write = LeaseWrite {
            key: self.row.key.clone(),
            worker: self.me.clone(),
            number: self.numbers.draw(),
            kind,
        };
        effects.push(HoldingEffect::Write(write.clone()));
        self.pending.send();
        self.in_flight = Some(InFlight::new(write, now));
    }

    /// Whether progress goes to the row, not to a session: only the row holds prepared checkpoints.
    fn stores_in_row(&self) -> bool {
        !self.life.is_session() || self.pending.needs_row(&self.row)
    }

    /// Returns when the row is to be written next, or `None` if nothing is to be written there.
    fn renewal_at(&self) -> Option<Moment> {
        let has_progress = self.progress().is_some();
        let is_due = !self.life.is_session()
            || self.pending.proves_parents(&self.row)
            || (self.pending.needs_row(&self.row) && has_progress);
        let copy_at = || self.life.copy_at(&self.times).filter(|_| has_progress);
        if is_due { Some(self.life.renewal_at(&self.times)) } else { copy_at() }
    }

    /// Hands progress to the session.
    fn keep(&mut self, now: Moment, effects: &mut Vec<HoldingEffect>) {
        if !self.stores_in_row()
            && let Some((progress, is_urgent)) = self.pending.keep(&self.row, now)
        {
            effects.push(HoldingEffect::Keep { progress, is_urgent });
        }
    }

    fn progress(&self) -> Option<Progress> {
        self.pending.progress(&self.row)
    }
}
