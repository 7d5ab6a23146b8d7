//! What comes before the first lease: the table, the stream, proof that no Java fleet is alive,
//! this worker's presence, and the first leases.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::fleet::java_fleet::{Rows, Tenancy, TenancyWatch};
use kcl_proto::fleet::scan_interval::ScanCost;
use kcl_proto::model::{Liveness, Moment, StreamDescription, StreamStart, StreamStatus};
use kcl_proto::shards::bootstrap;
use kcl_proto::worker::missing_watch::DOUBTED_FOR;
use kcl_proto::worker::shutdown::RELEASE_TIME;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::{LeaseStoreError, Reading, SourceError};
use crate::lease_side::own_session::{OwnSession, SessionNews};
use crate::lease_side::shared::Shared;
use crate::lease_side::startup_step::{Failure, Missing, retry};
use crate::lease_side::stream_facts::StreamFacts;
use crate::lease_side::{first_leases, own_session, presence, table_scan};
use crate::report::error::RunError;
use crate::report::event::Event;
use crate::retention::Retention;

/// How long a stop waits for the answer to what the start has sent.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Brings the application to where leases can be taken. Returns `None` if `stop` was cancelled
/// soon enough; then, and on an error, this worker's own row is removed.
pub(super) async fn run(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Result<Option<Start>, RunError> {
    let Some(found) = stop.run_until_cancelled(look(shared)).await else { return Ok(None) };
    let Found { description, described_at, has_leases } = found?;
    let mut first_writes = pin!(begin(shared, &description, has_leases));
    let begun = match stop.run_until_cancelled(&mut first_writes).await {
        // A row that lands after its removal stays.
        None => timeout(ANSWER_TIME, &mut first_writes).await.ok(),
        begun => begun,
    };
    if !matches!(begun, Some(Ok(_))) {
        // A row that stays counts as present until its heartbeat has stood still for an expiry.
        drop(timeout(RELEASE_TIME, remove(shared)).await);
    }
    let retention = Retention::new(description.retention, shared.clock.now());
    let started_at = description.now;
    Ok(begun.transpose()?.map(|(start, session)| Start {
        stream: StreamFacts { start: Arc::new(start), retention, started_at, described_at },
        session,
    }))
}

/// What the first lease needs.
pub(super) struct Start {
    pub(super) stream: StreamFacts,
    /// This worker's session, if its leases live by one.
    pub(super) session: Option<OwnSession>,
}

/// What a worker finds before its first write.
struct Found {
    description: StreamDescription,
    described_at: Moment,
    has_leases: bool,
}

async fn look(shared: &Shared) -> Result<Found, RunError> {
    retry(shared, "prepare the lease table", || prepare(shared)).await?;
    let description = retry(shared, "describe the stream", || describe(shared)).await?;
    let described_at = shared.clock.now();
    let has_leases = watch_for_java(shared, &description).await?;
    Ok(Found { description, described_at, has_leases })
}

/// Writes this worker's own row, before anything else is written, then what the first leases need.
async fn begin(
    shared: &Arc<Shared>,
    description: &StreamDescription,
    has_leases: bool,
) -> Result<(StreamStart, Option<OwnSession>), RunError> {
    let session = match shared.config.lease.liveness {
        Liveness::Counter => {
            let write = || async { Ok(presence::write_first(shared).await?) };
            retry(shared, presence::WRITE, write).await?;
            None
        }
        Liveness::Session => Some(open(shared).await?),
    };
    shared.events.emit(&Event::Started { worker: shared.me.clone() });
    let create = || first_leases::create(shared, description, has_leases);
    Ok((retry(shared, first_leases::CREATE, create).await?, session))
}

/// Opens this worker's session.
async fn open(shared: &Arc<Shared>) -> Result<OwnSession, RunError> {
    let mut session = OwnSession::open(shared);
    if let Some(SessionNews::Write(write)) = session.next_news() {
        let open = || async { Ok(shared.store.write_session(&write).await?) };
        let outcome = retry(shared, own_session::WRITE, open).await?;
        session.answered(Ok(outcome), shared.clock.now());
    }
    Ok(session)
}

/// Removes this worker's own row, if the table allows it.
async fn remove(shared: &Shared) {
    match shared.config.lease.liveness {
        Liveness::Counter => presence::remove(shared).await,
        Liveness::Session => own_session::remove(shared).await,
    }
}

async fn prepare(shared: &Shared) -> Result<(), Failure> {
    match shared.store.prepare().await {
        // It was never found by its name: the name may be wrong.
        Err(error @ LeaseStoreError::TableMissing { .. }) => {
            let error = RunError::Leases(error);
            Err(Missing { what: "table", error, limit: DOUBTED_FOR }.into())
        }
        end => Ok(end?),
    }
}

async fn describe(shared: &Shared) -> Result<StreamDescription, Failure> {
    let description = match shared.source.describe().await {
        // It was never found by its name: the name may be wrong.
        Err(error @ SourceError::StreamMissing { .. }) => {
            let limit = shared.config.retrieval.wait_for_stream.max(DOUBTED_FOR);
            return Err(Missing { what: "stream", error: RunError::Stream(error), limit }.into());
        }
        described => described?,
    };
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
                // Every worker that starts watches, beside the scans of those that run.
                let lease = &shared.config.lease;
                let cost = ScanCost {
                    workers: table.workers + 1,
                    units: table.read_units,
                    budget: lease.scan_units,
                    expiry: lease.expiry,
                };
                sleep(cost.pauses(shared.chance.draw()).at_rest).await;
            }
        }
    }
}
