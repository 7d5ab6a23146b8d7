//! The other workers whose rows an operator should look at, and that were reported.

use std::collections::BTreeSet;

use kcl_proto::model::{Session, SessionKind, WorkerId};

use crate::report::event::Event;
use crate::report::events::Events;

/// The workers that were reported. Each is reported once.
#[derive(Debug, Default)]
pub(super) struct ReportedWorkers {
    same_name: BTreeSet<WorkerId>,
    outdated: BTreeSet<WorkerId>,
}

impl ReportedWorkers {
    /// Reports a live worker with the name of this one.
    pub(super) fn same_name(&mut self, other: WorkerId, events: &Events) {
        if self.same_name.insert(other.clone()) {
            events.emit(&Event::NameShared { other });
        }
    }

    /// Reports the workers that do not know the sessions of this fleet.
    pub(super) fn outdated(&mut self, rows: &[Session], events: &Events) {
        for row in rows.iter().filter(|row| row.kind == SessionKind::Unaware) {
            if self.outdated.insert(row.worker.clone()) {
                events.emit(&Event::WorkerOutdated { worker: row.worker.clone() });
            }
        }
    }
}
