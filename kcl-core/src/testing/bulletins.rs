//! The part of the suite of a [`LeaseStore`] that concerns the bulletin in a stream's row.

#![expect(clippy::missing_panics_doc, reason = "a suite says by a panic what is wrong")]

use std::collections::BTreeSet;
use std::slice;

use futures::future::join_all;
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{
    Bulletin, Conditional, Lease, LeaseKey, Publication, StreamName, StreamStart, WorkerId,
};

use crate::backend::{LeaseStore, Reading};
use crate::testing::lease_states::{WORKERS, new_lease, start, take, write};
use crate::testing::pages::pages;

/// Contract 7: a bulletin is published if its number is that of the stored one, and never twice.
pub async fn publications_do_as_the_model_says(store: &dyn LeaseStore) {
    let stream = stored(store).await.stream;
    let mut bulletin = Bulletin::EMPTY;
    let moves: [&[(&str, &str)]; 4] = [
        &[("shardId-000000000001", WORKERS[0]), ("a lease of another form", WORKERS[1])],
        &[("shardId-000000000001", WORKERS[2])],
        &[],
        &[("shardId-000000000002", WORKERS[0])],
    ];
    for (nth, moves) in (0..).zip(moves) {
        assert_lost(store, &stream, &publication(nth + 1, moves, []), &bulletin).await;
        let next = publication(nth, moves, []);
        let after = next.apply(&bulletin).expect("the number is right");
        let published = store.publish(&stream, &next).await.expect("publish");
        assert_eq!(published.as_ref(), Some(&after), "{next:?}");
        assert_stored(store, &stream, &after).await;
        assert_lost(store, &stream, &next, &after).await;
        let late = publication(nth, &[("late", WORKERS[2])], ["late"]);
        assert_lost(store, &stream, &late, &after).await;
        bulletin = after;
    }
}

/// Of publications with the same number, sent at once, exactly one is made.
pub async fn of_many_publishers_one_wins(store: &dyn LeaseStore) {
    let stream = stored(store).await.stream;
    for number in 0..5 {
        let publications: Vec<_> = (0..8)
            .map(|nth| {
                let by = WorkerId::from(format!("host-{nth}:00"));
                Publication { by, ..publication(number, &[], []) }
            })
            .collect();
        let made = join_all(publications.iter().map(|next| store.publish(&stream, next))).await;
        let made: Vec<_> = made.into_iter().filter_map(|made| made.expect("publish")).collect();
        let [winner] = <[Bulletin; 1]>::try_from(made).expect("exactly one publication is made");
        assert_stored(store, &stream, &winner).await;
    }
}

/// Contract 7: news are added to those that are there; a publication removes those that it heard,
/// and no others.
pub async fn news_stay_until_they_are_heard(store: &dyn LeaseStore) {
    let stream = stored(store).await.stream;
    let ring = async |news: &[&str], expected: &Bulletin| {
        store.ring(&stream, &set(news)).await.expect("ring");
        assert_stored(store, &stream, expected).await;
    };
    let with = |bulletin: &Bulletin, news: &[&str]| {
        let mut bulletin = bulletin.clone();
        bulletin.news = set(news);
        bulletin
    };
    ring(&[], &Bulletin::EMPTY).await;
    ring(&["a", "b"], &with(&Bulletin::EMPTY, &["a", "b"])).await;
    let before = with(&Bulletin::EMPTY, &["a", "b", "c"]);
    ring(&["b", "c"], &before).await;
    ring(&[], &before).await;
    let first = publication(0, &[("a", WORKERS[0])], ["b", "never rung"]);
    assert_lost(store, &stream, &Publication { number: 7, ..first.clone() }, &before).await;
    let published = store.publish(&stream, &first).await.expect("publish");
    let published = published.expect("the number is right");
    assert_eq!(Some(&published), first.apply(&before).as_ref());
    assert_eq!(published.news, set(&["a", "c"]), "what was not heard stays");
    ring(&["b"], &with(&published, &["a", "b", "c"])).await;
    let next = publication(1, &[], ["a", "b", "c"]);
    let published = store.publish(&stream, &next).await.expect("publish");
    let published = published.expect("the number is right");
    assert_eq!(published.news, BTreeSet::new(), "all are heard");
    ring(&["d"], &with(&published, &["d"])).await;
}

/// Without its row, a stream has no bulletin: publications and news make no row, and change none
/// that is not a stream's.
pub async fn there_is_no_bulletin_without_a_stream(store: &dyn LeaseStore) {
    store.prepare().await.expect("prepare");
    let lease = held(store, "shardId-000000000000").await;
    for name in ["orders", lease.key.as_str()] {
        let stream = StreamName::from(name);
        for number in 0..2 {
            let next = publication(number, &[("a", WORKERS[0])], ["a"]);
            assert_eq!(store.publish(&stream, &next).await.expect("publish"), None, "{name}");
        }
        store.ring(&stream, &set(&["a"])).await.expect("ring");
    }
    assert_eq!(store.stream_start(&"orders".into()).await.expect("read"), None, "no row is made");
    assert_eq!(store.get(&lease.key).await.expect("get").as_ref(), Some(&lease));
    let leases: Vec<_> = pages(store).await.into_iter().flat_map(|page| page.leases).collect();
    assert_eq!(leases, [lease], "the only row");
}

/// The other writes to a stream's row keep the bulletin, and a bulletin keeps the rest of the row
/// and the leases.
pub async fn a_bulletin_outlives_other_writes(store: &dyn LeaseStore) {
    let mut row = stored(store).await;
    let lease = held(store, "shardId-000000000000").await;
    let next = publication(0, &[(lease.key.as_str(), WORKERS[1])], []);
    let published = store.publish(&row.stream, &next).await.expect("publish");
    row.bulletin = published.expect("the number is right");
    assert_eq!(store.stream_start(&row.stream).await.expect("read").as_ref(), Some(&row));
    store.ring(&row.stream, &set(&[lease.key.as_str(), WORKERS[0]])).await.expect("ring");
    row.bulletin.news = set(&[lease.key.as_str(), WORKERS[0]]);
    store.mark_bootstrapped(&row.stream).await.expect("mark");
    row.bootstrapped = true;
    assert_eq!(store.stream_start(&row.stream).await.expect("read").as_ref(), Some(&row));
    let again = store.create_stream_start(&start(None)).await.expect("create again");
    assert_eq!(again, row, "a late first worker changes nothing");
    assert_stored(store, &row.stream, &row.bulletin).await;
    assert_eq!(store.get(&lease.key).await.expect("get"), Some(lease));
}

/// Stores the start of a stream. Its bulletin is empty, whatever the start says.
async fn stored(store: &dyn LeaseStore) -> StreamStart {
    store.prepare().await.expect("prepare");
    let (expected, mut new) = (start(None), start(None));
    new.bulletin.number = 5;
    new.bulletin.news = set(&["a"]);
    let stored = store.create_stream_start(&new).await.expect("create stream start");
    assert_eq!(stored, expected, "a new stream has no bulletin");
    stored
}

/// A lease that is held.
async fn held(store: &dyn LeaseStore, key: &str) -> Lease {
    let key = LeaseKey::from(key);
    let create = write(&key, WORKERS[0], 1, WriteKind::Create(new_lease(&key)));
    let lease = made(store, &create).await;
    made(store, &write(&key, WORKERS[0], 2, take(lease.counter))).await
}

async fn made(store: &dyn LeaseStore, write: &LeaseWrite) -> Lease {
    let outcome = store.write(write).await.expect("write");
    assert!(matches!(outcome, Conditional::Applied(_)), "{write:?}: {outcome:?}");
    outcome.row().cloned().expect("a row")
}

/// Asserts that a publication has no effect.
async fn assert_lost(
    store: &dyn LeaseStore,
    stream: &StreamName,
    publication: &Publication,
    stored: &Bulletin,
) {
    let published = store.publish(stream, publication).await.expect("publish");
    assert_eq!(published, None, "{publication:?}\non {stored:?}");
    assert_stored(store, stream, stored).await;
}

/// Asserts that every consistent read finds this bulletin.
async fn assert_stored(store: &dyn LeaseStore, stream: &StreamName, expected: &Bulletin) {
    let row = store.stream_start(stream).await.expect("read").expect("a row");
    assert_eq!(&row.bulletin, expected);
    let scanned = pages(store).await.into_iter().flat_map(|page| page.stream_starts);
    assert_eq!(scanned.collect::<Vec<_>>(), slice::from_ref(&row), "a scan");
    let page = store.rows(&[stream.to_string()], Reading::Consistent).await.expect("rows");
    assert_eq!(page.stream_starts, [row], "a batch read");
}

fn publication<const N: usize>(
    number: u64,
    moves: &[(&str, &str)],
    heard: [&str; N],
) -> Publication {
    let moves = moves.iter().map(|(key, to)| (LeaseKey::from(*key), WorkerId::from(*to)));
    let by = WorkerId::from(WORKERS[0]);
    let scan = number % 2 == 1;
    let second = scan.then(|| WorkerId::from(WORKERS[2]));
    Publication { number, by, second, moves: moves.collect(), scan, heard: set(&heard) }
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().copied().map(String::from).collect()
}
