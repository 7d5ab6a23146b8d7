//! After the faults: a fleet heals, and stops.

use std::time::Duration;

use kcl_core::model::{Lease, LeaseKey, WorkerId};

use crate::error::SimError;
use crate::oracle::{Oracle, Violation, is_healthy};
use crate::time::Time;
use crate::world::World;

/// How long a fleet may take to heal once the faults have stopped. The slowest of 50,000 took little
/// less than three minutes, to search a long backlog for poison records, with pauses.
const HEAL_MAX: Duration = Duration::from_mins(5);

/// How long it takes until no call from before the calm is on its way any more.
const SETTLE: Duration = Duration::from_secs(20);

/// How long a fleet that has healed must stay as it is: longer than workers need to ask for each
/// other's leases again.
const REST: Duration = Duration::from_secs(20);

/// How often the world looks whether a fleet has healed, or a worker has ended.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who owns which lease, and since which switch of owners.
type Owners = Vec<(LeaseKey, Option<WorkerId>, u64)>;

fn owners(leases: &[Lease]) -> Owners {
    let held = leases.iter().filter(|lease| !lease.is_ended());
    held.map(|lease| (lease.key.clone(), lease.owner.clone(), lease.owner_switches)).collect()
}

impl World {
    /// Stops all faults, puts no more records, and waits until the fleet is as it should be: every
    /// record is processed and its checkpoint stored, and every shard is held. Where processors store
    /// checkpoints themselves, it is for them to say how far; the world asks only that they store any.
    /// Returns how long that took, from when the last worker that stood still went on.
    ///
    /// # Errors
    /// If it does not come to be so within five minutes, or a promise is broken on the way.
    pub fn heal(&mut self) -> Result<Duration, SimError> {
        self.calm();
        self.send_no_more();
        // One that stands still cannot heal.
        let thaw = self.members.iter().map(|member| member.time).max();
        let began = thaw.unwrap_or_default().max(self.now);
        self.run_until(began)?;
        // Since when it is, and who owns what.
        let mut rest: Option<(Time, Owners)> = None;
        loop {
            self.run_for(LOOK_EVERY)?;
            let (leases, is_late) = (self.leases(), self.now - began > HEAL_MAX);
            match is_healthy(&self.facts, &leases, &self.statuses()) {
                Ok(()) => {
                    let owners = owners(&leases);
                    match rest.take().filter(|(_, former)| *former == owners) {
                        Some((since, _)) if self.now - since >= REST => return Ok(since - began),
                        Some(still) => rest = Some(still),
                        None if is_late => {
                            let seen = format!("leases go round after {HEAL_MAX:?}: {owners:?}");
                            let oracle = Oracle::Balanced;
                            return Err(self.broken(Violation { at: self.now, oracle, seen }));
                        }
                        None => rest = Some((self.now, owners)),
                    }
                }
                Err((oracle, seen)) if is_late => {
                    let seen = format!("not healed after {HEAL_MAX:?}: {seen}");
                    return Err(self.broken(Violation { at: self.now, oracle, seen }));
                }
                Err(_) => rest = None,
            }
        }
    }

    /// Shuts all workers down, and waits for that.
    ///
    /// # Errors
    /// If one does not stop in time, or leaves something behind.
    pub fn shut_down(&mut self) -> Result<(), SimError> {
        self.run_for(SETTLE)?;
        for name in self.workers() {
            self.stop(&name)?;
        }
        while !self.members.is_empty() {
            self.run_for(LOOK_EVERY)?;
        }
        let leases = self.leases();
        let owned: Vec<_> = leases
            .iter()
            .filter(|lease| !lease.is_ended() && lease.owner.is_some())
            .map(|lease| &lease.key)
            .collect();
        if owned.is_empty() {
            return Ok(());
        }
        let seen = format!("workers are gone, and still own {owned:?}");
        Err(self.broken(Violation { at: self.now, oracle: Oracle::CleanEnds, seen }))
    }
}
