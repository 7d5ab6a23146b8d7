//! Rows that are deleted by hand, as an operator at a console may.

use kcl_core::model::{LeaseKey, SessionKind, ShardId};

use super::observations::WORLD;
use super::simulation::Simulation;
use crate::error::SimError;
use crate::fault::Fault;

/// Deletes the row of a lease.
///
/// # Errors
/// If there is no such row.
pub(crate) fn delete_row(sim: &mut Simulation, shard: &ShardId) -> Result<(), SimError> {
    if sim.table.lease(&LeaseKey::from(shard)).is_none() {
        let why = "it has no lease: leases() has those that are there";
        return Err(SimError::Shard { shard: shard.clone(), why });
    }
    sim.table.remove_row(shard.as_str());
    sim.observed.facts.row_deleted(shard);
    sim.fault(Fault::DeletedRow, WORLD, format_args!("deletes the row of {shard}"));
    Ok(())
}

/// Deletes the row of a worker's session, if it has one.
///
/// # Errors
/// If the worker does not run.
pub(crate) fn delete_session(sim: &mut Simulation, name: &str) -> Result<(), SimError> {
    let id = sim.members.current_id(name)?;
    if sim.table.session(&id).is_some_and(|row| row.kind == SessionKind::Session) {
        sim.table.remove_row(id.as_str());
        sim.observed.facts.session_deleted(sim.now(), &id);
        sim.fault(Fault::DeletedSession, name, format_args!("loses the row of {id}"));
    }
    Ok(())
}
