//! No dead end: without further faults, every state leads to a lease that one worker holds.

use super::super::explorer::Model as _;
use super::super::violation::{Violation, require};
use super::step::{Line, Step};
use super::worker::Role;
use super::world::World;

/// How many ticks without faults a state may need: an expiry of silence, a hand-over, an expiry.
const TICKS_MAX: usize = 12;

/// How many rounds of steps are taken between two ticks.
const ROUNDS: usize = 8;

/// Takes all fault-free steps until one worker delivers. Fails after [`TICKS_MAX`] ticks.
pub(super) fn heals(world: &World) -> Result<(), Violation> {
    let mut world = world.clone();
    world.budget.lives = u8::MAX;
    for _ in 0..TICKS_MAX {
        for _ in 0..ROUNDS {
            let mut moves = false;
            for step in world.steps().into_iter().filter(is_peaceful) {
                if world.steps().contains(&step) {
                    world.go(step)?;
                    moves = true;
                }
            }
            if !moves {
                break;
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

/// Whether one worker delivers, and the other is idle.
fn is_well(world: &World) -> bool {
    let workers = &world.workers;
    let delivering = workers.iter().filter(|worker| worker.may_run()).count();
    let idle = workers.iter().filter(|worker| matches!(worker.role, Role::Idle)).count();
    world.row.checkpoint_owner.is_none() && delivering == 1 && idle == workers.len() - 1
}

/// Restarts stopped workers, and fails writes whose answers never come.
fn revive(world: &mut World) -> Result<(), Violation> {
    for who in 0..world.workers.len() {
        if world.workers[who].has_stopped {
            world.restart(who);
        }
        for line in [Line::Session, Line::Lease] {
            if world.is_never_answered(who, line) {
                world.budget.failures = world.budget.failures.saturating_add(1);
                world.go(Step::Fail(who, line))?;
            }
        }
    }
    Ok(())
}

/// Whether a step is neither a fault nor new work.
const fn is_peaceful(step: &Step) -> bool {
    match step {
        Step::Land(_)
        | Step::Answer(..)
        | Step::Wake(..)
        | Step::Read(_)
        | Step::Open(_)
        | Step::Condemn(..)
        | Step::Bury(_)
        | Step::Take(_)
        | Step::Settle(_)
        | Step::Withdraw(_)
        | Step::Drained(_)
        | Step::Leave(_)
        | Step::Close(_) => true,
        Step::Tick
        | Step::Fail(..)
        | Step::Ask(_)
        | Step::Process(_)
        | Step::Checkpoint(_)
        | Step::Prepare(_)
        | Step::Stop(_)
        | Step::Resign(_)
        | Step::Crash(_)
        | Step::Wipe(_) => false,
    }
}
