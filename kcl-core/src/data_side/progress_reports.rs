//! Reports a processor's progress to the lease's holder.

use std::time::Duration;

use kcl_proto::consumer::progress::{AckFailure, Done, Progress};
use kcl_proto::model::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::messages::Reports;

/// The shortest time between two reports of acknowledgements.
const REPORT_EVERY: Duration = Duration::from_millis(20);

/// The progress of one processor, and where it is reported.
#[derive(Clone, Debug)]
pub(super) struct ProgressReports {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) reports: Reports,
}

impl ProgressReports {
    /// Reports what may be stored. `caught_up_at` counts if everything delivered is done.
    pub(super) fn report(&self, caught_up_at: Option<Timestamp>) {
        let (done, unfinished) = {
            let progress = self.progress.borrow();
            let caught_up_at = caught_up_at.filter(|_| progress.is_all_done());
            let (checkpoint, records) = (progress.automatic(), progress.records());
            (Done { checkpoint, records, caught_up_at }, progress.oldest_unfinished())
        };
        self.reports.vitals.send_if_modified(|vitals| {
            let before = std::mem::replace(&mut vitals.unfinished, unfinished);
            before != vitals.unfinished
        });
        self.reports.progress.send_if_modified(|reported| {
            let before = std::mem::replace(reported, reported.max(done));
            before != *reported
        });
    }

    /// Reports acknowledgements until one fails.
    pub(super) async fn report_acks(&self) -> AckFailure {
        let mut seen = self.progress.subscribe();
        loop {
            let failure = seen.borrow_and_update().failure().cloned();
            self.report(None);
            if let Some(failure) = failure {
                return failure;
            }
            drop(seen.changed().await); // It stays open: `self` holds a sender.
            sleep(REPORT_EVERY).await;
        }
    }

    /// Returns once fewer than `records` records are in flight.
    pub(super) async fn room(&self, records: usize) {
        let mut progress = self.progress.subscribe();
        drop(progress.wait_for(|progress| progress.in_flight() < records).await);
    }
}
