//! A store and a source that fail when told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::LeaseWrite;
use kcl_core::backend::{Conditional, LeaseStore, LeaseStoreError, Page, PageToken, Reading};
use kcl_core::backend::{Fetched, ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::config::{InvalidSetting, LeaseConfig};
use kcl_core::model::{
    Lease, LeaseKey, Presence, Shard, ShardId, StreamDescription, StreamName, StreamStart, WorkerId,
};
use kcl_sim::memory::MemoryLeaseStore;
use kcl_sim::memory::MemoryStream;
use tokio::time::sleep;

/// How long a silent store keeps its callers waiting: the bound that its contract asks for.
const SILENCE: Duration = Duration::from_secs(3);

/// How a store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "what the tests need")]
pub enum StoreFault {
    /// Not at all.
    #[default]
    None,
    /// Each call fails at once, and does nothing.
    Refuse,
    /// Each call fails after a while, and does nothing.
    Silent,
    /// Each write is made, and then fails.
    LoseReplies,
    /// It takes a while until a worker's presence is removed.
    SlowGoodbye,
}

/// One worker's faults. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    // Turned by the test while workers run: read for one look at a time.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    store: StoreFault,
    source: Option<fn() -> SourceError>,
}

impl Faults {
    /// How its store fails from now on.
    pub fn store(&self, fault: StoreFault) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).store = fault;
    }

    /// How reading and opening fail from now on.
    pub fn source(&self, fault: Option<fn() -> SourceError>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).source = fault;
    }

    fn of_store(&self) -> StoreFault {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).store
    }

    fn of_source(&self) -> Result<(), SourceError> {
        let fault = self.state.lock().unwrap_or_else(PoisonError::into_inner).source;
        fault.map_or(Ok(()), |fault| Err(fault()))
    }

    async fn before_call(&self) -> Result<(), LeaseStoreError> {
        match self.of_store() {
            StoreFault::None | StoreFault::LoseReplies | StoreFault::SlowGoodbye => Ok(()),
            StoreFault::Refuse => Err(unavailable()),
            StoreFault::Silent => {
                sleep(SILENCE).await;
                Err(unavailable())
            }
        }
    }

    fn after_write(&self) -> Result<(), LeaseStoreError> {
        match self.of_store() {
            StoreFault::LoseReplies => Err(unavailable()),
            StoreFault::None
            | StoreFault::Refuse
            | StoreFault::Silent
            | StoreFault::SlowGoodbye => Ok(()),
        }
    }
}

fn unavailable() -> LeaseStoreError {
    LeaseStoreError::Unavailable { table: "memory".to_owned(), source: "as told".into() }
}

/// A store that fails when told to.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: MemoryLeaseStore,
    faults: Faults,
}

impl FaultyStore {
    /// The store `inner` with these faults.
    #[must_use]
    pub const fn new(inner: MemoryLeaseStore, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl LeaseStore for FaultyStore {
    fn validate(&self, leases: &LeaseConfig) -> Vec<InvalidSetting> {
        self.inner.validate(leases)
    }

    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.prepare().await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.scan(from, reading).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.get(key).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.faults.before_call().await?;
        let outcome = self.inner.write(write).await?;
        self.faults.after_write()?;
        Ok(outcome)
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.stream_start(stream).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.create_stream_start(start).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.mark_bootstrapped(stream).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        self.faults.before_call().await?;
        self.inner.put_presence(presence).await
    }

    async fn delete_presence(&self, worker: &WorkerId) -> Result<(), LeaseStoreError> {
        self.faults.before_call().await?;
        if self.faults.of_store() == StoreFault::SlowGoodbye {
            sleep(SILENCE).await;
        }
        self.inner.delete_presence(worker).await
    }
}

/// A source that fails when told to.
#[derive(Clone, Debug)]
pub struct FaultySource {
    inner: MemoryStream,
    faults: Faults,
}

impl FaultySource {
    /// The stream `inner` with these faults.
    #[must_use]
    pub const fn new(inner: MemoryStream, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl RecordSource for FaultySource {
    fn validate(&self) -> Vec<InvalidSetting> {
        self.inner.validate()
    }

    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        self.inner.describe().await
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        self.inner.list_shards(filter).await
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        self.faults.of_source()?;
        let inner = self.inner.open(shard, from).await?;
        Ok(Box::new(FaultyReader { inner, faults: self.faults.clone() }))
    }
}

#[derive(Debug)]
struct FaultyReader {
    inner: Box<dyn ShardReader>,
    faults: Faults,
}

#[async_trait]
impl ShardReader for FaultyReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        self.faults.of_source()?;
        self.inner.read(records_max).await
    }
}
