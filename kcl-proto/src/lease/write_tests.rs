//! The table "Writes" of `docs/internals/lease-protocol.md`, condition by condition and attribute by attribute.

use super::*;
use crate::model::HashKeyRange;

const N: LeaseCounter = LeaseCounter(7);

fn by_me(kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: LeaseKey::new("shard"), worker: "me".into(), number: 3, kind }
}

fn take() -> WriteKind {
    WriteKind::Take { counter: N, expiry: Duration::from_secs(10), owner_switches: 2 }
}

fn renew(next: Option<&str>) -> WriteKind {
    WriteKind::Renew { counter: N, next: next.map(WorkerId::from), progress: None }
}

fn end_shard(next: Option<&str>) -> WriteKind {
    let children = BTreeSet::from(["child".into()]);
    WriteKind::EndShard { counter: N, next: next.map(WorkerId::from), children }
}

fn begin() -> WriteKind {
    WriteKind::BeginHandOver { counter: N, victim: "other".into() }
}

fn withdraw() -> WriteKind {
    WriteKind::Withdraw { counter: N, victim: "other".into() }
}

fn complete() -> WriteKind {
    WriteKind::CompleteHandOver { counter: N, next: "next".into(), progress: None }
}

fn release() -> WriteKind {
    WriteKind::Release { counter: N, progress: None }
}

/// What a write requires, as words: `any` and `none` are what they say.
#[track_caller]
fn check(kind: WriteKind, owner: &str, checkpoint_owner: &str) {
    let field = |word| match word {
        "any" => Field::Any,
        "none" => Field::Absent,
        worker => Field::Is(WorkerId::new(worker)),
    };
    let must_be_ended = matches!(kind, WriteKind::DeleteEnded { .. });
    let counter = if matches!(kind, WriteKind::DeleteUntouched) { LeaseCounter(0) } else { N };
    let (owner, checkpoint_owner) = (field(owner), field(checkpoint_owner));
    let expected = Precondition::Row { counter, owner, checkpoint_owner, must_be_ended };
    assert_eq!(by_me(kind).precondition(), expected);
}

#[test]
fn each_write_requires_what_the_protocol_says() {
    check(take(), "any", "any");
    check(renew(None), "me", "none");
    check(renew(Some("next")), "next", "me");
    check(begin(), "other", "none");
    check(complete(), "next", "me");
    check(WriteKind::CancelHandOver { counter: N }, "any", "me");
    check(withdraw(), "me", "other");
    check(release(), "me", "none");
    check(end_shard(None), "me", "none");
    check(end_shard(Some("next")), "next", "me");
    check(WriteKind::DeleteEnded { counter: N }, "any", "any");
    check(WriteKind::DeleteUntouched, "none", "none");
}

#[test]
fn a_write_is_made_only_at_its_counter() {
    let new = NewLease {
        key: LeaseKey::new("shard"),
        checkpoint: Checkpoint::TrimHorizon,
        start_at: None,
        parents: BTreeSet::new(),
        hash_range: HashKeyRange::FULL,
    };
    let row = by_me(WriteKind::Create(new)).apply(None).flatten().unwrap();
    let row = |counter, owner: &str, checkpoint_owner: Option<&str>| Lease {
        owner: Some(owner.into()),
        checkpoint_owner: checkpoint_owner.map(WorkerId::from),
        counter,
        ..row.clone()
    };
    for (kind, owner, checkpoint_owner) in [
        (take(), "other", None),
        (renew(None), "me", None),
        (begin(), "other", None),
        (withdraw(), "me", Some("other")),
        (complete(), "next", Some("me")),
        (release(), "me", None),
        (end_shard(None), "me", None),
    ] {
        let write = by_me(kind);
        assert!(write.is_allowed(Some(&row(N, owner, checkpoint_owner))), "{write:?}");
        for counter in [LeaseCounter(6), LeaseCounter(8)] {
            let row = row(counter, owner, checkpoint_owner);
            assert!(!write.is_allowed(Some(&row)), "{write:?} at {counter}");
        }
        assert!(!write.is_allowed(None), "{write:?}");
    }
}

#[test]
fn every_write_but_the_start_of_a_hand_over_moves_the_counter_and_stamps_it() {
    for kind in [
        take(),
        renew(None),
        renew(Some("next")),
        complete(),
        withdraw(),
        release(),
        end_shard(None),
    ] {
        let write = by_me(kind);
        let Effect::Update(update) = write.effect() else { panic!("{write:?}") };
        let stamp = WriteStamp { counter: N.next(), worker: "me".into(), number: 3 };
        assert_eq!(update.stamp, Some(stamp), "{write:?}");
    }
    let Effect::Update(update) = by_me(begin()).effect() else { panic!("an update") };
    assert_eq!(update.stamp, None);
}
