//! No dead end: without further faults, every state leads to a lease that one worker holds.

use super::super::explorer::Model as _;
use super::super::healing::{Healing, heal};
use super::super::violation::Violation;
use super::step::{Line, Step};
use super::worker::Role;
use super::world::World;

/// Checks that the world heals.
pub(super) fn heals(world: &World) -> Result<(), Violation> {
    let mut world = world.clone();
    world.budget.lives = u8::MAX;
    heal(world)
}

impl Healing for World {
    fn is_peaceful(step: &Step) -> bool {
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

    fn is_well(&self) -> bool {
        let workers = &self.workers;
        let delivering = workers.iter().filter(|worker| worker.may_run()).count();
        let idle = workers.iter().filter(|worker| matches!(worker.role, Role::Idle)).count();
        self.row.checkpoint_owner.is_none() && delivering == 1 && idle == workers.len() - 1
    }

    fn revive(&mut self) -> Result<(), Violation> {
        for who in 0..self.workers.len() {
            if self.workers[who].has_stopped {
                self.restart(who);
            }
            for line in [Line::Session, Line::Lease] {
                if self.is_never_answered(who, line) {
                    self.budget.failures = self.budget.failures.saturating_add(1);
                    self.go(Step::Fail(who, line))?;
                }
            }
        }
        Ok(())
    }

    fn pass_tick(&mut self) -> Result<(), Violation> {
        self.budget.ticks = self.budget.ticks.saturating_add(1);
        self.go(Step::Tick)
    }
}
