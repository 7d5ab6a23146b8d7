//! What every task of the lease side shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{Moment, UnreadableRow, WorkerId};
use kcl_proto::worker::congestion::Congestion;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::Clock;
use crate::backend::LeaseStore;
use crate::backend::RecordSource;
use crate::config::WorkerConfig;
use crate::lease_side::lease_calls::LeaseCalls;
use crate::lease_side::reported_rows::ReportedRows;
use crate::memory::MemoryBudget;
use crate::metrics::registry::Registry;
use crate::report::event::Event;
use crate::report::events::Events;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;

/// What every task of the lease side shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: WorkerId,
    pub(crate) store: Arc<dyn LeaseStore>,
    /// The store's calls on single leases, with a bound on those in flight.
    pub(crate) calls: Arc<LeaseCalls>,
    /// Whether leases may move. Holders and takes write it; the main loop reads it.
    pub(crate) congestion: watch::Sender<Congestion>,
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) events: Events,
    pub(crate) memory: MemoryBudget,
    pub(crate) registry: Arc<Registry>,
    pub(crate) lanes: AtomicU32,
    pub(crate) chance: Chance,
    pub(crate) stopped: StoppedShards,
    pub(crate) reported_rows: Arc<ReportedRows>,
    /// Cancelled when the worker is dropped: then nothing is written.
    pub(crate) crash: CancellationToken,
}

impl Shared {
    /// The same for another incarnation of this worker, whose session is over.
    pub(super) fn reborn(&self) -> Self {
        let incarnation = u64::from(self.chance.draw_bits()) << 32;
        let incarnation = incarnation | u64::from(self.chance.draw_bits());
        Self {
            me: WorkerId::incarnation(self.me.name(), incarnation),
            store: Arc::clone(&self.store),
            calls: Arc::clone(&self.calls),
            congestion: watch::Sender::default(),
            source: Arc::clone(&self.source),
            clock: Arc::clone(&self.clock),
            config: Arc::clone(&self.config),
            events: self.events.clone(),
            memory: self.memory.clone(),
            registry: Arc::clone(&self.registry),
            lanes: AtomicU32::new(0),
            chance: Chance::seeded(incarnation),
            stopped: self.stopped.clone(),
            reported_rows: Arc::clone(&self.reported_rows),
            crash: self.crash.clone(),
        }
    }

    /// Write numbers that no other part of this worker uses.
    pub(crate) fn write_numbers(&self) -> WriteNumbers {
        WriteNumbers::of_lane(self.lanes.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes that a call was throttled, or that a renewal was late: moves rest for a while.
    pub(crate) fn suffered(&self, now: Moment) {
        let (expiry, chance) = (self.config.lease.expiry, self.chance.draw());
        self.congestion.send_modify(|congestion| congestion.suffered(expiry, chance, now));
    }

    /// Reports unreadable rows, each problem once while it lasts.
    pub(crate) fn report_unreadable(&self, rows: &[UnreadableRow]) {
        for row in rows {
            if self.reported_rows.is_new(row) {
                let (key, problem) = (row.key.clone(), row.problem.clone());
                self.events.emit(&Event::UnreadableRow { key, problem });
            }
        }
    }
}
