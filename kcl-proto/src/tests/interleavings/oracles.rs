//! The rules that must hold in every state, by their names in `docs/internals/lease-protocol.md`.

use super::deliveries::Deliveries;
use super::violation::{Violation, require};
use super::worker::Worker;
use crate::lease::write::LeaseWrite;
use crate::model::{Checkpoint, Lease};

/// An onlooker that sees both workers and the table, and remembers what rules depend on.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Onlooker {
    pub(super) deliveries: Deliveries,
    /// Whether a consumer reached the shard's end.
    pub(super) is_finished: bool,
}

impl Onlooker {
    /// Checks both workers against the row.
    pub(super) fn see_workers(
        &mut self,
        workers: &[Worker; 2],
        row: Option<&Lease>,
    ) -> Result<(), Violation> {
        let running = workers.iter().filter(|worker| worker.may_run());
        let running = running.filter_map(|worker| {
            worker.consumer().map(|consumer| (worker.me.clone(), consumer.token))
        });
        self.deliveries.see(running, row.is_some_and(Lease::is_ended))
    }

    /// Checks a write that the table applies.
    pub(super) fn see_write(
        &self,
        write: &LeaseWrite,
        before: Option<&Lease>,
        after: Option<&Lease>,
    ) -> Result<(), Violation> {
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        require(before.counter <= after.counter, "CountersRise", || {
            format!("{} after {}: {write:?}", after.counter, before.counter)
        })?;
        require(!before.is_ended(), "NoResurrection", || format!("{write:?}"))?;
        if before.checkpoint == after.checkpoint {
            return Ok(());
        }
        require(before.checkpoint < after.checkpoint, "CheckpointsRise", || {
            format!("{} after {}: {write:?}", after.checkpoint, before.checkpoint)
        })?;
        require(before.holder() == Some(&write.worker), "HolderWrites", || {
            format!("{:?} holds it: {write:?}", before.holder())
        })?;
        let is_processed = match after.checkpoint {
            Checkpoint::ShardEnd => self.is_finished,
            checkpoint => self.deliveries.reach(checkpoint),
        };
        require(is_processed, "NoSkip", || {
            let processed = self.deliveries.processed();
            format!("{} is stored, {processed} was processed: {write:?}", after.checkpoint)
        })
    }
}

/// Checks that a write with an outdated counter is refused.
pub(super) fn late_copies_do_not_count(
    write: &LeaseWrite,
    row: Option<&Lease>,
) -> Result<(), Violation> {
    require(!write.is_allowed(row), "LateCopiesFail", || format!("{write:?}"))
}
