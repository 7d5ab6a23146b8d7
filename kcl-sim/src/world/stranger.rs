//! Writes of a worker that is not in the world.

use futures::FutureExt;
use kcl_core::backend::{Conditional, LeaseStore, LeaseWrite};

use super::simulation::Simulation;
use crate::oracle::Landing;

/// Writes to the table as a worker that is not in this world.
pub(crate) fn write_as_stranger(sim: &mut Simulation, write: &LeaseWrite) -> Option<Conditional> {
    let before = sim.table.lease(&write.key);
    let outcome = sim.table.store().write(write).now_or_never().and_then(Result::ok);
    let after = sim.table.lease(&write.key);
    if before != after {
        let (before, after) = (before.as_ref(), after.as_ref());
        sim.observed.facts.landed(&Landing { at: sim.clock.now(), write, before, after });
    }
    outcome
}
