//! One turn of housekeeping: list the shards, look at the table, create and delete leases.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::{bootstrap, cleanup, shard_sync};
use crate::engine::scan;
use crate::engine::side::Side;
use crate::engine::start;
use crate::error::RunError;
use crate::event::Event;
use crate::lease_store::{Conditional, LeaseStoreError};
use crate::model::{LeaseKey, LeaseWrite, ShardId, StreamStart, StreamStatus, WriteKind};
use crate::record_source::{ShardFilter, SourceError};
use crate::telemetry::chain;

/// What a turn found out.
#[derive(Debug)]
pub(super) enum Turn {
    /// These shards are listed; so many rows were created or deleted.
    Done { listed: BTreeSet<ShardId>, changes: usize },
    /// It did not work; the next turn tries again.
    Failed { error: String },
    /// The worker cannot go on.
    Fatal(RunError),
}

/// Takes a turn. Whoever does it at the same time does the same; every write is conditional.
pub(super) async fn run(side: &Side, start: &StreamStart) -> Turn {
    match turn(side, start).await {
        Ok((listed, changes)) => Turn::Done { listed, changes },
        Err(Failed::Fatal(error)) => Turn::Fatal(error),
        Err(Failed::Late) => Turn::Failed { error: "it took longer than an expiry".to_owned() },
        Err(Failed::Store(error)) => Turn::Failed { error: chain(&error) },
        Err(Failed::Source(error @ SourceError::StreamMissing { .. })) => {
            Turn::Fatal(RunError::Stream(error))
        }
        Err(Failed::Source(error)) => Turn::Failed { error: chain(&error) },
    }
}

enum Failed {
    Late,
    Fatal(RunError),
    Store(LeaseStoreError),
    Source(SourceError),
}

async fn turn(side: &Side, start: &StreamStart) -> Result<(BTreeSet<ShardId>, usize), Failed> {
    let description = side.source.describe().await.map_err(Failed::Source)?;
    bootstrap::check(start, &description).map_err(Failed::Fatal)?;
    if description.status == StreamStatus::Deleting {
        let stream = description.name;
        return Err(Failed::Fatal(RunError::StreamDeleted { stream }));
    }
    // First the shards, then the leases: a shard that is listed and has no lease had none later.
    let shards = side.source.list_shards(ShardFilter::All).await.map_err(Failed::Source)?;
    let seen_at = side.clock.now();
    let leases: BTreeMap<LeaseKey, _> = scan::run(side)
        .await
        .map_err(Failed::Store)?
        .leases
        .into_iter()
        .map(|lease| (lease.key.clone(), lease))
        .collect();
    let listed = shards.iter().map(|shard| shard.id.clone()).collect();
    let plan = shard_sync::plan(&shards, &leases, start);
    let mut numbers = side.write_numbers();
    let mut changes = plan.create.len();
    for new in plan.create {
        // A lease that was finished and deleted since the scan must not come back.
        if side.clock.now().since(seen_at) > side.config.lease.expiry {
            return Err(Failed::Late);
        }
        start::create(side, new, numbers.draw()).await.map_err(Failed::Store)?;
    }
    let ended = cleanup::deletable(&leases)
        .into_iter()
        .map(|(key, counter)| (key, WriteKind::DeleteEnded { counter }));
    let untouched = plan.delete_untouched.into_iter().map(|key| (key, WriteKind::DeleteUntouched));
    for (key, kind) in ended.chain(untouched) {
        let (worker, number) = (side.me.clone(), numbers.draw());
        let write = LeaseWrite { key, worker, number, kind };
        let outcome = side.store.write(&write).await.map_err(Failed::Store)?;
        if let Conditional::Applied(lease) = outcome {
            changes += 1;
            side.events.emit(&Event::LeaseDeleted { key: lease.key });
        }
    }
    Ok((listed, changes))
}
