//! Reads the whole table once.

use kcl_proto::model::{JavaRow, Lease, Presence, StreamStart, UnreadableRow};

use crate::backend::{LeaseStoreError, Reading};
use crate::lease_side::shared::Shared;

/// The most pages of one scan: 1 MiB each, so some millions of leases.
const PAGES_MAX: usize = 10_000;

/// The table as one scan saw it. It is no snapshot, since pages are read one after another.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) leases: Vec<Lease>,
    pub(super) presence: Vec<Presence>,
    pub(super) stream_starts: Vec<StreamStart>,
    pub(super) java: Vec<JavaRow>,
    pub(super) unreadable: Vec<UnreadableRow>,
    pub(super) read_units: f64,
}

/// Reads all pages, and reports rows that are unreadable.
pub(super) async fn run(shared: &Shared, reading: Reading) -> Result<Table, LeaseStoreError> {
    let mut table = Table::default();
    let mut from = None;
    for _ in 0..PAGES_MAX {
        let page = shared.store.scan(from, reading).await?;
        table.leases.extend(page.leases);
        table.presence.extend(page.presence);
        table.stream_starts.extend(page.stream_starts);
        table.java.extend(page.java);
        table.unreadable.extend(page.unreadable);
        table.read_units += page.read_units;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    shared.report_unreadable(&table.unreadable);
    Ok(table)
}
