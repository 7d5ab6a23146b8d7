//! No dead end: without further faults, every state leads to a lease that one worker holds, or to
//! its end.

use super::explorer::Model as _;
use super::step::Step;
use super::violation::{Violation, require};
use super::worker::Role;
use super::world::World;

/// How many ticks without faults a state may need: an expiry, a hand-over and an expiry.
const TICKS_MAX: usize = 12;

/// How many rounds of steps are taken between two ticks: enough for a hand-over.
const ROUNDS: usize = 8;

/// Takes all fault-free steps until one worker delivers. Fails after [`TICKS_MAX`] ticks.
pub(super) fn heals(world: &World) -> Result<(), Violation> {
    let mut world = world.clone();
    for worker in &mut world.workers {
        let is_gone = worker.is_stopping && matches!(worker.role, Role::Watching);
        worker.is_stopping &= !is_gone; // It restarts.
    }
    for _ in 0..TICKS_MAX {
        for _ in 0..ROUNDS {
            for step in peaceful(&world) {
                if world.steps().contains(&step) {
                    world.go(step)?;
                }
            }
        }
        if is_well(&world) {
            return Ok(());
        }
        revive(&mut world)?;
        world.budget.ticks = world.budget.ticks.saturating_add(1);
        world.go(Step::Tick)?;
    }
    require(false, "NoDeadEnd", || format!("{world}"))
}

/// Whether one worker delivers or the shard is finished, and the other is idle.
fn is_well(world: &World) -> bool {
    let workers = &world.workers;
    let delivering = workers.iter().filter(|worker| worker.may_run()).count();
    let idle = workers.iter().filter(|worker| matches!(worker.role, Role::Watching)).count();
    match &world.row {
        Some(row) if !row.is_ended() => {
            row.checkpoint_owner.is_none() && delivering == 1 && idle == workers.len() - 1
        }
        Some(_) | None => idle == workers.len(),
    }
}

/// Restarts stopped workers, and fails writes whose answers never come.
fn revive(world: &mut World) -> Result<(), Violation> {
    for who in 0..world.workers.len() {
        let worker = &mut world.workers[who];
        worker.is_stopping &= !matches!(worker.role, Role::Watching);
        let never = worker
            .call
            .as_ref()
            .is_some_and(|call| call.is_waiting() && !world.network.contains(&call.write));
        if never {
            world.budget.failures = world.budget.failures.saturating_add(1);
            world.go(Step::Fail(who))?;
        }
    }
    Ok(())
}

/// Returns the possible steps that are neither faults nor new work.
fn peaceful(world: &World) -> Vec<Step> {
    let mut steps = world.steps();
    steps.retain(|step| match step {
        Step::Land(_)
        | Step::Answer(_)
        | Step::Read(_)
        | Step::ReadArrives(_)
        | Step::Scan(_)
        | Step::Take(_)
        | Step::Wake(_)
        | Step::Drained(_)
        | Step::ChildrenCreated(_)
        | Step::Leave(_) => true,
        Step::Tick
        | Step::Copy(_)
        | Step::Fail(_)
        | Step::ScanStale(_)
        | Step::Ask(_)
        | Step::Process(_)
        | Step::Checkpoint(_)
        | Step::EndShard(_)
        | Step::ConsumerFailed(_)
        | Step::Beat(_)
        | Step::Stop(_)
        | Step::Crash(_)
        | Step::Clean => false,
    });
    steps
}
