//! What comes before the first lease: the table, the stream, proof that no Java fleet is alive, this
//! worker's presence, and the bootstrap.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::fleet::java_fleet::{Tenancy, TenancyWatch};
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{
    Conditional, Moment, NewLease, StreamDescription, StreamStart, StreamStatus,
};
use kcl_proto::shards::bootstrap;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::SourceError;
use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::housekeeping::PLAN_AGE_MAX;
use crate::lease_side::shared::Side;
use crate::lease_side::{presence, table_scan};
use crate::report::error::RunError;
use crate::report::event::Event;
use crate::report::log::chain;

/// How often the table is looked at while Java workers may be alive.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a worker that is not to start after all may take to remove its presence.
const REMOVAL_TIME: Duration = Duration::from_secs(5);

/// How many first leases are created at once.
const CREATES_MAX: usize = 16;

/// Brings the application to where leases can be taken. Returns where its stream began, or none if
/// it was stopped before. Unless it gets there, no presence of this worker is left.
pub(super) async fn run(
    side: &Arc<Side>,
    stop: &CancellationToken,
) -> Result<Option<(StreamStart, StreamDescription)>, RunError> {
    let Some(found) = stop.run_until_cancelled(look(side)).await else { return Ok(None) };
    let (description, has_leases) = found?;
    let begun = stop.run_until_cancelled(begin(side, &description, has_leases)).await;
    if !matches!(begun, Some(Ok(_))) {
        // A row that stays is only judged absent later.
        drop(timeout(REMOVAL_TIME, presence::remove(side)).await);
    }
    Ok(begun.transpose()?.map(|start| (start, description)))
}

/// All that comes before the first write. Returns what the stream is, and whether there are leases.
async fn look(side: &Side) -> Result<(StreamDescription, bool), RunError> {
    prepare(side).await?;
    let description = describe(side).await?;
    let has_leases = watch_for_java(side, &description).await?;
    Ok((description, has_leases))
}

/// Writes this worker's presence, and what the first leases need.
async fn begin(
    side: &Side,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<StreamStart, RunError> {
    announce(side).await?;
    side.events.emit(&Event::Started { worker: side.me.clone() });
    let mut attempt = 0;
    loop {
        match bootstrap(side, description, has_leases).await {
            Ok(start) => return Ok(start),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Again(error)) => {
                pause(side, "create the first leases", error, &mut attempt).await;
            }
        }
    }
}

/// A step that did not work.
enum Failure {
    /// It never will.
    Fatal(RunError),
    /// It may work later.
    Again(String),
}

impl From<LeaseStoreError> for Failure {
    fn from(error: LeaseStoreError) -> Self {
        if error.is_retryable() {
            Self::Again(chain(&error))
        } else {
            Self::Fatal(RunError::Leases(error))
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        if error.is_retryable() {
            Self::Again(chain(&error))
        } else {
            Self::Fatal(RunError::Stream(error))
        }
    }
}

async fn pause(side: &Side, doing: &'static str, error: String, attempt: &mut u32) {
    *attempt += 1;
    let retry_in = Backoff::STARTUP.jittered(*attempt, side.chance.draw());
    side.events.emit(&Event::CallFailed { doing, error, retry_in });
    sleep(retry_in).await;
}

async fn prepare(side: &Side) -> Result<(), RunError> {
    let mut attempt = 0;
    loop {
        match side.store.prepare().await.map_err(Failure::from) {
            Ok(()) => return Ok(()),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Again(error)) => {
                pause(side, "prepare the lease table", error, &mut attempt).await;
            }
        }
    }
}

async fn describe(side: &Side) -> Result<StreamDescription, RunError> {
    let mut attempt = 0;
    loop {
        let error = match side.source.describe().await.map_err(Failure::from) {
            Ok(description) => match description.status {
                StreamStatus::Active | StreamStatus::Updating => {
                    side.events.set_stream(&description.name);
                    return Ok(description);
                }
                StreamStatus::Deleting => {
                    return Err(RunError::StreamDeleted { stream: description.name });
                }
                StreamStatus::Creating => format!("stream {} is being created", description.name),
            },
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Again(error)) => error,
        };
        pause(side, "describe the stream", error, &mut attempt).await;
    }
}

/// Looks at the table until no row that is not ours can belong to a live Java fleet.
async fn watch_for_java(side: &Side, description: &StreamDescription) -> Result<bool, RunError> {
    let mut watch = TenancyWatch::new(side.config.lease.expiry);
    let mut attempt = 0;
    let mut told = false;
    loop {
        // A stale scan that misses fresh rows of Java's would clear the table.
        let table = match table_scan::run(side, Reading::Consistent).await.map_err(Failure::from) {
            Ok(table) => table,
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Again(error)) => {
                pause(side, "read the lease table", error, &mut attempt).await;
                continue;
            }
        };
        for start in &table.stream_starts {
            bootstrap::check(start, description)?;
        }
        let now = side.clock.now();
        match watch.observe((&table.leases, &table.java, &table.unreadable), now) {
            Tenancy::Clear => return Ok(!table.leases.is_empty()),
            Tenancy::Alive { seen } => return Err(RunError::JavaFleetAlive { seen }),
            Tenancy::Wait { until, seen } => {
                if !told {
                    told = true;
                    let at_least = until.since(now);
                    side.events.emit(&Event::WaitingForJava { seen, at_least });
                }
                sleep(WATCH_EVERY).await;
            }
        }
    }
}

/// Writes this worker's presence, before anything else is written.
async fn announce(side: &Side) -> Result<(), RunError> {
    let mut attempt = 0;
    loop {
        match presence::write(side, 1).await.map_err(Failure::from) {
            Ok(()) => return Ok(()),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Again(error)) => {
                pause(side, "write this worker's presence", error, &mut attempt).await;
            }
        }
    }
}

/// Stores where the stream begins, unless that is stored, and creates the first leases as of then.
async fn bootstrap(
    side: &Side,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<StreamStart, Failure> {
    let start = if has_leases {
        bootstrap::taken_over(description)
    } else {
        bootstrap::start(side.config.retrieval.initial_position, description)
    };
    let asked_at = side.clock.now();
    let mut start = side.store.create_stream_start(&start).await?;
    bootstrap::check(&start, description).map_err(|it| Failure::Fatal(it.into()))?;
    if start.bootstrapped {
        return Ok(start);
    }
    let shards = side.source.list_shards(bootstrap::filter(&start)).await?;
    let mut numbers = side.write_numbers();
    let writes = bootstrap::first_leases(&start, &shards)
        .into_iter()
        .map(|new| first_lease(side, (new, asked_at), numbers.draw()))
        .collect::<Vec<_>>();
    stream::iter(writes).buffer_unordered(CREATES_MAX).try_collect::<Vec<()>>().await?;
    side.store.mark_bootstrapped(&start.stream).await?;
    start.bootstrapped = true;
    Ok(start)
}

/// Creates one of the first leases, unless the bootstrap may be long over.
async fn first_lease(
    side: &Side,
    (new, asked_at): (NewLease, Moment),
    number: u64,
) -> Result<(), Failure> {
    if side.clock.now().since(asked_at) > PLAN_AGE_MAX {
        return Err(Failure::Again(format!("it took longer than {PLAN_AGE_MAX:?}")));
    }
    Ok(create(side, new, number).await?)
}

/// Creates a lease, unless it exists.
pub(super) async fn create(side: &Side, new: NewLease, number: u64) -> Result<(), LeaseStoreError> {
    let (key, worker) = (new.key.clone(), side.me.clone());
    let write = LeaseWrite { key, worker, number, kind: WriteKind::Create(new) };
    if let Conditional::Applied(lease) = side.store.write(&write).await? {
        side.events.emit(&Event::LeaseCreated { key: lease.key });
    }
    Ok(())
}
