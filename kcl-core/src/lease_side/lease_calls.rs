//! Bounds the calls on leases that are in flight: renewals come first.

use std::sync::Arc;

use kcl_proto::lease::session_write::SessionWrite;
use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::model::{Conditional, Lease, LeaseKey, Session};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::backend::{LeaseStore, LeaseStoreError};

/// The most calls on leases in flight. With those that are made one at a time (a page of a scan,
/// this worker's own row, housekeeping) and the few of verdicts they are fewer than 64, and so are
/// connections.
pub(super) const CALLS_MAX: usize = 56;

/// The most of them that move leases. The others are left to renewals, which never queue behind
/// takes.
pub(super) const MOVES_MAX: usize = 40;

/// The lease store, with a bound on the calls in flight.
#[derive(Debug)]
pub(crate) struct LeaseCalls {
    store: Arc<dyn LeaseStore>,
    all: Semaphore,
    moves: Semaphore,
}

impl LeaseCalls {
    pub(crate) fn new(store: Arc<dyn LeaseStore>) -> Self {
        Self { store, all: Semaphore::new(CALLS_MAX), moves: Semaphore::new(MOVES_MAX) }
    }

    /// Makes a write of a lease that this worker holds.
    pub(super) async fn write_held(
        &self,
        write: &LeaseWrite,
    ) -> Result<Conditional, LeaseStoreError> {
        let _permit = self.all.acquire().await;
        self.store.write(write).await
    }

    /// Makes a write that moves or creates a lease.
    pub(super) async fn write_moving(
        &self,
        write: &LeaseWrite,
    ) -> Result<Conditional, LeaseStoreError> {
        let _permits = self.moving().await;
        self.store.write(write).await
    }

    /// Makes a write of another worker's session, for a lease that moves.
    pub(super) async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        let _permits = self.moving().await;
        self.store.write_session(write).await
    }

    /// Reads a lease that moves.
    pub(super) async fn read_moving(
        &self,
        key: &LeaseKey,
    ) -> Result<Option<Lease>, LeaseStoreError> {
        let _permits = self.moving().await;
        self.store.get(key).await
    }

    /// Waits for room. The semaphores are never closed, so that no permit is missing.
    async fn moving(&self) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        let moving = self.moves.acquire().await.ok();
        (moving, self.all.acquire().await.ok())
    }
}
