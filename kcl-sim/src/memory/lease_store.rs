//! A lease store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kcl_core::backend::{
    Conditional, JavaRow, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken, ROWS_MAX,
    Reading, SessionWrite,
};
use kcl_core::model::{
    Bulletin, Lease, LeaseKey, Presence, Publication, Session, SessionKind, StreamName,
    StreamStart, WorkerId,
};

use super::rows::{Row, TABLE, Table, add, after, page, unreadable};

/// The rows of a page of DynamoDB: 1 MiB of leases of about 350 bytes.
const PAGE_ROWS_MAX: usize = 3_000;
/// The rows that half a read unit pays for.
const ROWS_PER_HALF_UNIT: usize = 12;
/// The bytes of a page of DynamoDB.
const PAGE_BYTES: usize = 1024 * 1024;
/// The bytes that half a read unit pays for.
const BYTES_PER_HALF_UNIT: usize = 4 * 1024;

/// A lease table in memory. Clones are handles to the same table.
///
/// Each write is [`LeaseWrite::apply`], so this store is the contract itself. As in DynamoDB, each
/// page of a scan shows the table as it is when that page is read, not as it was when the scan
/// began.
///
/// ```
/// use kcl_sim::memory::MemoryLeaseStore;
///
/// let store = MemoryLeaseStore::new();
/// let other_worker = store.clone();
/// ```
#[derive(Clone, Debug)]
pub struct MemoryLeaseStore {
    // Shared by the workers of a process, and locked for one call at a time, as DynamoDB serializes
    // the writes to a row.
    table: Arc<Mutex<Table>>,
    page_rows_max: usize,
    /// The size of each row. `None` if [`ROWS_PER_HALF_UNIT`] counts instead.
    row_bytes: Option<usize>,
    scans_lag: usize,
}

impl Default for MemoryLeaseStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLeaseStore {
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Arc::default(), page_rows_max: PAGE_ROWS_MAX, row_bytes: None, scans_lag: 0 }
    }

    /// Limits the pages of this handle to `rows` rows, at least one. Default: 3,000.
    #[must_use]
    pub const fn with_page_rows(mut self, rows: usize) -> Self {
        self.page_rows_max = if rows == 0 { 1 } else { rows };
        self
    }

    /// Makes each row as large as `bytes` bytes, at least one: a page of this handle has 1 MiB of
    /// them, and a read unit pays for 8 KiB of an eventual scan. Default: about 350 bytes.
    #[must_use]
    pub const fn with_row_bytes(mut self, bytes: usize) -> Self {
        let bytes = if bytes == 0 { 1 } else { bytes };
        self.row_bytes = Some(bytes);
        self.with_page_rows(PAGE_BYTES / bytes)
    }

    /// Makes eventual scans and batch reads of this handle miss the last `writes` writes to the
    /// table. Default: 0.
    ///
    /// The table remembers as many writes as any of its handles has been set to miss.
    #[must_use]
    pub fn with_stale_scans(mut self, writes: usize) -> Self {
        self.scans_lag = writes;
        let mut table = self.lock();
        table.undo_max = table.undo_max.max(writes);
        drop(table);
        self
    }

    /// Writes a lease unconditionally, as another program may.
    pub fn insert_lease(&self, lease: Lease) {
        let key = lease.key.to_string();
        self.lock().set(key, Some(Row::Lease(lease)));
    }

    /// Writes a row of the Java KCL that is not a lease.
    pub fn insert_java_row(&self, row: JavaRow) {
        self.lock().set(row.key.clone(), Some(Row::Java(row)));
    }

    /// Removes a row of any kind.
    pub fn remove(&self, key: &str) {
        self.lock().set(key.to_owned(), None);
    }

    /// Returns all leases.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        let table = self.lock();
        let leases = table.rows.values().filter_map(|row| match row {
            Row::Lease(lease) => Some(lease.clone()),
            Row::Session(_) | Row::Stream(_) | Row::Java(_) => None,
        });
        leases.collect()
    }

    /// Returns the read units that a page of a scan costs.
    pub(crate) fn page_units(&self, from: Option<&PageToken>, reading: Reading) -> f64 {
        let table = self.lock();
        let rest = table.rows.range::<str, _>((after(from), Bound::Unbounded));
        self.scan_units(rest.take(self.page_rows_max).count(), reading)
    }

    /// Returns the read units that a batch read of this many rows costs, whether they exist or not.
    pub(crate) fn rows_units(&self, rows: usize, reading: Reading) -> f64 {
        let halves = self.row_bytes.map_or(1, |bytes| bytes.div_ceil(BYTES_PER_HALF_UNIT));
        units(rows.saturating_mul(halves), reading)
    }

    fn scan_units(&self, rows: usize, reading: Reading) -> f64 {
        let halves = match self.row_bytes {
            None => rows.div_ceil(ROWS_PER_HALF_UNIT),
            Some(bytes) => rows.saturating_mul(bytes).div_ceil(BYTES_PER_HALF_UNIT),
        };
        units(halves, reading)
    }

    /// Reads the table, as it is or as an eventual read sees it.
    fn read<T>(&self, reading: Reading, read: impl FnOnce(&BTreeMap<String, Row>) -> T) -> T {
        let table = self.lock();
        match (self.scans_lag, reading) {
            (0, _) | (_, Reading::Consistent) => read(&table.rows),
            (lag, Reading::Eventual) => read(&table.before(lag)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No call leaves the map half changed, so a poisoned lock is harmless.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the read units of a read that costs this many halves of one if it is eventual.
fn units(halves: usize, reading: Reading) -> f64 {
    let halves = f64::from(u32::try_from(halves).unwrap_or(u32::MAX));
    match reading {
        Reading::Eventual => halves / 2.0,
        Reading::Consistent => halves,
    }
}

#[async_trait]
impl LeaseStore for MemoryLeaseStore {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        let page = |rows: &BTreeMap<_, _>| page(rows, from.as_ref(), self.page_rows_max);
        let (mut page, read) = self.read(reading, page);
        page.read_units = self.scan_units(read, reading);
        Ok(page)
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        let keys: BTreeSet<&String> = keys.iter().collect();
        if keys.len() > ROWS_MAX {
            let source = format!("{} keys", keys.len()).into();
            return Err(LeaseStoreError::Refused { table: TABLE.to_owned(), source });
        }
        let mut page = Page::default();
        page.read_units = self.rows_units(keys.len(), reading);
        self.read(reading, |rows| {
            keys.into_iter().filter_map(|key| rows.get(key)).for_each(|row| add(&mut page, row));
        });
        Ok(page)
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        Ok(self.lock().lease(key)?.cloned())
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        let mut table = self.lock();
        let found = table.lease(&write.key)?.cloned();
        let applied = write.apply(found.as_ref());
        if let Some(left) = &applied {
            table.set(write.key.to_string(), left.clone().map(Row::Lease));
        }
        drop(table);
        Conditional::of(found, applied).ok_or_else(|| no_row(write.key.as_str()))
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        Ok(self.lock().start(stream)?.cloned())
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        let mut table = self.lock();
        if let Some(stored) = table.start(&start.stream)? {
            return Ok(stored.clone());
        }
        let mut start = start.clone();
        start.bulletin = Bulletin::EMPTY;
        table.set(start.stream.to_string(), Some(Row::Stream(start.clone())));
        Ok(start)
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        let mut table = self.lock();
        let Some(stored) = table.start(stream)?.cloned() else {
            return Err(unreadable(stream.as_str(), "no stream start is stored"));
        };
        let mut marked = stored;
        marked.bootstrapped = true;
        table.set(stream.to_string(), Some(Row::Stream(marked)));
        drop(table);
        Ok(())
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        Ok(self.lock().change_bulletin(stream, |bulletin| publication.apply(bulletin)))
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        self.lock().change_bulletin(stream, |bulletin| {
            let mut bulletin = bulletin.clone();
            bulletin.news.extend(news.iter().cloned());
            (!news.is_empty()).then_some(bulletin)
        });
        Ok(())
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        Ok(self.lock().session(worker)?.cloned())
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        let key = write.session.as_str();
        let mut table = self.lock();
        let found = table.session(&write.session)?.cloned();
        let applied = write.apply(found.as_ref());
        if let Some(left) = &applied {
            table.set(key.to_owned(), left.clone().map(Row::Session));
        }
        drop(table);
        Conditional::of(found, applied).ok_or_else(|| no_row(key))
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        let row = Row::Session(Session::from(presence.clone()));
        self.lock().set(presence.worker.to_string(), Some(row));
        Ok(())
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        let mut table = self.lock();
        let is_meant = |row: &Session| {
            row.kind != SessionKind::Session && beat.is_none_or(|beat| row.beat == beat)
        };
        if table.session(worker)?.is_some_and(is_meant) {
            table.set(worker.to_string(), None);
        }
        drop(table);
        Ok(())
    }
}

fn no_row(key: &str) -> LeaseStoreError {
    unreadable(key, "an applied write neither found nor left a row")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kcl_core::model::{Timestamp, WorkerId};

    use super::*;

    fn presence(worker: &str, beat: u64) -> Presence {
        let expiry = Duration::from_secs(10);
        Presence::new(WorkerId::from(worker), beat, expiry, Timestamp::default())
    }

    async fn beats(store: &MemoryLeaseStore) -> Vec<u64> {
        let page = store.scan(None, Reading::Eventual).await.unwrap();
        page.sessions.iter().map(|session| session.beat).collect()
    }

    fn presences(page: &Page) -> Vec<Presence> {
        page.sessions.iter().map(Session::presence).collect()
    }

    #[tokio::test]
    async fn stale_scan_misses_the_last_writes() {
        let store = MemoryLeaseStore::new();
        let stale = store.clone().with_stale_scans(2);
        for (worker, beat) in [("a", 1), ("b", 1), ("a", 2)] {
            store.put_presence(&presence(worker, beat)).await.unwrap();
        }
        assert_eq!(beats(&store).await, [2, 1]);
        assert_eq!(beats(&stale).await, [1], "a's first write alone");
        store.delete_presence(&WorkerId::from("a"), None).await.unwrap();
        assert_eq!(beats(&stale).await, [1, 1], "both first writes");
    }

    #[tokio::test]
    async fn stale_batch_read_misses_the_last_write() {
        let store = MemoryLeaseStore::new();
        let stale = store.clone().with_stale_scans(1);
        for (worker, beat) in [("a", 1), ("a", 2)] {
            store.put_presence(&presence(worker, beat)).await.unwrap();
        }
        for (reading, beat) in [(Reading::Eventual, 1), (Reading::Consistent, 2)] {
            let page = stale.rows(&["a".to_owned()], reading).await.unwrap();
            assert_eq!(presences(&page), [presence("a", beat)]);
        }
    }

    #[tokio::test]
    async fn batch_read_costs_each_row_for_itself() {
        let store = MemoryLeaseStore::new();
        let keys = ["a", "b", "c"].map(String::from);
        let units = async |store: &MemoryLeaseStore, reading| {
            store.rows(&keys, reading).await.unwrap().read_units
        };
        assert_eq!(units(&store, Reading::Eventual).await, 1.5);
        assert_eq!(units(&store, Reading::Consistent).await, 3.0);
        assert_eq!(units(&store.with_row_bytes(5_000), Reading::Eventual).await, 3.0);
    }

    #[tokio::test]
    async fn page_shows_the_table_as_it_is_when_read() {
        let store = MemoryLeaseStore::new().with_page_rows(1);
        for worker in ["a", "b", "c"] {
            store.put_presence(&presence(worker, 1)).await.unwrap();
        }
        let first = store.scan(None, Reading::Eventual).await.unwrap();
        assert_eq!(presences(&first), [presence("a", 1)]);
        store.put_presence(&presence("a", 2)).await.unwrap();
        store.put_presence(&presence("b", 2)).await.unwrap();
        store.delete_presence(&WorkerId::from("c"), None).await.unwrap();
        let second = store.scan(first.next, Reading::Eventual).await.unwrap();
        assert_eq!((presences(&second), second.next), (vec![presence("b", 2)], None));
    }

    #[tokio::test]
    async fn rows_of_800_bytes_fill_pages_of_a_mebibyte() {
        let store = MemoryLeaseStore::new().with_row_bytes(800);
        for worker in 0..2_000 {
            store.put_presence(&presence(&format!("w{worker:04}"), 1)).await.unwrap();
        }
        let first = store.scan(None, Reading::Eventual).await.unwrap();
        assert_eq!((first.sessions.len(), first.read_units), (1_310, 128.0));
        assert_eq!(store.page_units(None, Reading::Consistent), 256.0);
        let rest = store.scan(first.next, Reading::Consistent).await.unwrap();
        assert_eq!((rest.sessions.len(), rest.read_units), (690, 135.0));
    }
}
