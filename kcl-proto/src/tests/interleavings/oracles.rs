//! The rules that must hold in every state, by their names in `docs/internals/lease-protocol.md`.

use super::consumer::{Consumer, position};
use super::violation::{Violation, require};
use super::worker::Worker;
use crate::lease::write::LeaseWrite;
use crate::model::{Checkpoint, Lease, LeaseCounter, WorkerId};

/// An onlooker that sees both workers and the table, and remembers what rules depend on.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Onlooker {
    /// The newest token under which a worker ran, and that worker.
    newest: Option<(LeaseCounter, WorkerId)>,
    /// The last record that any worker processed.
    processed: u8,
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
        let running = || workers.iter().filter(|worker| worker.may_run());
        let runs_ended = row.is_some_and(Lease::is_ended) && running().count() > 0;
        require(!runs_ended, "NoResurrection", || {
            "a worker may run the application's code for a finished shard".to_owned()
        })?;
        require(running().count() <= 1, "OneDeliverer", || {
            "both workers may run the application's code".to_owned()
        })?;
        for worker in running() {
            let Some(Consumer { token, .. }) = worker.consumer() else { continue };
            if let Some((newest, whose)) = &self.newest {
                require(newest <= token, "TokensRise", || {
                    format!("{} runs under {token} after {newest}", worker.me)
                })?;
                require(newest != token || *whose == worker.me, "TokensRise", || {
                    format!("{whose} and {} ran under {token}", worker.me)
                })?;
            }
            self.newest = Some((*token, worker.me.clone()));
        }
        Ok(())
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
            checkpoint => checkpoint <= position(self.processed),
        };
        require(is_processed, "NoSkip", || {
            format!("{} is stored, {} was processed: {write:?}", after.checkpoint, self.processed)
        })
    }

    /// Lets a consumer process its next record. Returns its checkpoint after that.
    pub(super) fn process(&mut self, consumer: Option<&Consumer>) -> Result<Checkpoint, Violation> {
        let Some(consumer) = consumer else { return Ok(position(0)) };
        let next = (1..=u8::MAX).find(|number| position(*number) > consumer.processed);
        let next = next.unwrap_or(u8::MAX);
        require(next <= self.processed + 1, "NoSkip", || {
            format!("record {next} is processed before {}", self.processed + 1)
        })?;
        self.processed = self.processed.max(next);
        Ok(position(next))
    }
}

/// Checks that a write with an outdated counter is refused.
pub(super) fn late_copies_do_not_count(
    write: &LeaseWrite,
    row: Option<&Lease>,
) -> Result<(), Violation> {
    require(!write.is_allowed(row), "LateCopiesFail", || format!("{write:?}"))
}
