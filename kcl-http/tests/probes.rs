//! The probes of real workers: while they work, while the table is gone, and while the lease thread
//! is blocked.

#![cfg(test)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use kcl_core::backend::{
    Bulletin, Clock, Conditional, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken,
    Publication, Reading, SessionWrite, SystemClock,
};
use kcl_core::model::{
    Lease, LeaseKey, Moment, Presence, Session, StreamName, StreamStart, Timestamp, WorkerId,
};
use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker, WorkerHandle};
use kcl_http::{Probes, ServeError, Server};
use kcl_sim::memory::{MemoryLeaseStore, MemoryStream};
use serde_json::Value;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

const LIMIT: Duration = Duration::from_secs(30);

struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What the table does from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Every call fails.
    Gone,
    /// Every call blocks the thread that makes it.
    Blocks,
}

/// A table in trouble. Clones are the same.
#[derive(Clone, Debug)]
struct Table {
    table: MemoryLeaseStore,
    trouble: Arc<(Mutex<Trouble>, Condvar)>,
    /// Whether a call has blocked its thread.
    blocks: Arc<AtomicBool>,
}

impl Table {
    fn new() -> Self {
        let trouble = Arc::new((Mutex::new(Trouble::None), Condvar::new()));
        Self { table: MemoryLeaseStore::new(), trouble, blocks: Arc::default() }
    }

    fn set(&self, trouble: Trouble) {
        *self.trouble.0.lock().unwrap() = trouble;
        self.trouble.1.notify_all();
    }

    fn check(&self) -> Result<(), LeaseStoreError> {
        let (trouble, changed) = &*self.trouble;
        let trouble = trouble.lock().unwrap();
        self.blocks.fetch_or(*trouble == Trouble::Blocks, Ordering::Relaxed);
        let trouble = changed.wait_while(trouble, |it| *it == Trouble::Blocks).unwrap();
        if *trouble == Trouble::Gone {
            let (table, source) = ("orders".to_owned(), "no route to host".into());
            return Err(LeaseStoreError::Unavailable { table, source });
        }
        Ok(())
    }
}

#[async_trait]
impl LeaseStore for Table {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.check()?;
        self.table.prepare().await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.check()?;
        self.table.scan(from, reading).await
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        self.check()?;
        self.table.rows(keys, reading).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.check()?;
        self.table.get(key).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.check()?;
        self.table.write(write).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        self.check()?;
        self.table.stream_start(stream).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.check()?;
        self.table.create_stream_start(start).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.check()?;
        self.table.mark_bootstrapped(stream).await
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        self.check()?;
        self.table.publish(stream, publication).await
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        self.check()?;
        self.table.ring(stream, news).await
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        self.check()?;
        self.table.session(worker).await
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        self.check()?;
        self.table.write_session(write).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        self.check()?;
        self.table.put_presence(presence).await
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        self.check()?;
        self.table.delete_presence(worker, beat).await
    }
}

/// The system's clock, and by how many seconds a test has put it forward. Clones are the same.
#[derive(Clone, Debug, Default)]
struct FastClock(Arc<AtomicU64>);

impl Clock for FastClock {
    fn now(&self) -> Moment {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn time_of_day(&self) -> Timestamp {
        SystemClock.time_of_day()
    }
}

/// A worker in its runtime.
struct Running {
    handle: WorkerHandle,
    run: JoinHandle<()>,
    table: Table,
    clock: FastClock,
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
fn start(table: &Table) -> Running {
    let clock = FastClock::default();
    let stream = MemoryStream::new("orders-stream", 2, Arc::new(SystemClock));
    let worker = Worker::builder("orders")
        .worker_name("ann")
        .records(stream)
        .leases(table.clone())
        .processor(|_: &ShardContext| Idle)
        .clock(clock.clone())
        .build()
        .unwrap();
    let handle = worker.handle();
    let run = tokio::spawn(async move {
        worker.run_until(std::future::pending()).await.unwrap();
    });
    Running { handle, run, table: table.clone(), clock }
}

impl Running {
    /// Asks for a path. Answers with its status and its body.
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let router = Probes::new([self.handle.clone()]).router();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn until(&self, what: &str, path: &str, expected: StatusCode) -> String {
        let start = SystemClock.now();
        loop {
            let (status, body) = self.get(path).await;
            if status == expected {
                return body;
            }
            assert!(SystemClock.now().since(start) < LIMIT, "not in time: {what}: {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(self) {
        self.table.set(Trouble::None);
        self.handle.shut_down();
        self.run.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_works_is_alive_ready_and_healthy() {
    let worker = start(&Table::new());
    worker.until("ready", "/readyz", StatusCode::OK).await;
    assert_eq!(worker.get("/livez").await.0, StatusCode::OK);
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);
    let (status, text) = worker.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("kcl_worker_state{"), "{text}");
    let body: Value = serde_json::from_str(&worker.get("/status").await.1).unwrap();
    assert_eq!(body["schema"], 1);
    assert_eq!(body["workers"][0]["state"], "running");
    assert_eq!(body["workers"][0]["stream"], "orders-stream");
    assert_eq!(worker.get("/").await.0, StatusCode::NOT_FOUND);
    let handle = worker.handle.clone();
    worker.stop().await;
    let router = Probes::new([handle]).router();
    let request = Request::get("/livez").body(Body::empty()).unwrap();
    let status = router.oneshot(request).await.unwrap().status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it has stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_is_alive_without_its_table() {
    let table = Table::new();
    table.set(Trouble::Gone);
    let worker = start(&table);
    let failed = |text: String| {
        let number = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?.rsplit_once(' ')?;
            line.1.parse::<f64>().ok()
        };
        number(
            "kcl_table_calls_total{application=\"orders\",operation=\"prepare\",outcome=\"error\"",
        )
    };
    let start = SystemClock.now();
    while failed(worker.get("/metrics").await.1).unwrap_or_default() < 1.0 {
        assert!(SystemClock.now().since(start) < LIMIT, "no call has failed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let body = worker.until("not ready", "/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(body.contains("prepare the lease table"), "{body}");
    worker.clock.0.store(3_600, Ordering::Relaxed);
    worker.until("alive an hour later", "/livez", StatusCode::OK).await;
    table.set(Trouble::None);
    worker.until("ready with its table", "/readyz", StatusCode::OK).await;
    table.set(Trouble::Gone);
    worker.clock.0.fetch_add(3_600, Ordering::Relaxed);
    worker.until("alive after another hour", "/livez", StatusCode::OK).await;
    assert_eq!(worker.get("/livez").await.0, StatusCode::OK);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_lease_thread_is_dead_until_it_runs_again() {
    let worker = start(&Table::new());
    worker.until("ready", "/readyz", StatusCode::OK).await;
    worker.table.set(Trouble::Blocks);
    let began = SystemClock.now();
    while !worker.table.blocks.load(Ordering::Relaxed) {
        assert!(SystemClock.now().since(began) < LIMIT, "no call is made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(worker.get("/livez").await.0, StatusCode::OK, "it has just been blocked");
    worker.clock.0.store(31, Ordering::Relaxed);
    let (status, body) = worker.get("/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("the lease thread has been silent"), "{body}");
    worker.table.set(Trouble::None);
    worker.until("alive again", "/livez", StatusCode::OK).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_port_is_a_clear_error() {
    let worker = start(&Table::new());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let probes = || Probes::new([worker.handle.clone()]);
    let server = Server::bind(any, probes()).await.unwrap();
    let taken = server.address();
    let error = Server::bind(taken, probes()).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse { address, .. } if address == taken), "{error:?}");
    let text = format!("address {taken} is in use: name another port, or 0 for a free one");
    assert_eq!(error.to_string(), text);
    let error = kcl_http::serve(taken.port(), worker.handle.clone()).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse { .. }), "it is loopback: {error:?}");
    tokio::select! {
        end = server.run() => end.unwrap(),
        answer = ask(taken) => assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}"),
    }
    worker.stop().await;
}

/// Asks a server for `/livez`.
async fn ask(address: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}
