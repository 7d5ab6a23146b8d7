//! A worker's connection to the services: its calls wait in an outbox until the world takes them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use kcl_core::backend::{
    Bulletin, Conditional, Fetched, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken,
    Publication, ReadFrom, Reading, RecordSource, Retrieval, SessionWrite, ShardFilter,
    ShardReader, SourceError,
};
use kcl_core::model::{
    Lease, LeaseKey, Presence, Session, Shard, ShardId, StreamDescription, StreamName, StreamStart,
    WorkerId,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::call::{Call, ClientError, Request, Services, TypedCall};
use crate::memory::MemoryReader;

/// One worker's connection to the services. Clones are the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    outbox: Arc<Outbox>,
}

#[derive(Debug, Default)]
struct Outbox {
    /// Filled by the worker, emptied by the world between two of its steps.
    calls: Mutex<VecDeque<(Instant, Box<dyn Call>)>>,
    filled: Notify,
    is_closed: AtomicBool,
}

impl Port {
    pub(crate) fn new() -> Self {
        Self { outbox: Arc::default() }
    }

    /// Waits until the worker has made a call.
    pub(crate) async fn called(&self) {
        self.outbox.filled.notified().await;
    }

    /// Removes and returns the calls in the outbox, and when each was made.
    pub(crate) fn take(&self) -> VecDeque<(Instant, Box<dyn Call>)> {
        std::mem::take(&mut self.outbox.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Drops all further calls: a killed process makes none from its destructors.
    pub(crate) fn close(&self) {
        self.outbox.is_closed.store(true, Ordering::Relaxed);
    }

    async fn call<T, E>(
        &self,
        request: Request,
        work: impl FnMut(&Services<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: std::fmt::Debug + Send + 'static,
        E: ClientError,
    {
        if self.outbox.is_closed.load(Ordering::Relaxed) {
            return Err(E::unavailable());
        }
        let (call, answer) = TypedCall::new(request, work);
        let call: Box<dyn Call> = Box::new(call);
        let made = (Instant::now(), call);
        self.outbox.calls.lock().unwrap_or_else(PoisonError::into_inner).push_back(made);
        self.outbox.filled.notify_one();
        answer.await.unwrap_or_else(|_| Err(E::unavailable()))
    }
}

/// Returns the result of a call to a service in memory, which is ready at once.
fn at_once<T, E: ClientError>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    call.now_or_never().unwrap_or_else(|| Err(E::unavailable()))
}

#[async_trait]
impl LeaseStore for Port {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.call(Request::Prepare, |_| Ok(())).await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        let request = match &from {
            None => Request::Scan(reading),
            Some(from) => Request::ScanOn(from.clone(), reading),
        };
        let work = move |services: &Services<'_>| {
            let table = services.table.clone().with_stale_scans(services.stale);
            at_once(table.scan(from.clone(), reading))
        };
        self.call(request, work).await
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        if keys.is_empty() {
            return Ok(Page::default());
        }
        let keys = keys.to_vec();
        let request = Request::Rows(keys.clone(), reading);
        let work = move |services: &Services<'_>| {
            let table = services.table.clone().with_stale_scans(services.stale);
            let (read, _) = keys.split_at(keys.len().saturating_sub(services.unread));
            at_once(table.rows(read, reading))
        };
        self.call(request, work).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        let request = Request::Get(key.clone());
        let key = key.clone();
        let work = move |services: &Services<'_>| at_once(services.table.get(&key));
        self.call(request, work).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        let request = Request::Write(Box::new(write.clone()));
        let write = write.clone();
        let work = move |services: &Services<'_>| at_once(services.table.write(&write));
        self.call(request, work).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        let stream = stream.clone();
        let work = move |services: &Services<'_>| at_once(services.table.stream_start(&stream));
        self.call(Request::StreamStart, work).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        let start = start.clone();
        let work =
            move |services: &Services<'_>| at_once(services.table.create_stream_start(&start));
        self.call(Request::CreateStreamStart, work).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        let stream = stream.clone();
        let work =
            move |services: &Services<'_>| at_once(services.table.mark_bootstrapped(&stream));
        self.call(Request::MarkBootstrapped, work).await
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        let request = Request::Publish(Box::new(publication.clone()));
        let (stream, publication) = (stream.clone(), publication.clone());
        let work =
            move |services: &Services<'_>| at_once(services.table.publish(&stream, &publication));
        self.call(request, work).await
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        if news.is_empty() {
            return Ok(());
        }
        let request = Request::Ring(news.len());
        let (stream, news) = (stream.clone(), news.clone());
        let work = move |services: &Services<'_>| at_once(services.table.ring(&stream, &news));
        self.call(request, work).await
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        let request = Request::Session(worker.clone());
        let worker = worker.clone();
        let work = move |services: &Services<'_>| at_once(services.table.session(&worker));
        self.call(request, work).await
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        let request = Request::WriteSession(Box::new(write.clone()));
        let write = write.clone();
        let work = move |services: &Services<'_>| at_once(services.table.write_session(&write));
        self.call(request, work).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        let (worker, is_leaving) = (presence.worker.clone(), presence.is_leaving);
        let request = Request::PutPresence { worker, is_leaving };
        let presence = presence.clone();
        let work = move |services: &Services<'_>| at_once(services.table.put_presence(&presence));
        self.call(request, work).await
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        let request = Request::DeletePresence(worker.clone());
        let worker = worker.clone();
        let work =
            move |services: &Services<'_>| at_once(services.table.delete_presence(&worker, beat));
        self.call(request, work).await
    }
}

#[async_trait]
impl RecordSource for Port {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let work = |services: &Services<'_>| at_once(services.stream.describe());
        self.call(Request::Describe, work).await
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        let work =
            move |services: &Services<'_>| at_once(services.stream.list_shards(filter.clone()));
        self.call(Request::ListShards, work).await
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        let request = Request::Open(shard.clone());
        let shard = shard.clone();
        let work = move |services: &Services<'_>| services.stream.reader(&shard, from);
        let reader = self.call(request, work).await?;
        Ok(Box::new(PortReader { port: self.clone(), reader, came: None }))
    }
}

/// How often a reader looks for what was pushed: how late a push is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A reader whose position moves only when its caller gets the answer.
#[derive(Debug)]
struct PortReader {
    port: Port,
    reader: MemoryReader,
    /// The bytes of what has come and was not read.
    came: Option<u64>,
}

impl PortReader {
    /// Waits until something to read has come: the world decides when. Returns its bytes.
    async fn wait(&mut self) -> Result<u64, SourceError> {
        loop {
            if let Some(bytes) = self.came {
                return Ok(bytes);
            }
            let request = Request::Await(self.reader.shard().clone());
            let reader = self.reader.clone();
            let work = move |_: &Services<'_>| {
                let mut reader = reader.clone();
                reader.ready_now().map(|ready| (reader, ready))
            };
            let (reader, ready) = self.port.call(request, work).await?;
            (self.reader, self.came) = (reader, ready);
            if ready.is_none() {
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

#[async_trait]
impl ShardReader for PortReader {
    async fn ready(&mut self) -> Result<Option<u64>, SourceError> {
        if !self.reader.may_subscribe() {
            return Ok(None);
        }
        let bytes = self.wait().await?;
        Ok(Some(bytes).filter(|_| self.reader.is_subscribed()))
    }

    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        if self.reader.may_subscribe() {
            self.wait().await?;
        }
        let shard = self.reader.shard().clone();
        let (request, records_max, retrieval) = if self.reader.is_subscribed() {
            (Request::Event(shard), usize::MAX, Retrieval::Pushed)
        } else {
            (Request::Read(shard), records_max, Retrieval::Polled)
        };
        let reader = self.reader.clone();
        let work = move |_: &Services<'_>| {
            let mut reader = reader.clone();
            reader.read_now(records_max).map(|fetched| (reader, fetched))
        };
        let read = self.port.call(request, work).await;
        self.came = None;
        match read {
            Ok((reader, fetched)) => {
                self.reader = reader;
                Ok(fetched.by(retrieval))
            }
            Err(error) => {
                self.reader.unsubscribe();
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kcl_core::backend::SystemClock;
    use kcl_core::model::{StartPosition, Timestamp};

    use super::super::weather::Answer;
    use super::*;
    use crate::memory::{MemoryLeaseStore, MemoryStream};

    /// Makes a call, which lands and is answered.
    async fn served<T>(
        (port, table): (&Port, &MemoryLeaseStore),
        (stale, unread): (usize, usize),
        call: impl Future<Output = Result<T, LeaseStoreError>>,
    ) -> T {
        let stream = MemoryStream::new("orders", 1, Arc::new(SystemClock));
        let serve = async {
            port.called().await;
            for (_, mut call) in port.take() {
                call.land(&Services { stream: &stream, table, stale, unread });
                call.answer(Answer::Result);
            }
        };
        tokio::join!(call, serve).0.unwrap()
    }

    #[tokio::test]
    async fn bulletin_and_its_row_pass_the_port() {
        let (port, table) = (Port::new(), MemoryLeaseStore::new());
        drop(table.clone().with_stale_scans(9)); // The table remembers that many writes.
        let (name, now) = (StreamName::from("orders"), Timestamp::default());
        let start = StreamStart::new(name.clone(), "arn".into(), now, StartPosition::TrimHorizon);
        table.create_stream_start(&start).await.unwrap();
        let to = (&port, &table);
        let news = BTreeSet::from(["a".to_owned()]);
        served(to, (0, 0), port.ring(&name, &news)).await;
        let publication = Publication {
            number: 0,
            by: "w".into(),
            second: None,
            moves: [("1".into(), "w".into())].into(),
            scan: false,
            heard: news,
        };
        let bulletin = served(to, (0, 0), port.publish(&name, &publication)).await;
        let published = table.stream_start(&name).await.unwrap().unwrap().bulletin;
        assert_eq!((published.number, bulletin.as_ref()), (1, Some(&published)));
        let keys = ["missing", "orders"].map(String::from);
        for (reading, drawn, numbers) in [
            (Reading::Eventual, (0, 0), vec![1]),
            (Reading::Eventual, (1, 0), vec![0]),
            (Reading::Consistent, (1, 0), vec![1]),
            (Reading::Consistent, (0, 1), vec![]),
        ] {
            let page = served(to, drawn, port.rows(&keys, reading)).await;
            let found: Vec<_> = page.stream_starts.iter().map(|it| it.bulletin.number).collect();
            assert_eq!(found, numbers, "{reading:?} {drawn:?}");
        }
    }
}
