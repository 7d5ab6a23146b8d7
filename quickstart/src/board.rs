//! The state of the fleet: the lease table joined with the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::model::{Lease, LeaseKey, Moment, ShardId};

use crate::fleet::WorkerState;
use crate::ledger::{Ledger, Tally};

/// The state of the fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    /// The shards with a row in the table.
    pub(crate) shards: Vec<ShardRow>,
    /// The workers, in the order of their start.
    pub(crate) workers: Vec<WorkerRow>,
}

/// A shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardRow {
    /// Its id.
    pub(crate) id: ShardId,
    /// Its parents.
    pub(crate) parents: Vec<ShardId>,
    /// The worker that processes it.
    pub(crate) holder: Option<String>,
    /// The worker that receives it in a hand-over.
    pub(crate) next: Option<String>,
    /// Its phase.
    pub(crate) phase: Phase,
    /// The heartbeat of its lease.
    pub(crate) counter: u64,
    /// The number of its delivered records.
    pub(crate) delivered: usize,
    /// The number of its checkpointed records.
    pub(crate) checkpointed: usize,
    /// The age of its oldest undelivered record.
    pub(crate) lag: Duration,
}

/// The phase of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A parent has not ended.
    Waiting,
    /// It is ready to be processed.
    Open,
    /// All its records are processed.
    Ended,
}

/// A worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerRow {
    /// Its name.
    pub(crate) name: &'static str,
    /// The state of its process.
    pub(crate) state: WorkerState,
    /// The number of shards that it processes.
    pub(crate) shards: usize,
    /// The number of its deliveries.
    pub(crate) delivered: usize,
}

/// Returns a shard's short name: its number.
pub(crate) fn label(shard: &ShardId) -> &str {
    let digits = shard.as_str().rsplit('-').next().unwrap_or_default();
    match digits.trim_start_matches('0') {
        "" => "0",
        number => number,
    }
}

impl Board {
    /// Joins the leases, the processes' states and the ledger.
    pub(crate) fn new(
        leases: &[Lease],
        states: &BTreeMap<&'static str, WorkerState>,
        ledger: &Ledger,
        now: Moment,
    ) -> Self {
        let mut shards: Vec<_> =
            leases.iter().map(|lease| row(lease, leases, ledger, now)).collect();
        shards.sort_by(|one, other| one.id.cmp(&other.id));
        let holds =
            |row: &&ShardRow, name| row.phase == Phase::Open && row.holder.as_deref() == Some(name);
        let workers = states.iter().map(|(name, state)| WorkerRow {
            name,
            state: *state,
            shards: shards.iter().filter(|row| holds(row, name)).count(),
            delivered: ledger.by_worker(name),
        });
        Self { workers: workers.collect(), shards }
    }

    /// Returns the shards that are ready to be processed.
    pub(crate) fn open(&self) -> impl Iterator<Item = &ShardRow> {
        self.shards.iter().filter(|row| row.phase == Phase::Open)
    }

    /// Returns the shards that a worker processes.
    pub(crate) fn held_by(&self, worker: &str) -> Vec<ShardId> {
        let held = self.open().filter(|row| row.holder.as_deref() == Some(worker));
        held.map(|row| row.id.clone()).collect()
    }

    /// Returns whether `workers`, and no others, share all shards evenly, with no hand-over
    /// pending.
    pub(crate) fn is_shared_by(&self, workers: &[&str]) -> bool {
        let counts = workers.iter().map(|worker| self.held_by(worker).len());
        let (least, most) = (counts.clone().min(), counts.clone().max());
        let (Some(least), Some(most)) = (least, most) else { return false };
        let settled = self.open().all(|row| row.next.is_none());
        let total = self.open().count();
        total > 0 && settled && most - least <= 1 && counts.sum::<usize>() == total
    }
}

fn row(lease: &Lease, all: &[Lease], ledger: &Ledger, now: Moment) -> ShardRow {
    let id = lease.key.shard();
    let unended = |parent: &ShardId| {
        let key = LeaseKey::from(parent);
        all.iter().any(|lease| lease.key == key && !lease.is_ended())
    };
    let phase = if lease.is_ended() {
        Phase::Ended
    } else if lease.parents.iter().any(unended) {
        Phase::Waiting
    } else {
        Phase::Open
    };
    let handing_over = lease.checkpoint_owner.is_some();
    let next = lease.owner.as_ref().filter(|_| handing_over);
    let tally = ledger.shard(&id);
    ShardRow {
        parents: lease.parents.iter().cloned().collect(),
        holder: lease.holder().map(|worker| worker.name().to_owned()),
        next: next.map(|worker| worker.name().to_owned()),
        phase,
        counter: lease.counter.0,
        delivered: tally.map_or(0, Tally::delivered),
        checkpointed: tally.map_or(0, |tally| tally.checkpointed(lease.checkpoint)),
        lag: tally.map_or(Duration::ZERO, |tally| tally.lag(now)),
        id,
    }
}
