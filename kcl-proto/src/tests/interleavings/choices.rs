//! The steps that are possible in a world.

use std::sync::Arc;

use super::call::{CallState, Read};
use super::consumer::Order;
use super::step::{Step, Who};
use super::worker::Role;
use super::world::World;
use crate::model::Lease;

/// Returns every step that is possible in `world`.
pub(super) fn possible(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    if world.budget.ticks > 0 {
        steps.push(Step::Tick);
    }
    for write in &world.network {
        steps.push(Step::Land(World::tag(write)));
        if world.budget.copies > 0 && world.is_waited_for(write) && world.copies(write) < 2 {
            steps.push(Step::Copy(World::tag(write)));
        }
    }
    for who in 0..world.workers.len() {
        steps_of(world, who, &mut steps);
    }
    let is_ended = world.row.as_ref().is_some_and(|row| row.is_ended());
    steps.extend((is_ended && world.budget.cleanups > 0).then_some(Step::Clean));
    steps.dedup();
    steps
}

fn steps_of_consumer(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget) = (&world.workers[who], &world.budget);
    let Some(consumer) = worker.consumer() else { return };
    match &worker.role {
        Role::Losing(_) => steps.push(Step::Leave(who)),
        Role::Holding(_) if consumer.is_active => {
            if worker.may_run() {
                steps.extend((budget.batches > 0).then_some(Step::Process(who)));
                steps.extend((budget.ends > 0).then_some(Step::EndShard(who)));
            }
            steps.extend((budget.checkpoints > 0).then_some(Step::Checkpoint(who)));
            steps.extend((budget.consumer_failures > 0).then_some(Step::ConsumerFailed(who)));
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

fn steps_of(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget) = (&world.workers[who], &world.budget);
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
            steps.extend((budget.failures > 0).then_some(Step::Fail(who)));
        }
        Some(CallState::Waiting) => {
            steps.extend((budget.failures > 0).then_some(Step::Fail(who)));
        }
        Some(CallState::Failed) | None => {}
    }
    match worker.read {
        Some(Read::Sent) => steps.push(Step::Read(who)),
        Some(Read::Served(_)) => steps.push(Step::ReadArrives(who)),
        None => {}
    }
    steps_of_scanner(world, who, steps);
    steps_of_consumer(world, who, steps);
    let is_asked = matches!(&worker.role, Role::Holding(held) if held.0.next_owner().is_some());
    steps.extend((is_asked && budget.beats > 0).then_some(Step::Beat(who)));
    steps.extend((budget.stops > 0 && !worker.is_stopping).then_some(Step::Stop(who)));
    steps.extend((budget.crashes > 0).then_some(Step::Crash(who)));
}

fn steps_of_scanner(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget) = (&world.workers[who], &world.budget);
    let shows_request = |row: &Option<Arc<Lease>>| {
        row.as_ref().is_some_and(|row| row.checkpoint_owner.as_ref() == Some(&worker.me))
    };
    let (now, stale) = match &worker.role {
        Role::Holding(_) => (shows_request(&world.row), shows_request(&world.before)),
        Role::Watching | Role::Asking(_) => {
            (worker.seen != world.row, worker.seen != world.before && world.before.is_some())
        }
        Role::Taking { .. } | Role::Losing(_) => (false, false),
    };
    steps.extend(now.then_some(Step::Scan(who)));
    steps.extend((stale && budget.stale_scans > 0).then_some(Step::ScanStale(who)));
    steps.extend(worker.takeable().map(|_| Step::Take(who)));
    if budget.asks > 0 {
        steps.extend(worker.victim().map(|_| Step::Ask(who)));
    }
}
