//! The steps that are possible in a world.

use super::super::consumer::Order;
use super::message::Message;
use super::step::{Line, Mode, Step, Who};
use super::worker::{Role, Worker};
use super::world::World;
use crate::lease::session_write::SessionWriteKind;

/// Returns every step that is possible in `world`.
pub(super) fn possible(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    if world.budget.ticks > 0 {
        steps.push(Step::Tick);
    }
    for (index, message) in world.network.iter().enumerate() {
        if index == 0 || world.network[index - 1] != *message {
            steps.push(Step::Land(index));
        }
    }
    for who in 0..world.workers.len() {
        if !world.workers[who].has_stopped {
            steps_of(world, who, &mut steps);
        }
        let has_row = world.sessions.contains_key(&world.workers[who].me);
        steps.extend((world.budget.wipes > 0 && has_row).then_some(Step::Wipe(who)));
    }
    steps
}

fn steps_of(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget, now) = (&world.workers[who], &world.budget, world.workers[who].now());
    steps.extend((budget.crashes > 0).then_some(Step::Crash(who)));
    steps.extend((budget.stops > 0 && !worker.is_stopping).then_some(Step::Stop(who)));
    let may_fail = budget.failures > 0;
    if let Some(call) = &worker.beating {
        steps.extend(call.answer.is_some().then_some(Step::Answer(who, Line::Session)));
        steps.extend((may_fail && !call.has_failed).then_some(Step::Fail(who, Line::Session)));
    }
    if let Some(call) = &worker.call {
        steps.extend(call.answer.is_some().then_some(Step::Answer(who, Line::Lease)));
        steps.extend((may_fail && !call.has_failed).then_some(Step::Fail(who, Line::Lease)));
    }
    let beats = worker.keeper.as_ref().and_then(|keeper| keeper.wake_at());
    steps.extend(beats.is_some_and(|at| at <= now).then_some(Step::Wake(who, Line::Session)));
    if let Role::Holding(held) = &worker.role {
        steps.extend((held.0.wake_at() <= now).then_some(Step::Wake(who, Line::Lease)));
        let row = &world.row;
        let is_asked = row.checkpoint_owner.as_ref() == Some(&worker.me);
        let is_news = is_asked && held.0.next_owner() != row.owner.as_ref();
        steps.extend((worker.is_reading || is_news).then_some(Step::Read(who)));
    }
    steps_of_session(world, who, steps);
    steps_of_lease(world, who, steps);
    steps_of_consumer(world, who, steps);
}

fn steps_of_session(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget) = (&world.workers[who], &world.budget);
    let is_idle = matches!(worker.role, Role::Idle) && worker.call.is_none();
    if worker.mode == Mode::Session {
        match &worker.keeper {
            None if !worker.is_stopping && budget.lives > 0 => steps.push(Step::Open(who)),
            None => {}
            Some(keeper) => {
                let is_live = keeper.deadline().is_some();
                let is_clean = is_idle && !world.is_named(&worker.me);
                let is_resigning = worker
                    .beating
                    .as_ref()
                    .is_some_and(|call| matches!(call.write.kind, SessionWriteKind::Resign { .. }));
                let may_close = worker.is_stopping && is_live && is_clean && !is_resigning;
                steps.extend(may_close.then_some(Step::Close(who)));
                let may_resign = budget.resigns > 0 && is_live && !worker.is_stopping;
                steps.extend(may_resign.then_some(Step::Resign(who)));
            }
        }
    }
    if worker.mode != Mode::Unaware {
        for (index, (silent, beat)) in worker.sessions.silent(worker.now()).iter().enumerate() {
            let is_under_way = world.network.iter().any(|it| {
                matches!(it, Message::Session(write) if write.session == *silent && matches!(
                    write.kind, SessionWriteKind::Condemn { beat: of, .. } if of == *beat))
            });
            let may_condemn = world.is_named(silent) && !is_under_way;
            steps.extend(may_condemn.then_some(Step::Condemn(who, index)));
        }
        let mut dead = world.sessions.values().filter(|session| session.dead.is_some());
        let may_bury = dead.any(|session| !world.is_named(&session.worker));
        steps.extend(may_bury.then_some(Step::Bury(who)));
    }
}

fn steps_of_lease(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, row) = (&world.workers[who], &world.row);
    let is_idle = matches!(worker.role, Role::Idle) && worker.call.is_none() && worker.lives();
    if !is_idle || row.is_ended() {
        return;
    }
    steps.extend(may_take(worker, world).then_some(Step::Take(who)));
    let settles = worker.mode == Mode::Session && worker.settles(row).is_some();
    steps.extend(settles.then_some(Step::Settle(who)));
    let is_owner = row.owner.as_ref() == Some(&worker.me);
    let may_ask =
        !worker.is_stopping && row.owner.is_some() && !is_owner && row.checkpoint_owner.is_none();
    steps.extend((world.budget.asks > 0 && may_ask).then_some(Step::Ask(who)));
    let asked = is_owner && row.checkpoint_owner.as_ref().is_some_and(|it| *it != worker.me);
    steps.extend((worker.is_stopping && asked).then_some(Step::Withdraw(who)));
}

fn may_take(worker: &Worker, world: &World) -> bool {
    let (row, now) = (&world.row, worker.now());
    let is_mine = row.owner.as_ref() == Some(&worker.me) && row.checkpoint_owner.is_none();
    let is_free = match worker.mode {
        Mode::Session => worker.counters.is_forsaken(row, &worker.sessions.dead(), now),
        Mode::Counter => is_mine || worker.counters.is_forsaken(row, &worker.sessions.dead(), now),
        Mode::Unaware => is_mine || worker.counters.is_expired(row, now),
    };
    !worker.is_stopping && (row.owner.is_none() || is_free)
}

fn steps_of_consumer(world: &World, who: Who, steps: &mut Vec<Step>) {
    let (worker, budget) = (&world.workers[who], &world.budget);
    let Some(consumer) = worker.consumer() else { return };
    match &worker.role {
        Role::Losing(_) => steps.push(Step::Leave(who)),
        Role::Holding(_) if consumer.is_active => {
            let may_run = worker.may_run();
            steps.extend((may_run && budget.batches > 0).then_some(Step::Process(who)));
            steps.extend((may_run && budget.checkpoints > 0).then_some(Step::Checkpoint(who)));
            let is_ahead = consumer.processed > world.row.checkpoint;
            let may_prepare = may_run && is_ahead && budget.prepares > 0;
            steps.extend(may_prepare.then_some(Step::Prepare(who)));
            if matches!(consumer.order, Order::Drain { .. }) {
                steps.push(Step::Drained(who));
            }
        }
        Role::Idle | Role::Taking { .. } | Role::Errand | Role::Holding(_) => {}
    }
}
