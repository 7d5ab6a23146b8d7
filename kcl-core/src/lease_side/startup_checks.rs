//! What comes before the first lease: the table, the stream, proof that no Java fleet is alive,
//! this worker's presence, and the first leases.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::fleet::java_fleet::{Rows, Tenancy, TenancyWatch};
use kcl_proto::model::{StreamDescription, StreamStart, StreamStatus};
use kcl_proto::shards::bootstrap;
use kcl_proto::worker::shutdown::RELEASE_TIME;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::backend::{LeaseStoreError, Reading, SourceError};
use crate::lease_side::lease_creation::{CreationError, LeaseCreation};
use crate::lease_side::shared::Shared;
use crate::lease_side::{presence, table_scan};
use crate::report::error::RunError;
use crate::report::event::Event;
use crate::retention::Retention;

/// How often the table is scanned while Java workers may be alive.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How many first leases are created at once.
const CREATES_MAX: usize = 16;

/// What a worker knows about its stream once it has started.
#[derive(Clone, Debug)]
pub(super) struct StreamFacts {
    /// Which stream of that name, and where it begins for this application.
    pub(super) start: Arc<StreamStart>,
    /// How long the stream keeps records.
    pub(super) retention: Retention,
}

/// Brings the application to where leases can be taken. Returns `None` if `stop` was cancelled
/// before that; then, and on an error, this worker's presence is removed.
pub(super) async fn run(
    shared: &Shared,
    stop: &CancellationToken,
) -> Result<Option<StreamFacts>, RunError> {
    let Some(found) = stop.run_until_cancelled(look(shared)).await else { return Ok(None) };
    let Found { description, has_leases } = found?;
    let begun = stop.run_until_cancelled(begin(shared, &description, has_leases)).await;
    if !matches!(begun, Some(Ok(_))) {
        // A row that stays counts as present until its heartbeat has stood still for an expiry.
        drop(timeout(RELEASE_TIME, presence::remove(shared)).await);
    }
    let start = begun.transpose()?.map(Arc::new);
    let retention = Retention::new(description.retention, shared.clock.now());
    Ok(start.map(|start| StreamFacts { start, retention }))
}

/// What a worker finds before its first write.
struct Found {
    description: StreamDescription,
    has_leases: bool,
}

async fn look(shared: &Shared) -> Result<Found, RunError> {
    retry(shared, "prepare the lease table", || async { Ok(shared.store.prepare().await?) })
        .await?;
    let description = retry(shared, "describe the stream", || describe(shared)).await?;
    let has_leases = watch_for_java(shared, &description).await?;
    Ok(Found { description, has_leases })
}

/// Writes this worker's presence, before anything else is written, then what the first leases need.
async fn begin(
    shared: &Shared,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<StreamStart, RunError> {
    retry(shared, presence::WRITE, || async { Ok(presence::write(shared, 1).await?) }).await?;
    shared.events.emit(&Event::Started { worker: shared.me.clone() });
    retry(shared, "create the first leases", || bootstrap(shared, description, has_leases)).await
}

/// Why a step failed.
enum Failure {
    /// It always will.
    Fatal(RunError),
    /// It may succeed later.
    Transient(BoxError),
}

impl From<LeaseStoreError> for Failure {
    fn from(error: LeaseStoreError) -> Self {
        if error.is_retryable() {
            Self::Transient(error.into())
        } else {
            Self::Fatal(RunError::Leases(error))
        }
    }
}

impl From<CreationError> for Failure {
    fn from(error: CreationError) -> Self {
        match error {
            CreationError::ListTooOld => Self::Transient(error.into()),
            CreationError::Store(error) => error.into(),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        if error.is_retryable() {
            Self::Transient(error.into())
        } else {
            Self::Fatal(RunError::Stream(error))
        }
    }
}

/// Repeats a step until it succeeds or always will fail.
async fn retry<T, F>(
    shared: &Shared,
    doing: &'static str,
    step: impl Fn() -> F + Send,
) -> Result<T, RunError>
where
    T: Send,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let mut attempt = 0;
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Transient(error)) => error,
        };
        attempt += 1;
        let retry_in = Backoff::STARTUP.jittered(attempt, shared.chance.draw());
        shared.events.call_failed(doing, &*error, Some(retry_in));
        sleep(retry_in).await;
    }
}

async fn describe(shared: &Shared) -> Result<StreamDescription, Failure> {
    let description = shared.source.describe().await?;
    match description.status {
        StreamStatus::Active | StreamStatus::Updating => {
            shared.events.set_stream(&description.name);
            Ok(description)
        }
        StreamStatus::Deleting => {
            Err(Failure::Fatal(RunError::StreamDeleted { stream: description.name }))
        }
        StreamStatus::Creating => {
            Err(Failure::Transient(format!("stream {} is being created", description.name).into()))
        }
    }
}

/// Scans the table until no row of it can belong to a live Java fleet. Returns whether it has
/// leases.
async fn watch_for_java(
    shared: &Shared,
    description: &StreamDescription,
) -> Result<bool, RunError> {
    let mut watch = TenancyWatch::new(shared.config.lease.expiry);
    let mut is_reported = false;
    loop {
        // An eventual scan that misses fresh rows of a Java fleet would clear the table.
        let scan = || async { Ok(table_scan::run(shared, Reading::Consistent).await?) };
        let table = retry(shared, "read the lease table", scan).await?;
        for start in &table.stream_starts {
            bootstrap::check(start, description)?;
        }
        let now = shared.clock.now();
        let found =
            Rows { leases: &table.leases, java: &table.java, unreadable: &table.unreadable };
        match watch.observe(found, now) {
            Tenancy::Clear => return Ok(!table.leases.is_empty()),
            Tenancy::Alive { seen } => return Err(RunError::JavaFleetAlive { seen }),
            Tenancy::Wait { until, seen } => {
                if !is_reported {
                    is_reported = true;
                    let at_least = until.since(now);
                    shared.events.emit(&Event::WaitingForJava { seen, at_least });
                }
                sleep(WATCH_EVERY).await;
            }
        }
    }
}

/// Stores where the stream begins, unless that is stored, and creates the first leases.
async fn bootstrap(
    shared: &Shared,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<StreamStart, Failure> {
    let start = if has_leases {
        bootstrap::taken_over(description)
    } else {
        bootstrap::start(shared.config.retrieval.initial_position, description)
    };
    let creation = LeaseCreation { shared, listed_at: shared.clock.now() };
    let mut start = shared.store.create_stream_start(&start).await?;
    bootstrap::check(&start, description).map_err(|error| Failure::Fatal(error.into()))?;
    if start.bootstrapped {
        return Ok(start);
    }
    let shards = shared.source.list_shards(bootstrap::filter(&start)).await?;
    let mut numbers = shared.write_numbers();
    let writes = bootstrap::first_leases(&start, &shards)
        .into_iter()
        .map(|new| creation.create(new, numbers.draw()))
        .collect::<Vec<_>>();
    stream::iter(writes).buffer_unordered(CREATES_MAX).try_collect::<Vec<()>>().await?;
    shared.store.mark_bootstrapped(&start.stream).await?;
    start.bootstrapped = true;
    Ok(start)
}
