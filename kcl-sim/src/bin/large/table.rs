//! A table in memory that takes time, and counts what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::{
    Bulletin, Clock, Conditional, LeaseStore, LeaseStoreError, LeaseWrite, Page, PageToken,
    Publication, Reading, SessionWrite, SystemClock, WriteKind,
};
use kcl_core::model::{
    Lease, LeaseKey, Moment, Presence, Session, StreamName, StreamStart, WorkerId,
};
use kcl_sim::memory::MemoryLeaseStore;
use tokio::time::sleep;

/// The size of a row in bytes: keys and owners of a usual length.
const ROW_BYTES: usize = 800;

/// The size of a session's row without the progress, with a worker's name of some 30 bytes.
const SESSION_BYTES: usize = 180;

/// The size of a stream's row without the bulletin.
const STREAM_BYTES: usize = 250;

/// How a table answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// How long each write, and each read that is no scan, takes.
    pub(crate) write: Duration,
    /// How long a page of a scan takes.
    pub(crate) page: Duration,
    /// How many writes the table takes each second, or `None` for any number.
    pub(crate) capacity: Option<u32>,
}

impl Default for Speed {
    fn default() -> Self {
        let (write, page) = (Duration::from_millis(10), Duration::from_millis(100));
        Self { write, page, capacity: None }
    }
}

/// What a table has seen since the last [`Table::start_counting`].
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Takes that another worker's write beat.
    pub(crate) takes_lost: usize,
    /// Takes of leases whose holder had renewed them within an expiry.
    pub(crate) takes_of_live: usize,
    pub(crate) takes: usize,
    pub(crate) writes: usize,
    /// All writes, as DynamoDB bills them: also those whose condition did not hold.
    pub(crate) write_units: f64,
    pub(crate) read_units: f64,
    pub(crate) in_flight_max: usize,
    /// The most leases that one worker owned at a time.
    pub(crate) held_max: usize,
    /// The longest time between two renewals of a lease.
    pub(crate) gap_max: Duration,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    in_flight: usize,
    owners: BTreeMap<LeaseKey, WorkerId>,
    held: BTreeMap<WorkerId, usize>,
    renewed: BTreeMap<LeaseKey, Moment>,
    /// The writes that the table's capacity allows now, as of a moment.
    tokens: Option<(Moment, f64)>,
    /// Every third page is throttled.
    throttled_pages: Option<usize>,
}

/// A worker's handle to the table. Clones are handles of the same worker.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: MemoryLeaseStore,
    state: Arc<Mutex<State>>,
    speed: Speed,
    /// Whether the worker of this handle was killed: its calls never end.
    is_dead: Arc<Mutex<bool>>,
}

impl Table {
    pub(crate) fn new(speed: Speed) -> Self {
        let rows = MemoryLeaseStore::new().with_row_bytes(ROW_BYTES);
        Self { rows, state: Arc::default(), speed, is_dead: Arc::default() }
    }

    /// Returns a handle for another worker.
    pub(crate) fn handle(&self) -> Self {
        Self { is_dead: Arc::default(), ..self.clone() }
    }

    /// Ends the worker of this handle, as far as the table can see.
    pub(crate) fn kill(&self) {
        *self.is_dead.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Throttles every third page of scans from now on, or none.
    pub(crate) fn throttle_pages(&self, is_on: bool) {
        self.lock().throttled_pages = is_on.then_some(0);
    }

    /// Forgets what was seen.
    pub(crate) fn start_counting(&self) {
        let mut state = self.lock();
        let held_max = state.held.values().copied().max().unwrap_or(0);
        state.seen = Seen { held_max, ..Seen::default() };
    }

    /// Reads what was seen.
    pub(crate) fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.lock().seen)
    }

    /// How many leases each worker owns.
    pub(crate) fn held(&self) -> BTreeMap<WorkerId, usize> {
        self.lock().held.clone()
    }

    /// How many leases exist.
    pub(crate) fn len(&self) -> usize {
        self.rows.leases().len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, time: Duration) {
        {
            let mut state = self.lock();
            state.in_flight += 1;
            state.seen.in_flight_max = state.seen.in_flight_max.max(state.in_flight);
        }
        sleep(time).await;
        self.lock().in_flight -= 1;
        if *self.is_dead.lock().unwrap_or_else(PoisonError::into_inner) {
            pending::<()>().await;
        }
    }

    /// Counts the units of a write to a row of this size.
    fn bill(&self, bytes: usize) {
        let units = bytes.div_ceil(1_024).max(1);
        self.lock().seen.write_units += f64::from(u32::try_from(units).unwrap_or(u32::MAX));
    }

    /// Counts the units of a write to the row of a stream, as it is after the write.
    async fn bill_bulletin(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        let row = self.rows.stream_start(stream).await?;
        self.bill(row.map_or(0, |row| STREAM_BYTES + bulletin_bytes(&row.bulletin)));
        Ok(())
    }

    fn throttled() -> LeaseStoreError {
        LeaseStoreError::Throttled { table: "large".to_owned(), source: "slow down".into() }
    }
}

impl State {
    /// Whether the table has capacity for one more write.
    fn admits(&mut self, capacity: Option<u32>, now: Moment) -> bool {
        let Some(capacity) = capacity.map(f64::from) else { return true };
        let (at, left) = self.tokens.unwrap_or((now, capacity));
        let left = now.since(at).as_secs_f64().mul_add(capacity, left).min(capacity);
        let is_admitted = left >= 1.0;
        self.tokens = Some((now, if is_admitted { left - 1.0 } else { left }));
        is_admitted
    }

    fn wrote(&mut self, write: &LeaseWrite, row: Option<&Lease>, now: Moment) {
        self.seen.writes += 1;
        let renewed = self.renewed.insert(write.key.clone(), now);
        if let (WriteKind::Renew { .. }, Some(before)) = (&write.kind, renewed) {
            self.seen.gap_max = self.seen.gap_max.max(now.since(before));
        }
        let owner = row.and_then(|row| row.owner.clone());
        let former = match &owner {
            Some(owner) => self.owners.insert(write.key.clone(), owner.clone()),
            None => self.owners.remove(&write.key),
        };
        if former == owner {
            return;
        }
        if let Some(held) = former.and_then(|former| self.held.get_mut(&former)) {
            *held -= 1;
        }
        if let Some(owner) = owner {
            let held = self.held.entry(owner).or_default();
            *held += 1;
            self.seen.held_max = self.seen.held_max.max(*held);
        }
    }
}

fn bulletin_bytes(bulletin: &Bulletin) -> usize {
    let moves = Bulletin::encode_moves(&bulletin.moves).len();
    moves + bulletin.news.iter().map(String::len).sum::<usize>()
}

#[async_trait]
impl LeaseStore for Table {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError> {
        self.call(self.speed.page).await;
        {
            let mut state = self.lock();
            if let Some(pages) = &mut state.throttled_pages {
                *pages += 1;
                if pages.is_multiple_of(3) {
                    return Err(Self::throttled());
                }
            }
        }
        let page = self.rows.scan(from, reading).await?;
        self.lock().seen.read_units += page.read_units;
        Ok(page)
    }

    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError> {
        self.call(self.speed.write).await;
        let page = self.rows.rows(keys, reading).await?;
        self.lock().seen.read_units += page.read_units;
        Ok(page)
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.call(self.speed.write).await;
        self.rows.get(key).await
    }

    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError> {
        self.call(self.speed.write).await;
        let now = SystemClock.now();
        if !self.lock().admits(self.speed.capacity, now) {
            return Err(Self::throttled());
        }
        self.bill(0);
        let is_take = matches!(write.kind, WriteKind::Take { .. });
        let expired = Duration::from_secs(9);
        let outcome = self.rows.write(write).await?;
        let mut state = self.lock();
        match &outcome {
            Conditional::Applied(row) => {
                let of_other = state.owners.get(&write.key).is_some_and(|it| *it != write.worker);
                let renewed = state.renewed.get(&write.key).copied();
                let is_live = renewed.is_some_and(|renewed| now.since(renewed) < expired);
                state.seen.takes += usize::from(is_take);
                // A lease that was handed over has its new owner's name already.
                state.seen.takes_of_live += usize::from(is_take && of_other && is_live);
                let is_gone = matches!(
                    write.kind,
                    WriteKind::DeleteEnded { .. } | WriteKind::DeleteUntouched
                );
                state.wrote(write, (!is_gone).then_some(row), now);
            }
            Conditional::Lost { .. } => state.seen.takes_lost += usize::from(is_take),
        }
        drop(state);
        Ok(outcome)
    }

    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError> {
        self.rows.stream_start(stream).await
    }

    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError> {
        self.call(self.speed.write).await;
        self.rows.create_stream_start(start).await
    }

    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError> {
        self.call(self.speed.write).await;
        self.rows.mark_bootstrapped(stream).await
    }

    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError> {
        self.call(self.speed.write).await;
        let published = self.rows.publish(stream, publication).await?;
        self.bill_bulletin(stream).await?;
        Ok(published)
    }

    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError> {
        if news.is_empty() {
            return Ok(());
        }
        self.call(self.speed.write).await;
        self.rows.ring(stream, news).await?;
        self.bill_bulletin(stream).await
    }

    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError> {
        self.call(self.speed.write).await;
        self.rows.session(worker).await
    }

    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError> {
        self.call(self.speed.write).await;
        let outcome = self.rows.write_session(write).await?;
        let row = match &outcome {
            Conditional::Applied(row) => Some(row),
            Conditional::Lost { found } => found.as_ref(),
        };
        self.bill(row.map_or(0, |row| SESSION_BYTES + row.progress.encode().len()));
        Ok(outcome)
    }

    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError> {
        self.call(self.speed.write).await;
        self.bill(0);
        self.rows.put_presence(presence).await
    }

    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError> {
        self.call(self.speed.write).await;
        self.bill(0);
        self.rows.delete_presence(worker, beat).await
    }
}
