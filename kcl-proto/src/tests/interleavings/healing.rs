//! No dead end: left in peace, every state leads to a lease that somebody works on, or to its end.

use super::explorer::{Model, Violation};
use super::oracles::require;
use super::steps::Step;
use super::worker::Role;
use super::world::World;

/// For how many ticks a state may need peace: an expiry, a hand-over and an expiry.
const TICKS_MAX: usize = 12;

/// How often each worker does between two ticks all that it can: enough for a hand-over at once.
const ROUNDS: usize = 8;

/// Lets both workers do all they can, without faults and without new requests, until one works.
pub(super) fn heals(world: &World) -> Result<(), Violation> {
    let mut world = world.clone();
    for worker in &mut world.workers {
        let is_gone = worker.is_stopping && matches!(worker.role, Role::Watching);
        worker.is_stopping &= !is_gone; // It is started anew.
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
        world.left.ticks = world.left.ticks.saturating_add(1);
        world.go(Step::Tick)?;
    }
    require(false, "NoDeadEnd", || format!("{world}"))
}

/// One worker delivers, or the shard is finished; nobody else is busy with the lease or waits for it.
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

/// Workers that have stopped are started anew; answers that will never come are given up.
fn revive(world: &mut World) -> Result<(), Violation> {
    for who in 0..world.workers.len() {
        let worker = &mut world.workers[who];
        worker.is_stopping &= !matches!(worker.role, Role::Watching);
        let never = worker
            .call
            .as_ref()
            .is_some_and(|call| call.is_waiting() && !world.network.contains(&call.write));
        if never {
            world.left.failures = world.left.failures.saturating_add(1);
            world.go(Step::Fail(who))?;
        }
    }
    Ok(())
}

/// The steps that bring things to rest.
fn peaceful(world: &World) -> Vec<Step> {
    let mut steps = world.steps();
    steps.retain(|step| match step {
        Step::Land(_)
        | Step::Answer(_)
        | Step::Read(_)
        | Step::Hear(_)
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
        | Step::GiveUp(_)
        | Step::Beat(_)
        | Step::Stop(_)
        | Step::Crash(_)
        | Step::Clean => false,
    });
    steps
}
