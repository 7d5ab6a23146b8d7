//! After the faults: a fleet heals, and shuts down.

use std::time::Duration;

use kcl_core::model::{Lease, LeaseKey, WorkerId};

use super::simulation::Simulation;
use crate::error::SimError;
use crate::oracle::{Oracle, is_healthy};
use crate::time::Time;

/// How long a fleet may take to heal. The slowest of 50,000 worlds took just under three minutes,
/// to find poison records in a long backlog.
const HEAL_MAX: Duration = Duration::from_mins(5);

/// How long the leases of a healed fleet must keep their owners: longer than workers wait before
/// they request each other's leases again.
const STEADY: Duration = Duration::from_secs(20);

/// How long calls that were made before a calm may still be on their way.
const SETTLE: Duration = Duration::from_secs(20);

/// The pause between two looks at the fleet.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The owner of each lease that has not ended, and how often it changed.
type Owners = Vec<(LeaseKey, Option<WorkerId>, u64)>;

fn owners(leases: &[Lease]) -> Owners {
    let held = leases.iter().filter(|lease| !lease.is_ended());
    held.map(|lease| (lease.key.clone(), lease.owner.clone(), lease.owner_switches)).collect()
}

/// Ends all faults, and lets time pass until the fleet is healthy and its leases keep their owners.
pub(crate) fn heal(sim: &mut Simulation) -> Result<Duration, SimError> {
    sim.calm();
    sim.stream.stop_producing();
    // A worker that stands still cannot heal.
    let began = sim.members.thawed_at().max(sim.now());
    sim.run_until(began)?;
    let mut steady: Option<(Time, Owners)> = None;
    loop {
        sim.run_for(LOOK_EVERY)?;
        let (now, leases) = (sim.now(), sim.table.leases_with_progress());
        let is_late = now - began > HEAL_MAX;
        match is_healthy(&sim.observed.facts, &leases, &sim.members.statuses()) {
            Ok(()) => {
                let owners = owners(&leases);
                match steady.take().filter(|(_, former)| *former == owners) {
                    Some((since, _)) if now - since >= STEADY => return Ok(since - began),
                    Some(still) => steady = Some(still),
                    None if is_late => {
                        let seen = format!("leases go round after {HEAL_MAX:?}: {owners:?}");
                        return Err(sim.broken(Oracle::Balanced, now, seen));
                    }
                    None => steady = Some((now, owners)),
                }
            }
            Err((oracle, seen)) if is_late => {
                let seen = format!("not healed after {HEAL_MAX:?}: {seen}");
                return Err(sim.broken(oracle, now, seen));
            }
            Err(_) => steady = None,
        }
    }
}

/// Shuts all workers down, and lets time pass until they have ended.
pub(crate) fn shut_down(sim: &mut Simulation) -> Result<(), SimError> {
    sim.run_for(SETTLE)?;
    for name in sim.members.names() {
        sim.stop(&name)?;
    }
    while !sim.members.is_empty() {
        sim.run_for(LOOK_EVERY)?;
    }
    let leases = sim.table.leases();
    let is_owned = |lease: &&Lease| !lease.is_ended() && lease.owner.is_some();
    let owned: Vec<_> = leases.iter().filter(is_owned).map(|lease| &lease.key).collect();
    if owned.is_empty() {
        return Ok(());
    }
    let seen = format!("all workers have ended, and still own {owned:?}");
    Err(sim.broken(Oracle::CleanEnds, sim.now(), seen))
}
