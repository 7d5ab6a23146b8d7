//! No dead end: without further faults, every state leads to a lease that one worker holds, or to
//! its end.

use super::explorer::Model;
use super::step::Step;
use super::violation::{Violation, require};
use super::worker::Role;
use super::world::World;

/// How many ticks without faults a state may need: an expiry, a hand-over and an expiry.
const TICKS_MAX: usize = 12;

/// How many rounds of steps are taken between two ticks: enough for a hand-over.
const ROUNDS: usize = 8;

/// A world that heals once no more faults happen.
pub(super) trait Healing: Model {
    /// Whether a step is neither a fault nor new work.
    fn is_peaceful(step: &Self::Step) -> bool;

    /// Whether one worker delivers or the shard is finished, and the other is idle.
    fn is_well(&self) -> bool;

    /// Restarts stopped workers, and fails writes whose answers never come.
    fn revive(&mut self) -> Result<(), Violation>;

    /// Lets a tick pass.
    fn pass_tick(&mut self) -> Result<(), Violation>;
}

/// Takes all fault-free steps until the world is well. Fails after [`TICKS_MAX`] ticks.
pub(super) fn heal(mut world: impl Healing) -> Result<(), Violation> {
    for _ in 0..TICKS_MAX {
        for _ in 0..ROUNDS {
            if !settle(&mut world)? {
                break;
            }
        }
        if world.is_well() {
            return Ok(());
        }
        world.revive()?;
        world.pass_tick()?;
    }
    require(false, "NoDeadEnd", || format!("{world}"))
}

/// Takes each fault-free step once, unless another one prevents it. Whether there was any.
fn settle<M: Healing>(world: &mut M) -> Result<bool, Violation> {
    let mut has_moved = false;
    for step in world.steps().into_iter().filter(M::is_peaceful) {
        if world.steps().contains(&step) {
            world.go(step)?;
            has_moved = true;
        }
    }
    Ok(has_moved)
}

/// Checks that the world heals.
pub(super) fn heals(world: &World) -> Result<(), Violation> {
    let mut world = world.clone();
    for worker in &mut world.workers {
        let is_gone = worker.is_stopping && matches!(worker.role, Role::Watching);
        worker.is_stopping &= !is_gone; // It restarts.
    }
    heal(world)
}

impl Healing for World {
    fn is_peaceful(step: &Step) -> bool {
        match step {
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
        }
    }

    fn is_well(&self) -> bool {
        let workers = &self.workers;
        let delivering = workers.iter().filter(|worker| worker.may_run()).count();
        let idle = workers.iter().filter(|worker| matches!(worker.role, Role::Watching)).count();
        match &self.row {
            Some(row) if !row.is_ended() => {
                row.checkpoint_owner.is_none() && delivering == 1 && idle == workers.len() - 1
            }
            Some(_) | None => idle == workers.len(),
        }
    }

    fn revive(&mut self) -> Result<(), Violation> {
        for who in 0..self.workers.len() {
            let worker = &mut self.workers[who];
            worker.is_stopping &= !matches!(worker.role, Role::Watching);
            let never = worker
                .call
                .as_ref()
                .is_some_and(|call| call.is_waiting() && !self.network.contains(&call.write));
            if never {
                self.budget.failures = self.budget.failures.saturating_add(1);
                self.go(Step::Fail(who))?;
            }
        }
        Ok(())
    }

    fn pass_tick(&mut self) -> Result<(), Violation> {
        self.budget.ticks = self.budget.ticks.saturating_add(1);
        self.go(Step::Tick)
    }
}
