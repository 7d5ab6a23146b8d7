//! The world as the explorer sees it: what can happen, what it does, what must hold.

use std::hash::Hash;

use super::super::explorer::Model;
use super::super::violation::Violation;
use super::step::Step;
use super::world::World;
use super::{choices, healing};

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        choices::possible(self)
    }

    fn go(&mut self, step: Step) -> Result<(), Violation> {
        self.advance(step)
    }

    fn essence(&self) -> impl Hash {
        (&self.row, &self.sessions, &self.network, &self.workers)
    }

    fn check(&self) -> Result<(), Violation> {
        healing::heals(self)
    }
}
