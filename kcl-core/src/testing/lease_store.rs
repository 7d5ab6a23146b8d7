//! The conformance suite of [`LeaseStore`]: each function asserts a part of its contract.

#![expect(clippy::missing_panics_doc, reason = "a suite says by a panic what is wrong")]
#![expect(clippy::panic, reason = "a suite says by a panic what is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{
    Conditional, Lease, LeaseKey, Presence, Session, StartPosition, StreamName, Timestamp, WorkerId,
};
use tokio::time::sleep;

use crate::backend::{LeaseStore, LeaseStoreError, Page, ROWS_MAX, Reading};
use crate::testing::bulletins;
use crate::testing::lease_states::{
    State, WORKERS, attempts, new_lease, prepared, progress, start, states, take, violations, write,
};
pub use crate::testing::pages::pages;
use crate::testing::sessions;

/// How often a scan is repeated until it shows what was written.
const SCANS_MAX: u32 = 100;
/// The pause between two such scans.
const SCAN_PAUSE: Duration = Duration::from_millis(50);

/// Asserts the whole contract. `make` makes an empty store each time.
pub async fn check<F, Fut>(make: F)
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = Arc<dyn LeaseStore>> + Send,
{
    a_new_store_is_empty(&*make().await).await;
    preparing_again_changes_nothing(&*make().await).await;
    writes_do_as_the_model_says(&*make().await).await;
    a_write_sent_again_changes_nothing(&*make().await).await;
    of_many_writers_one_wins(&*make().await).await;
    every_answered_write_is_read(&*make().await).await;
    a_scan_finds_every_row(&*make().await).await;
    rows_of_every_kind_are_read_by_their_keys(&*make().await).await;
    a_consistent_batch_read_sees_every_answered_write(&*make().await).await;
    too_many_keys_are_refused(&*make().await).await;
    a_presence_is_overwritten_and_removed(&*make().await).await;
    sessions::session_writes_do_as_the_model_says(&*make().await).await;
    sessions::a_session_is_no_presence(&*make().await).await;
    a_stream_start_is_stored_once(&*make().await).await;
    a_stream_is_marked_as_bootstrapped(&*make().await).await;
    bulletins::publications_do_as_the_model_says(&*make().await).await;
    bulletins::of_many_publishers_one_wins(&*make().await).await;
    bulletins::news_stay_until_they_are_heard(&*make().await).await;
    bulletins::there_is_no_bulletin_without_a_stream(&*make().await).await;
    bulletins::a_bulletin_outlives_other_writes(&*make().await).await;
}

/// A new store has no rows: it says so, and is not at a loss.
pub async fn a_new_store_is_empty(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let key = LeaseKey::from("shardId-000000000000");
    assert_eq!(store.get(&key).await.expect("get"), None);
    let stream = StreamName::from("orders");
    assert_eq!(store.stream_start(&stream).await.expect("stream start"), None);
    let pages = pages(store).await;
    let rows = pages.iter().map(|page| {
        let known = page.leases.len() + page.sessions.len() + page.stream_starts.len();
        known + page.java.len() + page.unreadable.len()
    });
    assert_eq!(rows.sum::<usize>(), 0, "make() must give an empty store: {pages:?}");
    let gone = WorkerId::from(WORKERS[0]);
    store.delete_presence(&gone, None).await.expect("removing what is not there is no error");
}

/// `prepare` on a store in use keeps what is there.
pub async fn preparing_again_changes_nothing(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let key = LeaseKey::from("shardId-000000000000");
    let lease = make(store, &write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)))).await;
    store.prepare().await.expect("prepare again");
    assert_eq!(store.get(&key).await.expect("get"), Some(lease));
}

/// Contract 1 and 2: on every state of a row, every write is made or lost as
/// [`LeaseWrite::precondition`] says; made, it leaves the row that [`LeaseWrite::effect`] says;
/// lost, it changes nothing and returns the row found.
pub async fn writes_do_as_the_model_says(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let mut keys = (0..).map(|n| LeaseKey::from(format!("shardId-{n:012}")));
    let mut key = || keys.next().expect("keys do not run out");
    for state in 0..states(&key()).len() {
        let mut row = Prepared::new(store, key(), state).await;
        for (worker, kind) in attempts(&row.key, row.lease.as_ref()) {
            if row.attempt(store, worker, kind).await {
                row = Prepared::new(store, key(), state).await;
            }
        }
        row.assert_unchanged(store).await;
    }
}

/// A row in one of the states, on which writes are tried.
struct Prepared {
    key: LeaseKey,
    state: State,
    lease: Option<Lease>,
    number: u64,
}

impl Prepared {
    async fn new(store: &dyn LeaseStore, key: LeaseKey, state: usize) -> Self {
        let mut state = states(&key).swap_remove(state);
        let mut row =
            Self { key, lease: None, number: 0, state: State { script: vec![], ..state } };
        for (worker, kind) in state.script.drain(..) {
            let number = row.next_number();
            let write = write(&row.key, worker.as_str(), number, kind);
            row.lease = Some(make(store, &write).await);
        }
        row.assert_unchanged(store).await;
        row
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Tries a write. Whether it was made, so that this row is used up.
    async fn attempt(&mut self, store: &dyn LeaseStore, worker: &str, kind: WriteKind) -> bool {
        let mut kind = kind;
        if let WriteKind::Create(new) = &mut kind {
            new.key = self.key.clone();
        }
        let number = self.next_number();
        let write = write(&self.key, worker, number, kind);
        let row = self.lease.as_ref();
        let context = format!(
            "{write:?}\non a row that is {}: {row:?}\nviolates: {:?}",
            self.state.name,
            violations(&write, row),
        );
        let outcome =
            store.write(&write).await.unwrap_or_else(|error| panic!("{context}\n{error}"));
        let Some(after) = write.apply(row) else {
            let expected = Conditional::Lost { found: self.lease.clone() };
            assert_eq!(outcome, expected, "must be lost, with the row found:\n{context}");
            return false;
        };
        let answer = after.as_ref().or(row).expect("a write that is allowed makes or finds a row");
        assert_eq!(outcome, Conditional::Applied(answer.clone()), "must be made:\n{context}");
        let read = store.get(&self.key).await.unwrap_or_else(|error| panic!("{context}\n{error}"));
        assert_eq!(read, after, "the row after the write:\n{context}");
        true
    }

    async fn assert_unchanged(&self, store: &dyn LeaseStore) {
        let read = store.get(&self.key).await.expect("get");
        assert_eq!(read, self.lease, "only lost writes since: the row was {}", self.state.name);
    }
}

/// The same write again loses, and the row found shows that it counted.
pub async fn a_write_sent_again_changes_nothing(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let key = LeaseKey::from("shardId-000000000000");
    let create = write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)));
    let lease = make(store, &create).await;
    assert_lost_to_itself(store, &create, &lease).await;
    let take = write(&key, WORKERS[0], 2, take(lease.counter));
    let lease = make(store, &take).await;
    assert_lost_to_itself(store, &take, &lease).await;
    let kind = WriteKind::Renew { counter: lease.counter, next: None, progress: Some(progress(5)) };
    let renew = write(&key, WORKERS[0], 3, kind);
    let lease = make(store, &renew).await;
    assert_lost_to_itself(store, &renew, &lease).await;
    assert!(!take.made(&lease), "the row no longer shows an older write");
    let kind = WriteKind::EndShard {
        counter: lease.counter,
        next: None,
        children: [].into(),
        unmark: None,
    };
    let lease = make(store, &write(&key, WORKERS[0], 4, kind)).await;
    let delete = write(&key, WORKERS[0], 5, WriteKind::DeleteEnded { counter: lease.counter });
    make(store, &delete).await;
    let again = store.write(&delete).await.expect("write");
    assert_eq!(again, Conditional::Lost { found: None }, "what is gone cannot go again");
}

/// Of writers with the same precondition, sent at once, exactly one finds it fulfilled.
pub async fn of_many_writers_one_wins(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    for round in 0..5 {
        let key = LeaseKey::from(format!("shardId-{round:012}"));
        let creates = (0..8).map(|n| {
            let worker = format!("host-{n}:00");
            write(&key, &worker, 1, WriteKind::Create(new_lease(&key)))
        });
        let lease = one_winner(store, creates.collect()).await;
        let takes = (0..8).map(|n| write(&key, &format!("host-{n}:00"), 2, take(lease.counter)));
        let lease = one_winner(store, takes.collect()).await;
        assert_eq!(store.get(&key).await.expect("get"), Some(lease));
    }
}

/// Contract 3: `get` sees every write that was answered, with each of its values.
pub async fn every_answered_write_is_read(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let key = LeaseKey::from("shardId-000000000000");
    let mut lease =
        make(store, &write(&key, WORKERS[2], 1, WriteKind::Create(new_lease(&key)))).await;
    lease = make(store, &write(&key, WORKERS[2], 2, take(lease.counter))).await;
    let states: [Option<&'static [u8]>; 4] = [None, Some(b""), Some(&[0, 255, 128]), Some(b"x")];
    for (number, state) in (3..).zip(states.into_iter().cycle().take(40)) {
        let progress =
            Some(if number % 5 == 0 { progress(number.into()) } else { prepared(state) });
        let kind = WriteKind::Renew { counter: lease.counter, next: None, progress };
        lease = make(store, &write(&key, WORKERS[2], number, kind)).await;
        assert_eq!(store.get(&key).await.expect("get"), Some(lease.clone()));
    }
}

/// Contract 4: the pages of a scan have every row once, each as it was written.
///
/// The rows are large, so that a store with DynamoDB's limit of 1 MiB needs several pages.
pub async fn a_scan_finds_every_row(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let mut leases = BTreeMap::new();
    for n in 0..30 {
        let key = LeaseKey::from(format!("shardId-{n:012}"));
        let create = write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)));
        let lease = make(store, &create).await;
        let lease = make(store, &write(&key, WORKERS[0], 2, take(lease.counter))).await;
        let progress = Some(prepared(Some(&[7; 60_000])));
        let kind = WriteKind::Renew { counter: lease.counter, next: None, progress };
        leases.insert(key.clone(), make(store, &write(&key, WORKERS[0], 3, kind)).await);
    }
    let presence = presence(WORKERS[0], 1);
    store.put_presence(&presence).await.expect("put presence");
    let row = Session::from(presence);
    let start = store.create_stream_start(&start(None)).await.expect("create stream start");
    until_scanned(store, |pages| {
        let found: Vec<&Lease> = pages.iter().flat_map(|page| &page.leases).collect();
        found.len() == leases.len()
            && found.iter().all(|lease| leases.get(&lease.key) == Some(*lease))
            && pages.iter().flat_map(|page| &page.sessions).eq([&row])
            && pages.iter().flat_map(|page| &page.stream_starts).eq([&start])
            && pages.iter().all(|page| page.java.is_empty() && page.unreadable.is_empty())
    })
    .await;
}

/// A batch read has the rows of its keys, of any kind, and no others.
pub async fn rows_of_every_kind_are_read_by_their_keys(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let create = async |key: &str| {
        let key = LeaseKey::from(key);
        make(store, &write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)))).await
    };
    let (first, _, third) = (create("1").await, create("2").await, create("3").await);
    let presences = [presence(WORKERS[0], 1), presence(WORKERS[1], 1)];
    for presence in &presences {
        store.put_presence(presence).await.expect("put presence");
    }
    let start = store.create_stream_start(&start(None)).await.expect("create stream start");
    let twice = ["3", "missing", WORKERS[1], "orders", "1", "1", "missing", WORKERS[1]];
    let keys = twice.map(String::from);
    for reading in [Reading::Consistent, Reading::Eventual] {
        let page = until_read(store, &keys, reading, 4).await;
        assert_eq!(sorted(page.leases), [first.clone(), third.clone()]);
        assert_eq!(page.sessions, [Session::from(presences[1].clone())]);
        assert_eq!(page.stream_starts, slice::from_ref(&start));
        assert!(page.java.is_empty() && page.unreadable.is_empty());
        let none = until_read(store, &["missing".to_owned()], reading, 0).await;
        assert_eq!(none, Page { read_units: none.read_units, ..Page::default() });
        assert_eq!(until_read(store, &[], reading, 0).await, Page::default(), "nothing is read");
    }
}

/// Contract 4: a consistent batch read sees every write that was answered.
pub async fn a_consistent_batch_read_sees_every_answered_write(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let key = LeaseKey::from("shardId-000000000000");
    let keys = [key.to_string(), "shardId-000000000001".to_owned()];
    let create = write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)));
    let mut lease = make(store, &create).await;
    for number in 2..30 {
        let kind = match lease.owner {
            None => take(lease.counter),
            Some(_) => {
                let progress = Some(progress(number.into()));
                WriteKind::Renew { counter: lease.counter, next: None, progress }
            }
        };
        lease = make(store, &write(&key, WORKERS[0], number, kind)).await;
        let page = until_read(store, &keys, Reading::Consistent, 1).await;
        assert_eq!(page.leases, [lease.clone()]);
    }
}

/// A batch read of [`ROWS_MAX`] keys is possible, and one of more is refused.
pub async fn too_many_keys_are_refused(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let mut keys: Vec<_> = (0..ROWS_MAX).map(|n| format!("shardId-{n:012}")).collect();
    keys.extend(keys.first().cloned());
    until_read(store, &keys, Reading::Consistent, 0).await;
    keys.push("one more".to_owned());
    let refused = store.rows(&keys, Reading::Consistent).await;
    assert!(matches!(refused, Err(LeaseStoreError::Refused { .. })), "{refused:?}");
}

/// A worker's row is what was put last; removing it removes it alone.
pub async fn a_presence_is_overwritten_and_removed(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    for (worker, beat) in [(WORKERS[0], 1), (WORKERS[1], 7), (WORKERS[0], u64::MAX)] {
        store.put_presence(&presence(worker, beat)).await.expect("put presence");
    }
    let stored = |pages: &[Page], expected: &[Presence]| {
        let mut found: Vec<_> =
            pages.iter().flat_map(|page| page.sessions.iter().map(Session::presence)).collect();
        found.sort_by(|a, b| a.worker.cmp(&b.worker));
        found == expected
    };
    let both = [presence(WORKERS[0], u64::MAX), presence(WORKERS[1], 7)];
    until_scanned(store, |pages| stored(pages, &both)).await;
    let worker = WorkerId::from(WORKERS[0]);
    store.delete_presence(&worker, Some(99)).await.expect("another heartbeat is no error");
    until_scanned(store, |pages| stored(pages, &both)).await;
    for beat in [Some(u64::MAX), None] {
        store.delete_presence(&worker, beat).await.expect("delete presence");
    }
    until_scanned(store, |pages| stored(pages, &both[1..])).await;
}

/// The start of a stream is stored once; later calls return what is stored.
pub async fn a_stream_start_is_stored_once(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let first = start(Some("stream-id"));
    assert_eq!(store.create_stream_start(&first).await.expect("create"), first);
    let mut late = first.clone();
    late.position = StartPosition::TrimHorizon;
    assert_eq!(store.create_stream_start(&late).await.expect("create again"), first);
    assert_eq!(store.stream_start(&first.stream).await.expect("read"), Some(first.clone()));
    let mut other = late;
    (other.stream, other.id) = (StreamName::from("payments"), None);
    assert_eq!(store.create_stream_start(&other).await.expect("create another"), other);
    assert_eq!(store.stream_start(&first.stream).await.expect("read"), Some(first));
}

/// A stream is marked as bootstrapped; nothing else of it changes, and no row is made for it.
pub async fn a_stream_is_marked_as_bootstrapped(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let unknown = StreamName::from("unknown");
    store.mark_bootstrapped(&unknown).await.expect_err("there is nothing to mark");
    assert_eq!(store.stream_start(&unknown).await.expect("read"), None, "no row is made");
    let stored = store.create_stream_start(&start(None)).await.expect("create");
    let mut marked = stored;
    marked.bootstrapped = true;
    for _ in 0..2 {
        store.mark_bootstrapped(&marked.stream).await.expect("mark");
        assert_eq!(store.stream_start(&marked.stream).await.expect("read"), Some(marked.clone()));
    }
    let again = store.create_stream_start(&start(None)).await.expect("create again");
    assert_eq!(again, marked, "a late first worker learns that all is done");
}

/// Makes a write that must succeed.
async fn make(store: &dyn LeaseStore, write: &LeaseWrite) -> Lease {
    match store.write(write).await {
        Ok(Conditional::Applied(lease)) => lease,
        Ok(Conditional::Lost { found }) => panic!("{write:?}\nwas lost to {found:?}"),
        Err(error) => panic!("{write:?}\nfailed: {error}"),
    }
}

async fn assert_lost_to_itself(store: &dyn LeaseStore, write: &LeaseWrite, lease: &Lease) {
    assert!(write.made(lease), "{write:?}\nleft no stamp on {lease:?}");
    let again = store.write(write).await.expect("write again");
    assert_eq!(again, Conditional::Lost { found: Some(lease.clone()) });
}

/// Sends all writes at once. The one that wins must be what the losers find.
async fn one_winner(store: &dyn LeaseStore, writes: Vec<LeaseWrite>) -> Lease {
    let outcomes = join_all(writes.iter().map(|write| store.write(write))).await;
    let mut won = vec![];
    let mut found = BTreeSet::new();
    for outcome in outcomes {
        match outcome.expect("write") {
            Conditional::Applied(lease) => won.push(lease),
            Conditional::Lost { found: row } => {
                let row = row.expect("a loser finds the winner's row");
                found.insert(row.last_write.map(|stamp| stamp.to_string()));
            }
        }
    }
    let [winner] = <[Lease; 1]>::try_from(won).expect("exactly one write wins");
    let stamp = winner.last_write.as_ref().map(ToString::to_string);
    assert_eq!(found, [stamp].into(), "every loser finds the winner's row");
    winner
}

/// Scans until `shown` holds, a bounded number of times: a scan may be stale.
async fn until_scanned(store: &dyn LeaseStore, shown: impl Fn(&[Page]) -> bool + Send + Sync) {
    for _ in 0..SCANS_MAX {
        if shown(&pages(store).await) {
            return;
        }
        sleep(SCAN_PAUSE).await;
    }
    panic!("a scan never showed what was written: {:?}", pages(store).await);
}

/// Reads these rows until `expected` of them are read, a bounded number of times: a batch read may
/// be stale, and may leave rows out.
async fn until_read(
    store: &dyn LeaseStore,
    keys: &[String],
    reading: Reading,
    expected: usize,
) -> Page {
    for _ in 0..SCANS_MAX {
        let page = store.rows(keys, reading).await.expect("rows");
        assert_eq!(page.next, None, "a batch read has one page");
        assert!(page.read_units.is_finite() && page.read_units >= 0.0, "{}", page.read_units);
        let read = page.leases.len() + page.sessions.len() + page.stream_starts.len();
        if read == expected {
            return page;
        }
        sleep(SCAN_PAUSE).await;
    }
    panic!("a batch read never had {expected} rows of {keys:?}");
}

fn sorted(mut leases: Vec<Lease>) -> Vec<Lease> {
    leases.sort_by(|one, next| one.key.cmp(&next.key));
    leases
}

fn presence(worker: &str, beat: u64) -> Presence {
    let last_update = Timestamp::from_epoch_millis(1_767_225_630_000);
    Presence::new(WorkerId::from(worker), beat, Duration::from_secs(10), last_update)
}
