//! What can happen next.

use std::sync::Arc;

use super::worker::{CallState, Order, Read, Role};
use super::world::World;
use crate::model::Lease;

/// Which worker.
pub(super) type Who = usize;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The clocks go on: both, or if they drift the one that is behind.
    Tick,
    /// A timer of the worker's machine fires.
    Wake(Who),
    /// A copy of a write reaches the table.
    Land(Tag),
    /// The client sends one more copy of a write.
    Copy(Tag),
    /// The answer to a write arrives.
    Answer(Who),
    /// A write fails, whatever became of it.
    Fail(Who),
    /// A scan shows the row as it is.
    Scan(Who),
    /// A scan shows the row as it was before the last write.
    ScanStale(Who),
    Take(Who),
    Ask(Who),
    /// A consistent read looks at the row.
    Read(Who),
    /// What was read arrives.
    Hear(Who),
    /// A batch is processed.
    Process(Who),
    /// The application wants a checkpoint stored.
    Checkpoint(Who),
    /// The shard's last record is processed.
    EndShard(Who),
    /// The children's leases exist.
    ChildrenCreated(Who),
    /// The consumer is done, as ordered.
    Drained(Who),
    /// The consumer cannot go on.
    GiveUp(Who),
    /// The consumer of a lost lease is gone.
    Leave(Who),
    /// The holder learns that the next owner gave a sign of life just now.
    Beat(Who),
    /// The worker is told to stop.
    Stop(Who),
    /// The worker dies, and is started anew.
    Crash(Who),
    /// The row of a finished shard is deleted.
    Clean,
}

/// A write's stamp in short: the worker, its life, the lane and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) Who, pub(super) u8, pub(super) u64);

/// How much of what can still happen.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) ticks: u8,
    pub(super) copies: u8,
    pub(super) failures: u8,
    pub(super) stale_scans: u8,
    pub(super) asks: u8,
    pub(super) batches: u8,
    pub(super) checkpoints: u8,
    pub(super) ends: u8,
    pub(super) surrenders: u8,
    pub(super) beats: u8,
    pub(super) stops: u8,
    pub(super) crashes: u8,
    pub(super) cleanups: u8,
}

impl World {
    /// Everything that can happen next.
    pub(super) fn possible(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.left.ticks > 0 {
            steps.push(Step::Tick);
        }
        for write in &self.network {
            steps.push(Step::Land(Self::tag(write)));
            if self.left.copies > 0 && self.is_waited_for(write) && self.copies(write) < 2 {
                steps.push(Step::Copy(Self::tag(write)));
            }
        }
        for who in 0..self.workers.len() {
            self.steps_of(who, &mut steps);
        }
        let is_ended = self.row.as_ref().is_some_and(|row| row.is_ended());
        steps.extend((is_ended && self.left.cleanups > 0).then_some(Step::Clean));
        steps.dedup();
        steps
    }

    /// Takes one from what is left of what this step needs.
    pub(super) fn spend(&mut self, step: Step) {
        let left = &mut self.left;
        let budget = match step {
            Step::Tick => &mut left.ticks,
            Step::Copy(_) => &mut left.copies,
            Step::Fail(_) => &mut left.failures,
            Step::ScanStale(_) => &mut left.stale_scans,
            Step::Ask(_) => &mut left.asks,
            Step::Process(_) => &mut left.batches,
            Step::Checkpoint(_) => &mut left.checkpoints,
            Step::EndShard(_) => &mut left.ends,
            Step::GiveUp(_) => &mut left.surrenders,
            Step::Beat(_) => &mut left.beats,
            Step::Stop(_) => &mut left.stops,
            Step::Crash(_) => &mut left.crashes,
            Step::Clean => &mut left.cleanups,
            _ => return,
        };
        *budget -= 1;
    }

    fn steps_of_consumer(&self, who: Who, steps: &mut Vec<Step>) {
        let (worker, left) = (&self.workers[who], &self.left);
        let Some(consumer) = worker.consumer() else { return };
        match &worker.role {
            Role::Losing(_) => steps.push(Step::Leave(who)),
            Role::Holding(_) if consumer.is_there => {
                if worker.may_run() {
                    steps.extend((left.batches > 0).then_some(Step::Process(who)));
                    steps.extend((left.ends > 0).then_some(Step::EndShard(who)));
                }
                steps.extend((left.checkpoints > 0).then_some(Step::Checkpoint(who)));
                steps.extend((left.surrenders > 0).then_some(Step::GiveUp(who)));
                if matches!(consumer.order, Order::Drain { .. }) {
                    steps.push(Step::Drained(who));
                }
            }
            Role::Holding(_) => {
                steps.extend(worker.creates_children.then_some(Step::ChildrenCreated(who)));
            }
            Role::Watching | Role::Asking(_) | Role::Taking { .. } => {}
        }
    }

    fn steps_of(&self, who: Who, steps: &mut Vec<Step>) {
        let (worker, left) = (&self.workers[who], &self.left);
        let is_due = match &worker.role {
            Role::Holding(held) => held.0.wake_at() <= worker.now(),
            Role::Asking(asking) => {
                let is_idle = worker.read.is_none()
                    && worker.call.as_ref().is_none_or(|it| matches!(it.state, CallState::Failed));
                is_idle && asking.wake_at() <= worker.now()
            }
            Role::Watching | Role::Taking { .. } | Role::Losing(_) => false,
        };
        steps.extend(is_due.then_some(Step::Wake(who)));
        match worker.call.as_ref().map(|call| &call.state) {
            Some(CallState::Answered(_)) => {
                steps.push(Step::Answer(who));
                steps.extend((left.failures > 0).then_some(Step::Fail(who)));
            }
            Some(CallState::Waiting) => {
                steps.extend((left.failures > 0).then_some(Step::Fail(who)));
            }
            Some(CallState::Failed) | None => {}
        }
        match worker.read {
            Some(Read::Sent) => steps.push(Step::Read(who)),
            Some(Read::Served(_)) => steps.push(Step::Hear(who)),
            None => {}
        }
        self.steps_of_scanner(who, steps);
        self.steps_of_consumer(who, steps);
        let is_asked = matches!(&worker.role, Role::Holding(held) if held.0.next_owner().is_some());
        steps.extend((is_asked && left.beats > 0).then_some(Step::Beat(who)));
        steps.extend((left.stops > 0 && !worker.is_stopping).then_some(Step::Stop(who)));
        steps.extend((left.crashes > 0).then_some(Step::Crash(who)));
    }

    fn steps_of_scanner(&self, who: Who, steps: &mut Vec<Step>) {
        let (worker, left) = (&self.workers[who], &self.left);
        let shows_request = |row: &Option<Arc<Lease>>| {
            row.as_ref().is_some_and(|row| row.checkpoint_owner.as_ref() == Some(&worker.me))
        };
        let (now, stale) = match &worker.role {
            Role::Holding(_) => (shows_request(&self.row), shows_request(&self.before)),
            Role::Watching | Role::Asking(_) => {
                (worker.seen != self.row, worker.seen != self.before && self.before.is_some())
            }
            Role::Taking { .. } | Role::Losing(_) => (false, false),
        };
        steps.extend(now.then_some(Step::Scan(who)));
        steps.extend((stale && left.stale_scans > 0).then_some(Step::ScanStale(who)));
        steps.extend(worker.takeable().map(|_| Step::Take(who)));
        if left.asks > 0 {
            steps.extend(worker.victim().map(|_| Step::Ask(who)));
        }
    }
}
