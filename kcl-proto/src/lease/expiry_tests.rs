//! When leases expire, and which holders are dead.

use std::collections::BTreeSet;

use super::*;
use crate::lease::write::{LeaseWrite, WriteKind};
use crate::model::{Checkpoint, Liveness, ShardId};

/// A row of `other` with this counter that this library did not write.
fn row(counter: u64) -> Lease {
    let (owner, counter) = (Some("other".into()), LeaseCounter(counter));
    Lease { owner, counter, ..Lease::sample() }
}

/// A row of `other` with this counter and an expiry in seconds that this library wrote.
fn row_with_expiry(counter: u64, seconds: u64) -> Lease {
    let expiry = Some(Duration::from_secs(seconds));
    Lease { expiry, ..row(counter) }.written_by("other")
}

/// The watch of a worker with an expiry of 10 s that saw these rows, each at its second.
fn watch(seen: &[(u64, Lease)]) -> CounterWatch {
    let mut watch = CounterWatch::default();
    for (second, lease) in seen {
        watch.observe(lease, Duration::from_secs(10), Moment::at_secs(*second));
    }
    watch
}

/// Checks that the last row expires at `second`, and no second earlier.
#[track_caller]
fn check(seen: &[(u64, Lease)], second: u64) {
    let (last_seen, lease) = seen.last().unwrap();
    let watch = watch(seen);
    assert!(!watch.is_expired(lease, Moment::at_secs(second - 1)), "expired too early");
    assert!(watch.is_expired(lease, Moment::at_secs(second)), "not expired");
    assert_eq!(watch.next_expiry(Moment::at_secs(*last_seen)), Some(Moment::at_secs(second)));
    assert_eq!(watch.next_expiry(Moment::at_secs(second)), None, "expired already");
}

#[test]
fn lease_expires_after_a_whole_expiry_without_change() {
    check(&[(5, row(1)), (9, row(1))], 15);
}

#[test]
fn changed_counter_restarts_the_wait() {
    check(&[(5, row(1)), (9, row(2))], 19);
    check(&[(5, row(2)), (9, row(1))], 19);
    check(&[(5, row(1)), (7, row(2)), (9, row(1))], 19);
}

#[test]
fn request_is_no_sign_of_the_holder() {
    let asked = Lease { checkpoint_owner: Some("third".into()), ..row(1) };
    check(&[(5, row(1)), (9, asked)], 15);
}

#[test]
fn longer_expiry_counts_on_rows_of_ours() {
    check(&[(5, row_with_expiry(1, 30))], 35);
    check(&[(5, row_with_expiry(1, 2))], 15);
    let foreign = Lease { counter: LeaseCounter(2), ..row_with_expiry(1, 30) };
    check(&[(5, foreign)], 15);
}

#[test]
fn unknown_row_is_not_expired() {
    let watch = watch(&[(5, row(1))]);
    assert!(!watch.is_expired(&row(2), Moment::at_secs(100)));
    assert!(!CounterWatch::default().is_expired(&row(1), Moment::at_secs(100)));
}

#[test]
fn unowned_and_finished_leases_never_expire() {
    let unowned = Lease { owner: None, ..row(1) };
    let finished = Lease { checkpoint: Checkpoint::ShardEnd, ..row(1) };
    assert_eq!(watch(&[(5, unowned.clone())]).next_expiry(Moment::at_secs(5)), None);
    assert_eq!(watch(&[(5, finished)]).next_expiry(Moment::at_secs(5)), None);
    assert!(!watch(&[(5, unowned.clone())]).is_expired(&unowned, Moment::at_secs(100)));
}

#[test]
fn last_owner_of_a_finished_shard_is_not_dead() {
    let children = BTreeSet::from([ShardId::new("child")]);
    let kind = WriteKind::EndShard { counter: LeaseCounter(1), next: None, children, unmark: None };
    let end = LeaseWrite { key: key(), worker: "other".into(), number: 1, kind };
    let finished = end.apply(Some(&row(1))).unwrap().unwrap();
    assert_eq!(finished.owner, Some("other".into()));
    assert!(!watch(&[(5, finished.clone())]).is_expired(&finished, Moment::at_secs(100)));
}

#[test]
fn an_expiry_without_a_second_look_proves_nothing() {
    let (watch, lease) = (watch(&[(5, row(1))]), row(1));
    let is_proven = |scanned, now| {
        watch.is_proven_expired(&lease, Moment::at_secs(scanned), Moment::at_secs(now))
    };
    assert!(!is_proven(5, 100), "the only look was the first");
    assert!(!is_proven(9, 100), "a live holder may not have renewed between the looks");
    assert!(is_proven(10, 15));
    assert!(!is_proven(14, 14), "not expired yet");
}

#[test]
fn watch_that_starts_over_waits_for_a_whole_expiry() {
    let mut watch = watch(&[(5, row(1))]);
    watch.start_over();
    watch.observe(&row(1), Duration::from_secs(10), Moment::at_secs(60));
    assert!(!watch.is_expired(&row(1), Moment::at_secs(69)));
    assert!(watch.is_expired(&row(1), Moment::at_secs(70)));
}

/// The successive rows of a lease that `other` holds, as these writes leave them.
fn history<const N: usize>(writes: [(&str, WriteKind); N]) -> Vec<Lease> {
    let mut rows = vec![row_with_expiry(1, 10)];
    for (number, (worker, kind)) in (1..).zip(writes) {
        let write = LeaseWrite { key: key(), worker: worker.into(), number, kind };
        let made = write.apply(rows.last()).expect("its precondition holds");
        rows.push(made.expect("it leaves a row"));
    }
    rows
}

fn key() -> LeaseKey {
    Lease::sample().key
}

fn take(counter: u64) -> WriteKind {
    WriteKind::sample_take(LeaseCounter(counter), 1)
}

/// Whether a look at the first row and one at the last row prove `other` dead.
fn is_dead(rows: &[Lease]) -> bool {
    let (before, after) = (rows.first().unwrap(), rows.last().unwrap());
    let from = taken_from(before, after);
    assert!(from.is_none_or(|from| from.as_str() == "other"));
    from.is_some()
}

#[test]
fn take_right_after_the_holder_proves_it_dead() {
    assert!(is_dead(&history([("me", take(1))])));
    let renewal = || WriteKind::Renew { counter: LeaseCounter(2), next: None, progress: None };
    assert!(!is_dead(&history([("me", take(1)), ("me", renewal())])), "seen too late");
    let renewal = WriteKind::Renew { counter: LeaseCounter(1), next: None, progress: None };
    assert!(!is_dead(&history([("other", renewal)])));
    assert!(!is_dead(&history([])));
}

#[test]
fn holder_that_released_is_not_dead() {
    let counter = LeaseCounter(1);
    let release = WriteKind::Release { counter, progress: None, unmark: None };
    assert!(!is_dead(&history([("other", release), ("me", take(2))])));
    let begin = || WriteKind::BeginHandover { counter, victim: "other".into() };
    let next = || "me".into();
    let complete =
        || WriteKind::CompleteHandover { counter, next: next(), progress: None, unmark: None };
    assert!(!is_dead(&history([("me", begin())])));
    assert!(!is_dead(&history([("me", begin()), ("other", complete())])));
    let taken = history([("me", begin()), ("other", complete()), ("me", take(2))]);
    assert!(!is_dead(&taken));
    let withdrawn = WriteKind::Withdraw { counter, victim: "other".into() };
    assert!(!is_dead(&history([("me", begin()), ("me", withdrawn)])));
    let cancelled = WriteKind::CancelHandover { counter };
    assert!(!is_dead(&history([("me", begin()), ("other", cancelled)])));
}

#[test]
fn vanished_row_is_forgotten() {
    let mut watch = watch(&[(5, row(1))]);
    assert_eq!(watch.silent_for(&key(), Moment::at_secs(8)), Some(Duration::from_secs(3)));
    watch.forget(&key());
    assert_eq!(watch.silent_for(&key(), Moment::at_secs(9)), None);
}

#[test]
fn single_row_leaves_the_others_unchanged() {
    let mut watch = watch(&[(5, row(1))]);
    let second = Lease { key: "second".into(), ..row(1) };
    watch.observe(&second, Duration::from_secs(10), Moment::at_secs(7));
    watch.observe(&row(2), Duration::from_secs(10), Moment::at_secs(8));
    assert_eq!(watch.silent_for(&key(), Moment::at_secs(9)), Some(Duration::from_secs(1)));
    assert_eq!(
        watch.silent_for(&"second".into(), Moment::at_secs(9)),
        Some(Duration::from_secs(2))
    );
    assert_eq!(watch.next_expiry(Moment::at_secs(9)), Some(Moment::at_secs(17)));
}

/// Whether "observer" may take the lease `seconds` after it first saw the row, if `dead` is dead.
fn is_forsaken(lease: &Lease, seconds: u64, dead: &str) -> bool {
    let mut watch = CounterWatch::default();
    watch.observe(lease, Duration::from_secs(10), Moment::at_secs(0));
    let dead = BTreeSet::from([WorkerId::from(dead)]);
    watch.is_forsaken(lease, &dead, Moment::at_secs(seconds))
}

#[test]
fn lease_of_a_session_is_free_once_its_holder_is_dead() {
    let expiry = Some(Liveness::Session.stored(Duration::from_secs(10)));
    let marked = Lease { expiry, ..row(7) }.written_by("other");
    assert!(!is_forsaken(&marked, 1_000_000, "nobody"), "however long its counter stands");
    let mut watch = CounterWatch::default();
    watch.observe(&marked, Duration::from_secs(10), Moment::at_secs(0));
    assert_eq!(watch.next_expiry(Moment::at_secs(0)), None, "no plan waits for it");
    assert!(is_forsaken(&marked, 0, "other"));
    let owner = Some("next".into());
    let asked = Lease { owner, checkpoint_owner: Some("other".into()), ..marked.clone() };
    assert!(!is_forsaken(&asked, 0, "next"), "its holder lives");
    assert!(is_forsaken(&asked, 0, "other"));
    let ended = Lease { checkpoint: Checkpoint::ShardEnd, ..marked.clone() };
    assert!(!is_forsaken(&ended, 0, "other"));
    let foreign = Lease { last_write: None, ..marked };
    assert!(!is_forsaken(&foreign, 9, "other"), "the mark is of another row");
}

#[test]
fn lease_that_lives_by_its_counter_outlives_a_session() {
    let by_counter = Lease { expiry: Some(Duration::from_secs(10)), ..row(7) };
    let held = by_counter.clone().written_by("other");
    assert!(!is_forsaken(&held, 9, "other"), "its holder renews it");
    assert!(is_forsaken(&held, 10, "nobody"));
    let arrived = by_counter.written_by("former");
    assert!(!is_forsaken(&arrived, 9, "nobody"));
    assert!(is_forsaken(&arrived, 0, "other"), "nobody holds it, and its next owner is dead");
}
