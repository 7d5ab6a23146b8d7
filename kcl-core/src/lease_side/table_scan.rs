//! Reads the table, page by page.

use std::mem;
use std::sync::Arc;

use kcl_proto::fleet::scan_interval;
use kcl_proto::model::{JavaRow, Lease, Moment, Session, StreamStart, UnreadableRow};

use crate::backend::{LeaseStoreError, Page, PageToken, Reading};
use crate::lease_side::shared::Shared;

/// The most pages of one scan: 1 MiB each, so some millions of leases.
const PAGES_MAX: usize = 10_000;

/// The scan of the main loop, one page at a time. A scan that fails continues with the page that
/// failed: the pages before it are paid for.
#[derive(Debug)]
pub(super) struct TableScan {
    shared: Arc<Shared>,
    /// What the pages read so far contained, or `None` before the first one.
    so_far: Option<Scanned>,
    next: Option<PageToken>,
    pages: usize,
    failures: u32,
}

/// What a scan found besides leases.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) began: Moment,
    pub(super) sessions: Vec<Session>,
    pub(super) read_units: f64,
}

impl TableScan {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, so_far: None, next: None, pages: 0, failures: 0 }
    }

    /// Returns the job that reads the next page.
    pub(super) fn page(
        &mut self,
        now: Moment,
    ) -> impl Future<Output = Result<Page, LeaseStoreError>> + Send + 'static {
        let nothing = || Scanned { began: now, sessions: Vec::new(), read_units: 0.0 };
        self.so_far.get_or_insert_with(nothing);
        let (shared, from) = (Arc::clone(&self.shared), self.next.clone());
        async move { shared.store.scan(from, Reading::Eventual).await }
    }

    /// Records a page that was read. Returns its leases and, if it was the last one, what the scan
    /// found besides leases.
    pub(super) fn read(&mut self, page: Page) -> (Vec<Lease>, Option<Scanned>) {
        self.shared.report_unreadable(&page.unreadable);
        self.failures = 0;
        self.pages += 1;
        if let Some(so_far) = &mut self.so_far {
            so_far.sessions.extend(page.sessions);
            so_far.read_units += page.read_units;
        }
        self.next = page.next.filter(|_| self.pages < PAGES_MAX);
        if self.next.is_some() {
            return (page.leases, None);
        }
        self.pages = 0;
        (page.leases, mem::take(&mut self.so_far))
    }

    /// Records that a page could not be read. Returns when to read it again.
    pub(super) fn failed(&mut self, now: Moment) -> Moment {
        self.failures = self.failures.saturating_add(1);
        scan_interval::retry_at(self.failures, self.shared.chance.draw(), now)
    }
}

/// The table as one scan saw it. It is no snapshot, since pages are read one after another.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) leases: Vec<Lease>,
    pub(super) stream_starts: Vec<StreamStart>,
    pub(super) java: Vec<JavaRow>,
    pub(super) unreadable: Vec<UnreadableRow>,
    /// How many rows are those of workers.
    pub(super) workers: usize,
    pub(super) read_units: f64,
}

/// Reads all pages, and reports rows that are unreadable.
pub(super) async fn run(shared: &Shared, reading: Reading) -> Result<Table, LeaseStoreError> {
    let mut table = Table::default();
    let mut from = None;
    for _ in 0..PAGES_MAX {
        let page = shared.store.scan(from, reading).await?;
        table.leases.extend(page.leases);
        table.stream_starts.extend(page.stream_starts);
        table.java.extend(page.java);
        table.unreadable.extend(page.unreadable);
        table.workers += page.sessions.len();
        table.read_units += page.read_units;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    shared.report_unreadable(&table.unreadable);
    Ok(table)
}
