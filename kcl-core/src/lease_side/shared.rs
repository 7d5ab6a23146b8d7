//! What every task of the lease side shares, all of it immutable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{UnreadableRow, WorkerId};
use tokio::sync::watch;

use crate::backend::Clock;
use crate::backend::LeaseStore;
use crate::backend::RecordSource;
use crate::config::WorkerConfig;
use crate::memory::MemoryBudget;
use crate::report::event::Event;
use crate::report::log::Events;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;

/// What every task of the lease side shares.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) me: WorkerId,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) events: Events,
    pub(crate) memory: MemoryBudget,
    pub(crate) lanes: AtomicU32,
    pub(crate) chance: Chance,
    pub(crate) stopped: StoppedShards,
    /// The unreadable rows that were told of: a cell that every scan writes.
    pub(crate) told_rows: watch::Sender<BTreeSet<String>>,
}

impl Side {
    /// Write numbers that no other part of this worker uses.
    pub(crate) fn write_numbers(&self) -> WriteNumbers {
        WriteNumbers::of_lane(self.lanes.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells of rows that could not be read, once for each problem.
    pub(crate) fn tell_unreadable(&self, rows: &[UnreadableRow]) {
        for UnreadableRow { key, problem, .. } in rows {
            let told = format!("{key} {problem}");
            if self.told_rows.send_if_modified(|known| known.insert(told)) {
                let (key, problem) = (key.clone(), problem.clone());
                self.events.emit(&Event::UnreadableRow { key, problem });
            }
        }
    }
}
