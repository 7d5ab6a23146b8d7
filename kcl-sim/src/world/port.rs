//! A worker's way to the services: every call goes into its outbox, for the world to take.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kcl_core::backend::{
    Conditional, Fetched, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken, ReadFrom,
    Reading, RecordSource, ShardFilter, ShardReader, SourceError,
};
use kcl_core::model::{
    Lease, LeaseKey, Presence, Shard, ShardId, StreamDescription, StreamName, StreamStart, WorkerId,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::memory::MemoryReader;
use crate::world::call::{Call, ClientError, TypedCall, What};
use crate::world::services::{Services, at_once};

/// One worker's way to the services. Clones are the same way.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    outbox: Arc<Outbox>,
}

#[derive(Debug, Default)]
struct Outbox {
    /// Filled by the worker, emptied by the world between two of its steps.
    calls: Mutex<VecDeque<(Instant, Box<dyn Call>)>>,
    filled: Notify,
    is_dead: AtomicBool,
}

impl Port {
    pub(crate) fn new() -> Self {
        Self { outbox: Arc::default() }
    }

    /// Ready when the worker has made a call.
    pub(crate) async fn called(&self) {
        self.outbox.filled.notified().await;
    }

    /// Takes the calls that were made, and when.
    pub(crate) fn take(&self) -> VecDeque<(Instant, Box<dyn Call>)> {
        std::mem::take(&mut self.outbox.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on nobody hears the worker: what its destructors do is not what a kill does.
    pub(crate) fn cut(&self) {
        self.outbox.is_dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.outbox.is_dead.load(Ordering::Relaxed)
    }

    async fn call<T, E>(
        &self,
        what: What,
        work: impl FnMut(&Services, usize) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: std::fmt::Debug + Send + 'static,
        E: ClientError,
    {
        if self.is_cut() {
            return Err(E::unavailable());
        }
        let (call, answer) = TypedCall::new(what, work);
        let call: Box<dyn Call> = Box::new(call);
        let made = (Instant::now(), call);
        self.outbox.calls.lock().unwrap_or_else(PoisonError::into_inner).push_back(made);
        self.outbox.filled.notify_one();
        answer.await.unwrap_or_else(|_| Err(E::unavailable()))
    }
}

#[async_trait]
impl LeaseStore for Port {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.call(What::Prepare, |_, _| Ok(())).await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        let what = if from.is_none() { What::Scan } else { What::ScanOn };
        let work = move |services: &Services, stale| services.scan(from.clone(), reading, stale);
        self.call(what, work).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        let what = What::Get(key.clone());
        let key = key.clone();
        self.call(what, move |services, _| Ok(services.lease(&key))).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        let what = What::Write(Box::new(write.clone()));
        let write = write.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.write(&write), ClientError::unavailable)
        };
        self.call(what, work).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        let stream = stream.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.stream_start(&stream), ClientError::unavailable)
        };
        self.call(What::StreamStart, work).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        let start = start.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.create_stream_start(&start), ClientError::unavailable)
        };
        self.call(What::CreateStreamStart, work).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        let stream = stream.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.mark_bootstrapped(&stream), ClientError::unavailable)
        };
        self.call(What::MarkBootstrapped, work).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        let presence = presence.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.put_presence(&presence), ClientError::unavailable)
        };
        self.call(What::PutPresence, work).await
    }

    async fn delete_presence(&self, worker: &WorkerId) -> Result<(), LeaseStoreError> {
        let what = What::DeletePresence(worker.clone());
        let worker = worker.clone();
        let work = move |services: &Services, _| {
            at_once(services.table.delete_presence(&worker), ClientError::unavailable)
        };
        self.call(what, work).await
    }
}

#[async_trait]
impl RecordSource for Port {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let work =
            |services: &Services, _| at_once(services.stream.describe(), ClientError::unavailable);
        self.call(What::Describe, work).await
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        let work = move |services: &Services, _| {
            at_once(services.stream.list_shards(filter.clone()), ClientError::unavailable)
        };
        self.call(What::ListShards, work).await
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        let what = What::Open(shard.clone());
        let shard = shard.clone();
        let work = move |services: &Services, _| services.stream.reader(&shard, from);
        let reader = self.call(what, work).await?;
        Ok(Box::new(PortReader { port: self.clone(), reader }))
    }
}

/// A reader whose iterator moves only when the answer has arrived.
#[derive(Debug)]
struct PortReader {
    port: Port,
    reader: MemoryReader,
}

#[async_trait]
impl ShardReader for PortReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        let what = What::Read(self.reader.shard().clone());
        let reader = self.reader.clone();
        let work = move |_: &Services, _| {
            let mut reader = reader.clone();
            reader.read_now(records_max).map(|fetched| (reader, fetched))
        };
        let (reader, fetched) = self.port.call(what, work).await?;
        self.reader = reader;
        Ok(fetched)
    }
}
