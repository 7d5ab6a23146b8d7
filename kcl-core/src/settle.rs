//! Writes what dead sessions have kept to the rows of their leases, for readers that do not know
//! sessions: [`settle`].

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_proto::fleet::sessions::{self, SessionWatch};
use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::lease::settle::Settler;
use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{Conditional, Lease, LeaseCounter, LeaseKey, Moment, Session, WorkerId};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::backend::{LeaseStore, LeaseStoreError, Reading};

/// How long a worker must be silent at least, whatever its row says.
const EXPIRY_MIN: Duration = Duration::from_secs(10);

/// The time between two looks at the table.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What [`settle`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettleReport {
    /// The leases whose rows it wrote. None of them has an owner now, unless a worker had asked for
    /// it.
    pub leases: Vec<LeaseKey>,
    /// The workers that it declared dead because they were silent.
    pub condemned: Vec<WorkerId>,
}

/// Why a table was not settled. What was settled before the error stays so; settle the table again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettleError {
    /// Workers with sessions use the table. Stop them: a worker that stops settles its own leases.
    #[error("worker {worker} is alive: stop every worker of the application first")]
    WorkerAlive {
        /// One of them.
        worker: WorkerId,
    },
    /// The lease table cannot be used. The source says what is wrong with it and what to do.
    #[error("lease table cannot be used")]
    Leases(#[from] LeaseStoreError),
}

/// Makes the rows of all leases of a stopped fleet complete, so that the Java KCL, or a person, can
/// rely on them.
///
/// With [`Liveness::Session`](crate::config::Liveness::Session) the progress of a lease is in the row
/// of its worker. A worker that stops writes it to the leases' rows; one that crashed cannot, and
/// Java would repeat everything since the lease was taken. Workers of this library need no such
/// help: they adopt the progress of the dead.
///
/// It waits until every worker that still has a session has been silent for its expiry, 10 s at
/// least, and declares it dead. On a table that is settled already it only reads. It can be repeated,
/// and run at the same time as others.
///
/// # Errors
/// [`SettleError::WorkerAlive`] if a worker with a session beats; [`SettleError::Leases`] if a call
/// fails.
///
/// # Cancel safety
/// Dropping the future leaves a table of which a part is settled.
pub async fn settle(store: &dyn LeaseStore) -> Result<SettleReport, SettleError> {
    let mut table = UnsettledTable::new(store);
    while !table.look().await? {
        sleep(LOOK_EVERY).await;
    }
    Ok(table.report)
}

/// A table on its way to be settled.
struct UnsettledTable<'a> {
    store: &'a dyn LeaseStore,
    began: Instant,
    watch: SessionWatch,
    /// The heartbeat of each session as it was first seen.
    beats: BTreeMap<WorkerId, u64>,
    /// For writes in the names of the dead, who make none.
    numbers: WriteNumbers,
    report: SettleReport,
}

impl<'a> UnsettledTable<'a> {
    fn new(store: &'a dyn LeaseStore) -> Self {
        Self {
            store,
            began: Instant::now(),
            watch: SessionWatch::new(WorkerId::new("settle"), EXPIRY_MIN, LOOK_EVERY),
            beats: BTreeMap::new(),
            numbers: WriteNumbers::of_lane(u32::MAX),
            report: SettleReport::default(),
        }
    }

    fn now(&self) -> Moment {
        Moment::from_origin(self.began.elapsed())
    }

    /// Looks at the table once, and does what can be done. Returns whether nothing is left to do.
    async fn look(&mut self) -> Result<bool, SettleError> {
        let began = Instant::now();
        let (leases, sessions) = self.read().await?;
        let live = sessions.iter().filter(|row| row.is_live());
        for Session { worker, beat, .. } in live {
            if *self.beats.entry(worker.clone()).or_insert(*beat) < *beat {
                return Err(SettleError::WorkerAlive { worker: worker.clone() });
            }
        }
        let named = sessions::named(&leases);
        // A look at a large table takes long.
        self.watch.look_every(LOOK_EVERY + began.elapsed());
        self.watch.observe(&sessions, &named, true, self.now());
        for worker in self.watch.buryable(&named) {
            drop(self.write(&worker, SessionWriteKind::Bury).await?);
        }
        if named.is_empty() && !sessions.iter().any(Session::is_live) {
            return Ok(true);
        }
        self.condemn().await?;
        for lease in &leases {
            self.settle(lease).await?;
        }
        Ok(false)
    }

    async fn read(&self) -> Result<(Vec<Lease>, Vec<Session>), LeaseStoreError> {
        let (mut leases, mut sessions, mut from) = (Vec::new(), Vec::new(), None);
        loop {
            let page = self.store.scan(from, Reading::Consistent).await?;
            leases.extend(page.leases);
            sessions.extend(page.sessions);
            from = page.next;
            if from.is_none() {
                return Ok((leases, sessions));
            }
        }
    }

    async fn condemn(&mut self) -> Result<(), LeaseStoreError> {
        for (worker, beat) in self.watch.silent(self.now()) {
            let by = WorkerId::new("settle");
            let outcome = self.write(&worker, SessionWriteKind::Condemn { beat, by }).await?;
            if let Some(row) = outcome.row() {
                self.watch.see(row, self.now());
            }
            if matches!(outcome, Conditional::Applied(_)) {
                self.report.condemned.push(worker);
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        worker: &WorkerId,
        kind: SessionWriteKind,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        self.store.write_session(&SessionWrite { session: worker.clone(), kind }).await
    }

    /// Releases a lease in the name of its holder, if that one is dead.
    async fn settle(&mut self, lease: &Lease) -> Result<(), LeaseStoreError> {
        let Some(holder) = lease.session_holder() else { return Ok(()) };
        let Some(progress) = self.watch.frozen(holder) else { return Ok(()) };
        let settler = Settler { me: holder, expiry: EXPIRY_MIN, progress, is_stopping: true };
        let Some(kind) = settler.settle(lease, LeaseCounter::default()) else { return Ok(()) };
        let (key, worker, number) = (lease.key.clone(), holder.clone(), self.numbers.draw());
        let write = LeaseWrite { key, worker, number, kind };
        if matches!(self.store.write(&write).await?, Conditional::Applied(_)) {
            self.report.leases.push(write.key);
        }
        Ok(())
    }
}
