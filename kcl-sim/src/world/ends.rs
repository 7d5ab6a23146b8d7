//! Waiting for workers to end.

use std::time::Duration;

use super::member::End;
use super::simulation::Simulation;
use crate::error::SimError;
use crate::oracle::Oracle;

/// How long workers may take to end.
const END_MAX: Duration = Duration::from_mins(3);

/// The pause between two looks at the workers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets time pass until a worker ends, and returns its name and how it ended.
pub(crate) fn next_end(sim: &mut Simulation) -> Result<(String, End), SimError> {
    let until = sim.now() + END_MAX;
    sim.members.await_ends(true);
    let mut passed = Ok(());
    while passed.is_ok() && !sim.members.has_end() && sim.now() < until {
        passed = sim.run_for(LOOK_EVERY);
    }
    sim.members.await_ends(false);
    passed?;
    sim.members.next_end().ok_or(SimError::NoWorkerEnds)
}

/// Lets time pass until a worker has ended, and returns how. Looks at it after each `pause`.
pub(crate) fn end_of(sim: &mut Simulation, name: &str, pause: Duration) -> Result<End, SimError> {
    let until = sim.now() + END_MAX;
    sim.members.await_ends(true);
    let mut passed = Ok(());
    let mut end = None;
    while passed.is_ok() && end.is_none() && sim.now() < until {
        passed = sim.run_for(pause);
        end = sim.members.end_of(name);
    }
    sim.members.await_ends(false);
    passed?;
    end.ok_or(SimError::NoWorkerEnds)
}

/// Lets time pass until all workers have ended by themselves, because the stream was re-created.
pub(crate) fn all_end(sim: &mut Simulation) -> Result<Duration, SimError> {
    let began = sim.now();
    while !sim.members.is_empty() && sim.now() - began < END_MAX {
        sim.run_for(LOOK_EVERY)?;
    }
    if sim.members.is_empty() {
        return Ok(sim.now() - began);
    }
    let seen = format!("{:?} still run on another stream", sim.members.names());
    Err(sim.broken(Oracle::WorkersRun, sim.now(), seen))
}
