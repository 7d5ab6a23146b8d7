//! A table in memory of which a test alters some calls.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use kcl_core::backend::{
    Bulletin, Conditional, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken, Publication,
    Reading, SessionWrite,
};
use kcl_core::model::{Lease, LeaseKey, Presence, Session, StreamName, StreamStart, WorkerId};
use kcl_sim::memory::MemoryLeaseStore;

/// What a test alters of a table: by default, nothing.
#[async_trait]
pub trait Alter: fmt::Debug + Send + Sync + 'static {
    /// The table.
    fn table(&self) -> &MemoryLeaseStore;

    /// Reads a page.
    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.table().scan(from, reading).await
    }

    /// Makes a write to a lease.
    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.table().write(write).await
    }

    /// Stores where the application begins.
    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.table().create_stream_start(start).await
    }

    /// Stores that all first leases exist.
    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.table().mark_bootstrapped(stream).await
    }
}

/// A table with the calls that `T` alters.
#[derive(Clone, Debug)]
pub struct AlteredTable<T>(pub T);

#[async_trait]
impl<T: Alter> LeaseStore for AlteredTable<T> {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.0.table().prepare().await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.0.scan(from, reading).await
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        self.0.table().rows(keys, reading).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.0.table().get(key).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.0.write(write).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        self.0.table().stream_start(stream).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.0.create_stream_start(start).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.0.mark_bootstrapped(stream).await
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        self.0.table().publish(stream, publication).await
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        self.0.table().ring(stream, news).await
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        self.0.table().session(worker).await
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        self.0.table().write_session(write).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        self.0.table().put_presence(presence).await
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        self.0.table().delete_presence(worker, beat).await
    }
}
