//! The part of the suite of a [`LeaseStore`] that concerns workers' own rows.

#![expect(clippy::missing_panics_doc, reason = "a suite says by a panic what is wrong")]
#![expect(clippy::panic, reason = "a suite says by a panic what is wrong")]

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_proto::lease::session_write::{SessionWrite, SessionWriteKind};
use kcl_proto::model::{
    Conditional, FencingToken, KeptProgress, LeaseCounter, LeaseKey, Position, Presence,
    SequenceNumber, Session, SessionProgress, Timestamp, WorkerId,
};

use crate::backend::LeaseStore;
use crate::testing::pages::pages;

/// The worker whose row is written, and another one.
const WORKERS: [&str; 2] = ["host-a:000000000000000a", "host-b:000000000000000b"];

/// A state of a row: its name and the writes that lead there.
type State = (&'static str, Vec<SessionWriteKind>);

/// Contract 1 and 2 for sessions: on every state of a worker's row, every write is made or lost as
/// [`SessionWrite::precondition`] says; made, it leaves the row that [`SessionWrite::effect`] says;
/// lost, it changes nothing and returns the row found.
pub async fn session_writes_do_as_the_model_says(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let mut rows = 0;
    for (name, script) in states() {
        for kind in attempts() {
            let worker = WorkerId::from(format!("{}-{rows}", WORKERS[0]));
            rows += 1;
            let row = prepared(store, &worker, &script).await;
            let write = SessionWrite { session: worker.clone(), kind };
            let context = format!("{write:?}\non a row that is {name}: {row:?}");
            let outcome = store.write_session(&write).await;
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}\n{error}"));
            let (expected, after) = match write.apply(row.as_ref()) {
                None => (Conditional::Lost { found: row.clone() }, row),
                Some(after) => {
                    let answer = after.clone().or(row).expect("a row was found or made");
                    (Conditional::Applied(answer), after)
                }
            };
            assert_eq!(outcome, expected, "{context}");
            assert_eq!(store.session(&worker).await.expect("session"), after, "{context}");
        }
    }
}

/// A session's row is never overwritten or deleted as if it were the presence of a worker whose
/// leases live by their counters, and a presence is never written as if it were a session.
pub async fn a_session_is_no_presence(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let [worker, other] = WORKERS.map(WorkerId::from);
    assert_eq!(store.session(&worker).await.expect("session"), None);
    let opened = prepared(store, &worker, &[open()]).await;
    for beat in [None, Some(1)] {
        store.delete_presence(&worker, beat).await.expect("a session stays");
    }
    assert_eq!(store.session(&worker).await.expect("session"), opened);
    let presence = Presence::new(other.clone(), 1, Duration::from_secs(10), last_update(0));
    store.put_presence(&presence).await.expect("put presence");
    let row = Some(Session::from(presence));
    for kind in attempts() {
        let write = SessionWrite { session: other.clone(), kind };
        let outcome = store.write_session(&write).await.expect("write");
        assert_eq!(outcome, Conditional::Lost { found: row.clone() }, "{write:?}");
    }
    let pages = pages(store).await;
    let mut found: Vec<_> = pages.into_iter().flat_map(|page| page.sessions).collect();
    found.sort_by(|one, next| one.worker.cmp(&next.worker));
    assert_eq!(found, [opened, row].map(|row| row.expect("a row")), "a scan has both");
}

/// The row of a worker after these writes, which all count.
async fn prepared(
    store: &dyn LeaseStore,
    worker: &WorkerId,
    script: &[SessionWriteKind],
) -> Option<Session> {
    let mut row = None;
    for kind in script {
        let write = SessionWrite { session: worker.clone(), kind: kind.clone() };
        match store.write_session(&write).await.expect("write") {
            Conditional::Applied(session) => row = Some(session),
            Conditional::Lost { found } => panic!("{write:?}\nwas lost to {found:?}"),
        }
    }
    row
}

/// The states of a worker's own row, each reached by writes alone.
fn states() -> Vec<State> {
    let condemn = |beat| SessionWriteKind::Condemn { beat, by: WorkerId::from(WORKERS[1]) };
    vec![
        ("missing", vec![]),
        ("open", vec![open()]),
        ("alive", vec![open(), beat(1, false)]),
        ("leaving", vec![open(), beat(1, false), beat(2, true)]),
        ("alive without progress", vec![open(), beat(1, false), empty(2)]),
        ("asked", vec![open(), ask(0), beat(1, false), ask(1)]),
        ("condemned", vec![open(), beat(1, false), condemn(2)]),
        ("resigned", vec![open(), resign(1)]),
    ]
}

fn attempts() -> Vec<SessionWriteKind> {
    let with = |beat_before: u64| {
        [
            beat(beat_before, false),
            beat(beat_before, true),
            empty(beat_before),
            SessionWriteKind::Condemn { beat: beat_before, by: WorkerId::from(WORKERS[1]) },
            resign(beat_before),
            SessionWriteKind::Close { beat: beat_before },
        ]
    };
    let any = [open(), SessionWriteKind::Bury, ask(0), ask(2)];
    any.into_iter().chain((1..=3).flat_map(with)).collect()
}

fn open() -> SessionWriteKind {
    let expiry = Duration::from_millis(12_345);
    SessionWriteKind::Open { number: 1, expiry, last_update: last_update(0) }
}

fn beat(beat: u64, is_leaving: bool) -> SessionWriteKind {
    let (progress, last_update) = (progress(beat), last_update(beat));
    let heard = (0..beat).map(lease).collect();
    SessionWriteKind::Beat { beat, number: beat + 7, progress, heard, is_leaving, last_update }
}

/// A heartbeat of a worker that holds nothing.
fn empty(beat: u64) -> SessionWriteKind {
    let (progress, last_update) = (SessionProgress::EMPTY, last_update(beat));
    let (number, heard, is_leaving) = (beat + 7, BTreeSet::new(), false);
    SessionWriteKind::Beat { beat, number, progress, heard, is_leaving, last_update }
}

fn ask(nth: u64) -> SessionWriteKind {
    SessionWriteKind::Ask { keys: [lease(nth), lease(nth + 5)].into() }
}

fn lease(nth: u64) -> LeaseKey {
    LeaseKey::from(format!("lease-{nth}"))
}

fn resign(beat: u64) -> SessionWriteKind {
    SessionWriteKind::Resign { beat, number: beat + 70, progress: progress(beat + 10) }
}

fn progress(number: u64) -> SessionProgress {
    let entry = |position: u128| KeptProgress {
        token: FencingToken::from(LeaseCounter(number)),
        position: Some(Position { sequence: SequenceNumber::from(position), sub_sequence: number }),
        caught_up_at: Some(Timestamp::from_epoch_millis(1_767_225_630_456)),
    };
    let keys = ["shardId-000000000001", "a lease of another form"].map(LeaseKey::from);
    SessionProgress(keys.into_iter().zip([entry(u128::MAX), entry(number.into())]).collect())
}

fn last_update(seconds: u64) -> Timestamp {
    Timestamp::from_epoch_seconds(1_767_225_630 + i64::try_from(seconds).unwrap_or(0))
}
