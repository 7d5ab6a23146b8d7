//! The lease table of a world.

use std::collections::BTreeMap;

use futures::FutureExt;
use kcl_core::backend::{LeaseStore, PageToken, Reading};
use kcl_core::model::{Lease, LeaseKey, Session, StartPosition, StreamName, WorkerId};
use kcl_proto::lease::adoption::adopted;

use super::call::Request;
use super::capacity::Units;
use super::service::Cost;
use super::stream::STREAM;
use crate::memory::MemoryLeaseStore;

/// How many of the last writes a stale scan may miss.
pub(crate) const STALE_MAX: usize = 40;

/// The read units of a full page of an eventual scan: 1 MiB.
const PAGE_UNITS: f64 = 128.0;

/// The lease table, and how often it changed.
#[derive(Debug)]
pub(crate) struct Table {
    store: MemoryLeaseStore,
    writes: u64,
    /// How many writes there had been when each worker read its last page of a scan.
    pages_read: BTreeMap<String, u64>,
}

impl Table {
    pub(crate) fn new() -> Self {
        let store = MemoryLeaseStore::new();
        drop(store.clone().with_stale_scans(STALE_MAX)); // The table remembers that many writes.
        Self { store, writes: 0, pages_read: BTreeMap::new() }
    }

    pub(crate) fn set_page_rows(&mut self, rows: usize) {
        self.store = self.store.clone().with_page_rows(rows);
    }

    pub(crate) fn set_row_bytes(&mut self, bytes: usize) {
        self.store = self.store.clone().with_row_bytes(bytes);
    }

    /// Counts a write that changed a row.
    pub(crate) const fn count_write(&mut self) {
        self.writes += 1;
    }

    /// Notes that a worker reads a page of a scan. Returns whether the table has changed since its
    /// last page.
    pub(crate) fn reads_page(&mut self, worker: &str) -> bool {
        let read_at = self.pages_read.insert(worker.to_owned(), self.writes);
        read_at != Some(self.writes)
    }

    pub(crate) fn remove_row(&self, key: &str) {
        self.store.remove(key);
    }

    pub(crate) const fn store(&self) -> &MemoryLeaseStore {
        &self.store
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.store.leases()
    }

    /// All leases, each with the progress that its holder's session has beyond the row.
    pub(crate) fn leases_with_progress(&self) -> Vec<Lease> {
        let mut leases = self.leases();
        for lease in &mut leases {
            let session = lease.session_holder().and_then(|holder| self.session(holder));
            let progress = session.and_then(|session| adopted(lease, &session.progress));
            lease.checkpoint =
                progress.and_then(|progress| progress.checkpoint).unwrap_or(lease.checkpoint);
        }
        leases
    }

    pub(crate) fn session(&self, worker: &WorkerId) -> Option<Session> {
        self.store.session(worker).now_or_never().and_then(Result::ok).flatten()
    }

    pub(crate) fn lease(&self, key: &LeaseKey) -> Option<Lease> {
        self.store.get(key).now_or_never().and_then(Result::ok).flatten()
    }

    /// What a call to the table costs.
    pub(crate) fn cost(&self, request: &Request) -> Cost {
        let one = |row: &str, writes, reads| Cost {
            row: row.to_owned(),
            units: Units { writes, reads },
            page: None,
        };
        let page = |from: Option<&PageToken>, reading| {
            let reads = self.store.page_units(from, reading);
            let full = match reading {
                Reading::Eventual => PAGE_UNITS,
                Reading::Consistent => 2.0 * PAGE_UNITS,
            };
            let row = from.map(|PageToken(row)| row.clone()).unwrap_or_default();
            Cost { row, units: Units { writes: 0.0, reads }, page: Some(reads / full) }
        };
        match request {
            Request::Scan(reading) => page(None, *reading),
            Request::ScanOn(from, reading) => page(Some(from), *reading),
            // Its rows are in any partitions: the first one's stands for all.
            Request::Rows(keys, reading) => {
                let first = keys.first().map_or("", String::as_str);
                one(first, 0.0, self.store.rows_units(keys.len(), *reading))
            }
            Request::Get(key) => one(key.as_str(), 0.0, 1.0),
            Request::Session(worker) => one(worker.as_str(), 0.0, 1.0),
            Request::WriteSession(write) => one(write.session.as_str(), 1.0, 0.0),
            Request::StreamStart => one(STREAM, 0.0, 1.0),
            Request::Write(write) => one(write.key.as_str(), 1.0, 0.0),
            Request::CreateStreamStart
            | Request::MarkBootstrapped
            | Request::Publish(_)
            | Request::Ring(_) => one(STREAM, 1.0, 0.0),
            Request::PutPresence { worker, .. } | Request::DeletePresence(worker) => {
                one(worker.as_str(), 1.0, 0.0)
            }
            Request::Prepare
            | Request::Describe
            | Request::ListShards
            | Request::Open(_)
            | Request::Read(_)
            | Request::Await(_)
            | Request::Event(_) => one("", 0.0, 0.0),
        }
    }

    /// The start position of the application. `None` until it is stored.
    pub(crate) fn start(&self) -> Option<StartPosition> {
        let start = self.store.stream_start(&StreamName::new(STREAM)).now_or_never();
        start.and_then(Result::ok).flatten().map(|start| start.position)
    }
}
