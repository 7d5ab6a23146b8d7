//! A crash between the end of a processor's work and its checkpoint.

use std::time::Duration;

use super::simulation::Simulation;
use crate::error::SimError;
use crate::time::{Time, millis};

/// How long a worker may take to finish records that no checkpoint covers.
const UNSAVED_MAX: Duration = Duration::from_mins(2);

/// The age at which a delivered record that is acknowledged by itself counts as finished.
const FINISHED_IN: Duration = Duration::from_millis(100);

/// The pause between two looks at the worker.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Lets time pass until a worker has finished records that no checkpoint covers, then kills it and
/// starts it again. Returns the number of these records.
pub(crate) fn redeliver(sim: &mut Simulation, name: &str) -> Result<usize, SimError> {
    sim.members.id(name)?;
    let end = sim.now() + UNSAVED_MAX;
    while sim.now() < end {
        sim.run_for(LOOK_EVERY)?;
        let unsaved = unsaved(sim, name);
        if unsaved > 0 {
            sim.crash(name)?;
            sim.restart(name)?;
            return Ok(unsaved);
        }
    }
    Err(SimError::NothingToRedeliver { name: name.to_owned() })
}

/// How many records a worker has finished of which no checkpoint is stored or on its way.
fn unsaved(sim: &Simulation, name: &str) -> usize {
    let since = Time::from_millis(sim.now().millis().saturating_sub(millis(FINISHED_IN)));
    if sim.net.has_write_of(name) {
        return 0;
    }
    let id = sim.members.id(name);
    id.map_or(0, |id| sim.observed.facts.unsaved(id, &sim.table.leases_with_progress(), since))
}
