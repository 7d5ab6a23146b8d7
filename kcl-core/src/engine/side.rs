//! What every task of the lease side shares, all of it immutable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::WorkerConfig;
use crate::decide::write_numbers::WriteNumbers;
use crate::engine::refusal::Refusals;
use crate::event::Event;
use crate::lease_store::{LeaseStore, UnreadableRow};
use crate::memory::MemoryBudget;
use crate::model::WorkerId;
use crate::record_source::RecordSource;
use crate::telemetry::Events;

/// What every task of the lease side shares.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) me: WorkerId,
    pub(super) store: Arc<dyn LeaseStore>,
    pub(super) source: Arc<dyn RecordSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: Arc<WorkerConfig>,
    pub(super) events: Events,
    pub(super) memory: MemoryBudget,
    pub(super) lanes: AtomicU32,
    pub(super) chance: Chance,
    pub(super) refusals: Refusals,
    /// The unreadable rows that were told of: a cell that every scan writes.
    pub(super) told_rows: watch::Sender<BTreeSet<String>>,
}

impl Side {
    /// Write numbers that no other part of this worker uses.
    pub(super) fn write_numbers(&self) -> WriteNumbers {
        WriteNumbers::of_lane(self.lanes.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells of rows that could not be read, once for each problem.
    pub(super) fn tell_unreadable(&self, rows: &[UnreadableRow]) {
        for UnreadableRow { key, problem, .. } in rows {
            let told = format!("{key} {problem}");
            if self.told_rows.send_if_modified(|known| known.insert(told)) {
                let (key, problem) = (key.clone(), problem.clone());
                self.events.emit(&Event::UnreadableRow { key, problem });
            }
        }
    }
}

/// Numbers that look random, all drawn from one seed.
#[derive(Debug)]
pub(super) struct Chance(AtomicU64);

impl Chance {
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number from 0 to below 1.
    pub(super) fn draw(&self) -> f64 {
        // SplitMix64 (Steele, Lea, Flood 2014): good enough to spread timers, and replayable.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}
