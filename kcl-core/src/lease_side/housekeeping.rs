//! One turn of housekeeping: list the shards, look at the table, create and delete leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{
    Conditional, HashKeyRange, Lease, LeaseKey, Shard, ShardFilter, StreamStart, StreamStatus,
    WorkerId,
};
use kcl_proto::shards::{bootstrap, cleanup, sync};

use crate::backend::SourceError;
use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::shared::Side;
use crate::lease_side::{startup_checks, table_scan};
use crate::report::error::RunError;
use crate::report::event::Event;
use crate::report::log::chain;

/// How old what a lease is created from may be: well below [`cleanup::REST`], after which a lease
/// that was finished meanwhile may be gone, and would come back.
pub(super) const PLAN_AGE_MAX: Duration = Duration::from_secs(30);

/// How many rows of workers that are long gone one turn removes.
const GONE_MAX: usize = 50;

/// What nobody needs any more, as far as the scans of this worker tell.
#[derive(Debug)]
pub(super) struct Litter {
    /// Leases of finished shards that may be deleted, if nothing depends on them.
    pub(super) rested: BTreeSet<LeaseKey>,
    /// Workers that are long gone.
    pub(super) gone: Vec<WorkerId>,
}

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// It was carried out, as far as that went.
    Done(Synced),
    /// It did not work; the next turn tries again.
    Failed { error: String },
    /// The worker cannot go on.
    Fatal(RunError),
}

/// What a turn found out and did.
#[derive(Debug)]
pub(super) struct Synced {
    /// These shards are listed.
    pub(super) listed: Vec<Shard>,
    /// These hash keys had no lease.
    pub(super) holes: Vec<HashKeyRange>,
    /// So many rows were created or deleted.
    pub(super) changes: usize,
    /// What the first of the writes that failed said, if any did.
    pub(super) error: Option<String>,
}

/// Takes a turn. Whoever does it at the same time does the same; every write is conditional.
pub(super) async fn run(side: &Side, start: &StreamStart, litter: &Litter) -> Turn {
    match turn(side, start, litter).await {
        Ok(synced) => Turn::Done(synced),
        Err(Failed::Fatal(error)) => Turn::Fatal(error),
        Err(Failed::Store(error)) => Turn::Failed { error: chain(&error) },
        Err(Failed::Source(error @ SourceError::StreamMissing { .. })) => {
            Turn::Fatal(RunError::Stream(error))
        }
        Err(Failed::Source(error)) => Turn::Failed { error: chain(&error) },
    }
}

enum Failed {
    Fatal(RunError),
    Store(LeaseStoreError),
    Source(SourceError),
}

async fn turn(side: &Side, start: &StreamStart, litter: &Litter) -> Result<Synced, Failed> {
    let description = side.source.describe().await.map_err(Failed::Source)?;
    bootstrap::check(start, &description).map_err(|it| Failed::Fatal(it.into()))?;
    if description.status == StreamStatus::Deleting {
        let stream = description.name;
        return Err(Failed::Fatal(RunError::StreamDeleted { stream }));
    }
    // First the shards, then the leases: a shard that is listed and has no lease had none later.
    let shards = side.source.list_shards(ShardFilter::All).await.map_err(Failed::Source)?;
    let seen_at = side.clock.now();
    let mut leases = scan(side, Reading::Eventual).await?;
    let mut plan = sync::plan(&shards, &leases, start);
    if !plan.create.is_empty() {
        // What an eventual scan does not show may be there, and may have been for long: its children
        // would start too early.
        leases = scan(side, Reading::Consistent).await?;
        plan = sync::plan(&shards, &leases, start);
    }
    let mut synced = Synced { listed: shards, holes: plan.holes, changes: 0, error: None };
    let mut numbers = side.write_numbers();
    for new in plan.create {
        // A lease that was finished and deleted since the scan must not come back.
        if side.clock.now().since(seen_at) > PLAN_AGE_MAX {
            synced.failed(format!("it took longer than {PLAN_AGE_MAX:?}"));
            return Ok(synced);
        }
        match startup_checks::create(side, new, numbers.draw()).await {
            Ok(()) => synced.changes += 1,
            // One row that is in the way must not keep other shards from having theirs.
            Err(error) => synced.failed(chain(&error)),
        }
    }
    let ended = cleanup::deletable(&leases)
        .into_iter()
        .filter(|(key, _)| litter.rested.contains(key))
        .map(|(key, counter)| (key, WriteKind::DeleteEnded { counter }));
    let untouched = plan.delete_untouched.into_iter().map(|key| (key, WriteKind::DeleteUntouched));
    for (key, kind) in ended.chain(untouched) {
        let (worker, number) = (side.me.clone(), numbers.draw());
        let write = LeaseWrite { key, worker, number, kind };
        match side.store.write(&write).await {
            Ok(Conditional::Applied(lease)) => {
                synced.changes += 1;
                side.events.emit(&Event::LeaseDeleted { key: lease.key });
            }
            Ok(Conditional::Lost { .. }) => {} // Somebody else did it, or it changed meanwhile.
            Err(error) => synced.failed(chain(&error)),
        }
    }
    for worker in litter.gone.iter().take(GONE_MAX) {
        if let Err(error) = side.store.delete_presence(worker).await {
            synced.failed(chain(&error));
        }
    }
    Ok(synced)
}

async fn scan(side: &Side, reading: Reading) -> Result<BTreeMap<LeaseKey, Lease>, Failed> {
    let table = table_scan::run(side, reading).await.map_err(Failed::Store)?;
    Ok(table.leases.into_iter().map(|lease| (lease.key.clone(), lease)).collect())
}

impl Synced {
    fn failed(&mut self, error: String) {
        self.error.get_or_insert(error);
    }
}
