//! The rules that must hold in every state, by their names in `docs/internals/lease-protocol.md`.

use std::collections::BTreeMap;

use super::super::deliveries::Deliveries;
use super::super::violation::{Violation, require};
use super::worker::Worker;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::model::{Checkpoint, Lease, LeaseKey, Liveness, Session, WorkerId};

/// The rows of sessions.
pub(super) type Sessions = BTreeMap<WorkerId, Session>;

/// An onlooker that sees both workers and the table, and remembers what rules depend on.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Onlooker {
    pub(super) deliveries: Deliveries,
    /// How far any worker learned that progress is stored.
    told: Option<Checkpoint>,
    /// Whether a row was deleted by hand, with what it alone stored.
    is_wiped: bool,
}

/// Returns what the session of the row's holder says under the row's token.
fn entry(row: &Lease, sessions: &Sessions) -> Option<Checkpoint> {
    let session = sessions.get(row.holder()?).filter(|_| row.lives_by() == Liveness::Session)?;
    let entry = session.progress.0.get(&LeaseKey::new("shard"))?;
    entry.position.filter(|_| row.token == Some(entry.token)).map(Checkpoint::After)
}

impl Onlooker {
    /// Checks both workers against the rows.
    pub(super) fn see(
        &mut self,
        workers: &mut [Worker; 2],
        row: &Lease,
        sessions: &Sessions,
    ) -> Result<(), Violation> {
        for worker in workers.iter_mut() {
            self.told = self.told.max(worker.told.take());
        }
        let kept = entry(row, sessions).max(Some(row.checkpoint));
        require(self.is_wiped || row.is_ended() || self.told <= kept, "StoredKept", || {
            format!("{kept:?} is stored, {:?} was said to be", self.told)
        })?;
        let running = workers.iter().filter(|worker| worker.may_run());
        // Its id may have changed since it took the lease.
        let running = running.filter_map(|worker| {
            let consumer = worker.consumer()?;
            Some((WorkerId::from(worker.me.name()), consumer.token))
        });
        self.deliveries.see(running, row.is_ended())
    }

    /// Checks a write to the lease that the table applies.
    pub(super) fn see_write(
        &self,
        write: &LeaseWrite,
        (before, after): (&Lease, &Lease),
        sessions: &Sessions,
        workers: &[Worker; 2],
    ) -> Result<(), Violation> {
        require(!before.is_ended(), "NoResurrection", || format!("{write:?}"))?;
        require(before.counter <= after.counter, "CountersRise", || format!("{write:?}"))?;
        let is_own = before.holder() == Some(&write.worker);
        let is_take = matches!(write.kind, WriteKind::Take { .. });
        if is_take && !is_own {
            let mut holders = workers.iter().filter(|worker| Some(&worker.me) == before.holder());
            require(!holders.any(Worker::may_run), "LiveOwnersKept", || {
                format!("{:?} still delivers: {write:?}", before.holder())
            })?;
        }
        if before.checkpoint == after.checkpoint {
            return Ok(());
        }
        require(before.checkpoint < after.checkpoint, "CheckpointsRise", || format!("{write:?}"))?;
        let is_frozen = before
            .holder()
            .and_then(|holder| sessions.get(holder))
            .is_some_and(|session| session.dead.is_some());
        let is_adopted = is_take && is_frozen && entry(before, sessions) == Some(after.checkpoint);
        // A taker may have read the frozen row before it was deleted by hand.
        let is_adopted = is_adopted || (is_take && self.is_wiped);
        require(is_own || is_adopted, "HolderWrites", || {
            format!("{:?} holds it: {write:?}", before.holder())
        })?;
        require(self.deliveries.reach(after.checkpoint), "NoSkip", || {
            let processed = self.deliveries.processed();
            format!("{} is stored, {processed} was processed: {write:?}", after.checkpoint)
        })
    }

    /// Checks a change of a session's row.
    pub(super) fn see_session(
        before: Option<&Session>,
        after: Option<&Session>,
        workers: &[Worker; 2],
    ) -> Result<(), Violation> {
        let Some(before) = before else { return Ok(()) };
        let Some(after) = after else { return Ok(()) };
        require(before.dead.is_none() || before == after, "FrozenStays", || format!("{after:?}"))?;
        let is_condemned = after.dead.as_ref().is_some_and(|by| *by != after.worker);
        let victim = workers.iter().find(|worker| worker.me == after.worker);
        let deadline = victim.and_then(|victim| {
            let deadline = victim.keeper.as_ref()?.deadline()?;
            (victim.now() < deadline).then_some(deadline)
        });
        require(!is_condemned || deadline.is_none(), "LiveOwnersKept", || {
            format!("{} is condemned before {deadline:?}", after.worker)
        })
    }

    /// A row is deleted by hand: what it alone stored is lost.
    pub(super) const fn forgive(&mut self) {
        self.is_wiped = true;
    }
}
