//! A store of leases whose calls are counted and timed.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{
    Bulletin, Conditional, Lease, LeaseKey, Presence, Publication, Session, StreamName,
    StreamStart, WorkerId,
};

use crate::backend::{LeaseStore, LeaseStoreError, Page, PageToken, Reading};
use crate::config::{InvalidSetting, LeaseConfig};
use crate::metrics::registry::Registry;
use crate::metrics::shard_series::add;

/// A store of leases whose calls a registry counts.
#[derive(Debug)]
pub(crate) struct MeteredStore {
    store: Arc<dyn LeaseStore>,
    registry: Arc<Registry>,
}

impl MeteredStore {
    pub(crate) const fn new(store: Arc<dyn LeaseStore>, registry: Arc<Registry>) -> Self {
        Self { store, registry }
    }

    /// Makes a call. `lost` is whether its condition did not hold.
    async fn call<T: Send>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, LeaseStoreError>> + Send,
        lost: impl Fn(&T) -> bool + Send,
    ) -> Result<T, LeaseStoreError> {
        let began = self.registry.clock.now();
        let end = call.await;
        let outcome = match &end {
            Ok(answer) if lost(answer) => "lost",
            Ok(_) => "ok",
            Err(error) if error.is_throttled() => "throttled",
            Err(_) => "error",
        };
        let time = self.registry.clock.now().since(began);
        self.registry.series.table_called(operation, outcome, time);
        end
    }

    /// Makes a call that reads rows, and counts what it cost.
    async fn read_page(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Page, LeaseStoreError>> + Send,
    ) -> Result<Page, LeaseStoreError> {
        let end = self.call(operation, call, never).await;
        if let Ok(page) = &end {
            add(&self.registry.series.table_read_units, &[], units(page.read_units));
        }
        end
    }
}

/// The condition of a call that has none.
const fn never<T>(_: &T) -> bool {
    false
}

const fn is_lost<T>(end: &Conditional<T>) -> bool {
    matches!(end, Conditional::Lost { .. })
}

/// Read units, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn units(units: f64) -> u64 {
    units.ceil() as u64
}

/// The operation that a write of a lease is, as a label.
const fn of_lease(kind: &WriteKind) -> &'static str {
    match kind {
        WriteKind::Create(_) => "create",
        WriteKind::Take { .. } => "take",
        WriteKind::Renew { .. } => "renew",
        WriteKind::BeginHandover { .. } | WriteKind::Withdraw { .. } => "ask",
        WriteKind::CompleteHandover { .. } | WriteKind::CancelHandover { .. } => "hand_over",
        WriteKind::Release { .. } => "release",
        WriteKind::EndShard { .. } => "end_shard",
        WriteKind::DeleteEnded { .. } | WriteKind::DeleteUntouched => "delete",
    }
}

#[async_trait]
impl LeaseStore for MeteredStore {
    fn validate(&self, leases: &LeaseConfig) -> Vec<InvalidSetting> {
        self.store.validate(leases)
    }

    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.call("prepare", self.store.prepare(), never).await
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.read_page("scan", self.store.scan(from, reading)).await
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        self.read_page("read", self.store.rows(keys, reading)).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.call("read", self.store.get(key), never).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.call(of_lease(&write.kind), self.store.write(write), is_lost).await
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        self.call("stream", self.store.stream_start(stream), never).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.call("stream", self.store.create_stream_start(start), never).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.call("stream", self.store.mark_bootstrapped(stream), never).await
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        self.call("stream", self.store.publish(stream, publication), Option::is_none).await
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        self.call("stream", self.store.ring(stream, news), never).await
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        self.call("read", self.store.session(worker), never).await
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        let is_beat = matches!(write.kind, SessionWriteKind::Beat { .. });
        let operation = if is_beat { "beat" } else { "worker" };
        self.call(operation, self.store.write_session(write), is_lost).await
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        self.call("worker", self.store.put_presence(presence), never).await
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        self.call("worker", self.store.delete_presence(worker, beat), never).await
    }
}
