//! What a worker publishes: its status, and in the end how each of its leases ended.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_proto::model::{Checkpoint, LeaseEnd, LeaseKey, Moment, WorkerId};
use tokio::sync::watch;

use crate::lease_side::fleet_counts;
use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::shared::Shared;
use crate::report::event::{HeldShard, ShardReport, WorkerState, WorkerStatus};

/// The shortest time between two counts of the leases.
const COUNT_EVERY: Duration = Duration::from_millis(900);

/// The status of a worker, and the ends of those of its leases that the table still has.
#[derive(Debug)]
pub(super) struct WorkerReport {
    status: watch::Sender<WorkerStatus>,
    shards: BTreeMap<LeaseKey, ShardReport>,
    /// When the leases were last counted.
    counted: Option<Moment>,
}

impl WorkerReport {
    pub(super) const fn new(status: watch::Sender<WorkerStatus>) -> Self {
        Self { status, shards: BTreeMap::new(), counted: None }
    }

    /// Publishes what the worker is doing.
    pub(super) fn state(&self, state: WorkerState) {
        self.status.send_modify(|status| status.state = state);
    }

    /// Publishes the id under which the worker continues.
    pub(super) fn worker(&self, worker: &WorkerId) {
        self.status.send_modify(|status| status.worker = worker.clone());
    }

    /// Publishes an error.
    pub(super) fn error(&self, error: String) {
        self.status.send_modify(|status| status.last_error = Some(error));
    }

    /// Publishes what the worker holds, if that has changed.
    pub(super) fn holdings(&mut self, held: Vec<HeldShard>, fleet: &FleetView, shared: &Shared) {
        let (leases, memory) = (fleet.rows().len(), shared.memory.usage());
        self.count(fleet, shared);
        self.status.send_if_modified(|status| {
            let differs = status.held != held || status.leases != leases || status.memory != memory;
            status.held = held;
            status.leases = leases;
            status.memory = memory;
            differs
        });
    }

    /// Counts the leases, if that was not done lately: there may be tens of thousands.
    fn count(&mut self, fleet: &FleetView, shared: &Shared) {
        let now = shared.clock.now();
        if self.counted.is_some_and(|counted| now.since(counted) < COUNT_EVERY) {
            return;
        }
        if let Some(counts) = fleet_counts::count(fleet, &shared.me) {
            self.counted = Some(now);
            shared.registry.counted(counts);
        }
    }

    /// Notes how a lease ended. Its last end counts.
    pub(super) fn ended(&mut self, key: LeaseKey, how: LeaseEnd, checkpoint: Checkpoint) {
        self.shards.insert(key.clone(), ShardReport { key, how, checkpoint });
    }

    /// Forgets leases that the table no longer has.
    pub(super) fn prune(&mut self, has_row: impl Fn(&LeaseKey) -> bool) {
        self.shards.retain(|key, _| has_row(key));
    }

    /// How a lease ended, or `None` if this worker never held it.
    pub(super) fn end_of(&self, key: &LeaseKey) -> Option<LeaseEnd> {
        self.shards.get(key).map(|report| report.how)
    }

    /// Returns how each lease ended.
    pub(super) fn into_shards(self) -> Vec<ShardReport> {
        self.shards.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryUsage;

    #[test]
    fn ends_of_deleted_leases_are_forgotten() {
        let status = WorkerStatus {
            worker: WorkerId::new("ann:1"),
            state: WorkerState::Running,
            held: Vec::new(),
            leases: 0,
            memory: MemoryUsage { used: 0, budget: 0 },
            last_error: None,
        };
        let mut report = WorkerReport::new(watch::Sender::new(status));
        for number in 0..1_000 {
            let key = LeaseKey::new(format!("shard-{number}"));
            report.ended(key, LeaseEnd::ShardEnded, Checkpoint::ShardEnd);
        }
        let kept = LeaseKey::new("shard-7");
        report.prune(|key| *key == kept);
        assert_eq!(report.end_of(&kept), Some(LeaseEnd::ShardEnded));
        assert_eq!(report.into_shards().len(), 1);
    }
}
