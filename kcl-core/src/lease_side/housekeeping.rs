//! One turn of housekeeping: lists the shards, compares them with the leases, creates and deletes
//! leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{
    Conditional, HashKeyRange, Lease, LeaseKey, NewLease, Shard, ShardFilter, StreamDescription,
    StreamStart, StreamStatus, WorkerId,
};
use kcl_proto::shards::{bootstrap, cleanup, sync};

use crate::BoxError;
use crate::backend::{LeaseStoreError, Reading, SourceError};
use crate::lease_side::lease_creation::{CreationError, LeaseCreation};
use crate::lease_side::shared::Shared;
use crate::lease_side::stream_facts::StreamFacts;
use crate::lease_side::table_scan;
use crate::report::error::RunError;
use crate::report::event::Event;

/// How many rows of absent workers one turn deletes.
const WORKERS_MAX: usize = 50;

/// How old the description of a worker's start may be for its first turn. All workers of an account
/// share 20 descriptions a second.
const DESCRIPTION_AGE_MAX: Duration = Duration::from_secs(10);

/// What this worker's scans found: all leases, and what the fleet no longer needs.
#[derive(Debug)]
pub(super) struct Known {
    /// All leases as they were last seen.
    pub(super) leases: BTreeMap<LeaseKey, Lease>,
    /// Leases of finished shards. They are deleted if no other lease depends on them.
    pub(super) finished: BTreeSet<LeaseKey>,
    /// Workers that have been absent for long.
    pub(super) workers: Vec<WorkerId>,
    /// Workers whose sessions are dead, and that no lease names.
    pub(super) dead: Vec<WorkerId>,
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum TurnEnd {
    /// It was carried out, except for writes that failed.
    Done(TurnReport),
    /// It failed before its first write; the next turn tries again.
    Failed(BoxError),
    /// The stream does not exist, or the service is wrong about that for a moment.
    Missing(SourceError),
    /// The worker has to stop.
    Fatal(RunError),
}

/// What a turn found and did.
#[derive(Debug, Default)]
pub(super) struct TurnReport {
    /// The shards that the stream lists.
    pub(super) listed: Vec<Shard>,
    /// The hash keys that have no lease.
    pub(super) uncovered: Vec<HashKeyRange>,
    /// How many rows were created or deleted.
    pub(super) changes: usize,
    /// The dead workers whose rows were deleted.
    pub(super) buried: Vec<WorkerId>,
    /// The first error of a write, or `None` if all succeeded.
    pub(super) error: Option<BoxError>,
}

/// Takes a turn. Two workers may take one at the same time: every write is conditional.
pub(super) async fn run(shared: &Shared, stream: &StreamFacts, known: Known) -> TurnEnd {
    match turn(shared, stream, known).await {
        Ok(report) => TurnEnd::Done(report),
        Err(Failure::Fatal(error)) => TurnEnd::Fatal(error),
        Err(Failure::Store(error)) => TurnEnd::Failed(error.into()),
        Err(Failure::Source(error @ SourceError::StreamMissing { .. })) => TurnEnd::Missing(error),
        Err(Failure::Source(error)) => TurnEnd::Failed(error.into()),
    }
}

enum Failure {
    Fatal(RunError),
    Store(LeaseStoreError),
    Source(SourceError),
}

async fn turn(shared: &Shared, stream: &StreamFacts, known: Known) -> Result<TurnReport, Failure> {
    let Known { mut leases, finished, workers, dead } = known;
    let StreamFacts { start, retention, .. } = stream;
    if shared.clock.now().since(stream.described_at) > DESCRIPTION_AGE_MAX {
        let description = shared.source.describe().await.map_err(Failure::Source)?;
        retention.described(description.retention);
        check(start, description)?;
    }
    let shards = shared.source.list_shards(ShardFilter::All).await.map_err(Failure::Source)?;
    let listed_at = shared.clock.now();
    let mut plan = sync::plan(&shards, &leases, start);
    let is_outdated = plan.create.is_empty();
    if !is_outdated {
        // What this worker knows is older than the list, and an eventual scan may miss a lease that
        // has existed for long; creating it would start its children too early. Shards before
        // leases: a shard that is listed above and has no lease below never had one.
        leases = scan(shared).await.map_err(Failure::Store)?;
        plan = sync::plan(&shards, &leases, start);
    }
    let report = TurnReport { listed: shards, uncovered: plan.holes, ..TurnReport::default() };
    let mut writes = Writes { shared, numbers: shared.write_numbers(), report };
    if writes.create(plan.create, LeaseCreation { shared, listed_at }).await.is_ok() {
        let ended = cleanup::deletable(&leases)
            .into_iter()
            .filter(|(key, _)| finished.contains(key))
            .map(|(key, counter)| (key, WriteKind::DeleteEnded { counter }));
        let untouched =
            plan.delete_untouched.into_iter().map(|key| (key, WriteKind::DeleteUntouched));
        writes.delete(ended.chain(untouched)).await;
        writes.delete_workers(&workers).await;
    }
    if !dead.is_empty() {
        // What this worker knows may be older than the verdict.
        let looked = if is_outdated { scan(shared).await } else { Ok(leases) };
        match looked {
            Ok(leases) => writes.bury(unnamed(dead, &leases)).await,
            Err(error) => writes.failed(error),
        }
    }
    Ok(writes.report)
}

/// Returns an error if the stream is another one of the same name, or is being deleted.
fn check(start: &StreamStart, description: StreamDescription) -> Result<(), Failure> {
    bootstrap::check(start, &description).map_err(|error| Failure::Fatal(error.into()))?;
    if description.status == StreamStatus::Deleting {
        let stream = description.name;
        return Err(Failure::Fatal(RunError::StreamDeleted { stream }));
    }
    Ok(())
}

/// Returns the workers that no unfinished lease names.
fn unnamed(
    workers: Vec<WorkerId>,
    leases: &BTreeMap<LeaseKey, Lease>,
) -> impl Iterator<Item = WorkerId> {
    let unfinished = leases.values().filter(|lease| !lease.is_ended());
    let named = unfinished.flat_map(|lease| [&lease.owner, &lease.checkpoint_owner]).flatten();
    let named: BTreeSet<_> = named.collect();
    workers.into_iter().filter(move |worker| !named.contains(worker))
}

async fn scan(shared: &Shared) -> Result<BTreeMap<LeaseKey, Lease>, LeaseStoreError> {
    let table = table_scan::run(shared, Reading::Consistent).await?;
    Ok(table.leases.into_iter().map(|lease| (lease.key.clone(), lease)).collect())
}

/// The writes of one turn. One that fails does not keep the others from being made.
struct Writes<'a> {
    shared: &'a Shared,
    numbers: WriteNumbers,
    report: TurnReport,
}

/// The list of shards is too old to go by.
struct ListTooOld;

impl Writes<'_> {
    async fn create(
        &mut self,
        leases: Vec<NewLease>,
        creation: LeaseCreation<'_>,
    ) -> Result<(), ListTooOld> {
        for new in leases {
            match creation.create(new, self.numbers.draw()).await {
                Ok(_) => self.report.changes += 1,
                Err(error @ CreationError::ListTooOld) => {
                    self.failed(error);
                    return Err(ListTooOld);
                }
                Err(CreationError::Store(error)) => self.failed(error),
            }
        }
        Ok(())
    }

    async fn delete(&mut self, leases: impl Iterator<Item = (LeaseKey, WriteKind)>) {
        for (key, kind) in leases {
            let (worker, number) = (self.shared.me.clone(), self.numbers.draw());
            let write = LeaseWrite { key, worker, number, kind };
            match self.shared.store.write(&write).await {
                Ok(Conditional::Applied(lease)) => {
                    self.report.changes += 1;
                    self.shared.events.emit(&Event::LeaseDeleted { key: lease.key });
                }
                Ok(Conditional::Lost { .. }) => {} // It was deleted or has changed since the scan.
                Err(error) => self.failed(error),
            }
        }
    }

    async fn delete_workers(&mut self, workers: &[WorkerId]) {
        for worker in workers.iter().take(WORKERS_MAX) {
            if let Err(error) = self.shared.store.delete_presence(worker, None).await {
                self.failed(error);
            }
        }
    }

    async fn bury(&mut self, dead: impl Iterator<Item = WorkerId>) {
        for session in dead.take(WORKERS_MAX) {
            let write = SessionWrite { session, kind: SessionWriteKind::Bury };
            match self.shared.store.write_session(&write).await {
                // It was buried before if there is no row.
                Ok(_) => self.report.buried.push(write.session),
                Err(error) => self.failed(error),
            }
        }
    }

    fn failed(&mut self, error: impl Into<BoxError>) {
        self.report.error.get_or_insert_with(|| error.into());
    }
}
