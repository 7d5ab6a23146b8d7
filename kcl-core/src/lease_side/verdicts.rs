//! Finds out which holders of leases are dead: condemns the silent ones, and looks for those that
//! no scan has shown.

use std::sync::Arc;

use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::model::{Conditional, Moment, Session, WorkerId};

use crate::backend::LeaseStoreError;
use crate::lease_side::attempts::Attempts;
use crate::lease_side::fleet_view::FleetView;
use crate::lease_side::jobs::Jobs;
use crate::lease_side::shared::Shared;
use crate::report::event::Event;

/// The most of its calls in flight.
const CALLS_MAX: usize = 4;

/// What the row of a worker says: `None` if it has no row, or if that is unknown.
#[derive(Debug)]
pub(super) struct Verdict {
    worker: WorkerId,
    row: Result<Option<Session>, LeaseStoreError>,
}

/// The verdicts that this worker is about to reach.
#[derive(Debug)]
pub(super) struct Verdicts {
    shared: Arc<Shared>,
    attempts: Attempts<WorkerId>,
    jobs: Jobs<Verdict>,
}

impl Verdicts {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, attempts: Attempts::new(CALLS_MAX), jobs: Jobs::new() }
    }

    /// Condemns the workers that are silent.
    pub(super) fn condemn(&mut self, fleet: &FleetView, now: Moment) {
        for (worker, beat) in fleet.silent(now) {
            if self.attempts.begin(&worker, now) {
                let shared = Arc::clone(&self.shared);
                self.jobs.push(async move {
                    let row = condemn(&shared, &worker, beat).await;
                    Verdict { worker, row }
                });
            }
        }
    }

    /// Notes that a scan has ended, or that rows were read one by one. Reads the rows of the workers
    /// that leases name and that were not shown.
    pub(super) fn rows_read(&mut self, fleet: &FleetView, now: Moment) {
        self.attempts.scan_ended();
        for worker in fleet.unknown_holders() {
            if self.attempts.begin(&worker, now) {
                let shared = Arc::clone(&self.shared);
                self.jobs.push(async move {
                    let row = look_for(&shared, &worker).await;
                    Verdict { worker, row }
                });
            }
        }
    }

    /// Waits for the next verdict.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Verdict {
        self.jobs.next().await
    }

    /// Tells the fleet of a verdict.
    pub(super) fn reached(
        &mut self,
        Verdict { worker, row }: Verdict,
        fleet: &mut FleetView,
        now: Moment,
    ) {
        self.attempts.ended(&worker);
        if let Ok(row) = row {
            fleet.saw_session(&worker, row.as_ref(), now);
        }
    }
}

async fn look_for(shared: &Shared, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
    shared.store.session(worker).await.inspect_err(|error| {
        shared.events.call_failed("read a worker's session", error, None);
    })
}

/// Condemns a worker whose heartbeat was sighted as `beat` and stands still. Returns its row, which
/// says whether it is dead.
async fn condemn(
    shared: &Shared,
    worker: &WorkerId,
    beat: u64,
) -> Result<Option<Session>, LeaseStoreError> {
    let kind = SessionWriteKind::Condemn { beat, by: shared.me.clone() };
    let write = SessionWrite { session: worker.clone(), kind };
    match shared.store.write_session(&write).await {
        Ok(Conditional::Applied(row)) => {
            shared.events.emit(&Event::WorkerCondemned { worker: worker.clone() });
            Ok(Some(row))
        }
        Ok(Conditional::Lost { found }) => Ok(found),
        Err(error) => {
            shared.events.call_failed("condemn a silent worker", &error, None);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease_side::lease_calls::CALLS_MAX as LEASE_CALLS_MAX;

    /// A page of a scan, this worker's own row, and a call of housekeeping.
    const ONE_AT_A_TIME: usize = 3;

    #[test]
    fn calls_in_flight_are_fewer_than_64() {
        let in_flight: usize = [LEASE_CALLS_MAX, CALLS_MAX, ONE_AT_A_TIME].iter().sum();
        assert!(in_flight < 64, "{in_flight}");
    }
}
