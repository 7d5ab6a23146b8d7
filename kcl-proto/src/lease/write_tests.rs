//! The table "Writes" of `docs/internals/lease-protocol.md`, condition by condition and attribute
//! by attribute.

use super::*;
const N: LeaseCounter = LeaseCounter(7);

fn by_me(kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: Lease::sample().key, worker: "me".into(), number: 3, kind }
}

fn take() -> WriteKind {
    take_of(Field::Any)
}

fn take_of(last_write: Field<WriteStamp>) -> WriteKind {
    let (floor, expiry) = (LeaseCounter(0), Duration::from_secs(10));
    WriteKind::Take {
        counter: N,
        last_write,
        floor,
        expiry,
        owner_switches: 2,
        start_at: None,
        lives_by: Liveness::Counter,
        adopt: None,
    }
}

fn renew(next: Option<&str>) -> WriteKind {
    WriteKind::Renew { counter: N, next: next.map(WorkerId::from), progress: None }
}

fn end_shard(next: Option<&str>) -> WriteKind {
    let children = BTreeSet::from(["child".into()]);
    WriteKind::EndShard { counter: N, next: next.map(WorkerId::from), children, unmark: None }
}

fn begin() -> WriteKind {
    WriteKind::BeginHandover { counter: N, victim: "other".into() }
}

fn withdraw() -> WriteKind {
    WriteKind::Withdraw { counter: N, victim: "other".into() }
}

fn complete() -> WriteKind {
    WriteKind::CompleteHandover { counter: N, next: "next".into(), progress: None, unmark: None }
}

fn release() -> WriteKind {
    WriteKind::Release { counter: N, progress: None, unmark: None }
}

fn is(worker: &str) -> Field<WorkerId> {
    Field::Is(worker.into())
}

/// Checks the owner and the outgoing owner that a write requires.
#[track_caller]
fn check(kind: WriteKind, owner: Field<WorkerId>, checkpoint_owner: Field<WorkerId>) {
    let must_be_ended = matches!(kind, WriteKind::DeleteEnded { .. });
    let counter = if matches!(kind, WriteKind::DeleteUntouched) { LeaseCounter(0) } else { N };
    let last_write = Field::Any;
    let expected =
        Precondition::Row { counter, owner, checkpoint_owner, last_write, must_be_ended };
    assert_eq!(by_me(kind).precondition(), expected);
}

#[test]
fn each_write_requires_what_the_protocol_says() {
    use Field::{Absent, Any};
    check(take(), Any, Any);
    check(renew(None), is("me"), Absent);
    check(renew(Some("next")), is("next"), is("me"));
    check(begin(), is("other"), Absent);
    check(complete(), is("next"), is("me"));
    check(WriteKind::CancelHandover { counter: N }, Any, is("me"));
    check(withdraw(), is("me"), is("other"));
    check(release(), is("me"), Absent);
    check(end_shard(None), is("me"), Absent);
    check(end_shard(Some("next")), is("next"), is("me"));
    check(WriteKind::DeleteEnded { counter: N }, Any, Any);
    check(WriteKind::DeleteUntouched, Absent, Absent);
}

#[test]
fn write_applies_only_at_its_counter() {
    let row = by_me(WriteKind::Create(NewLease::sample())).apply(None).flatten().unwrap();
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

/// A row that was deleted by hand and created again reaches the same counter.
#[test]
fn take_applies_only_to_the_row_that_was_sighted() {
    let at = |row: &Lease| by_me(take_of(row.last_write.clone().into()));
    let untouched = Lease { counter: N, ..Lease::sample() };
    let rows = [untouched.clone(), untouched.clone().written_by("a"), untouched.written_by("b")];
    for (nth, sighted) in rows.iter().enumerate() {
        for (other, row) in rows.iter().enumerate() {
            assert_eq!(at(sighted).is_allowed(Some(row)), nth == other, "{nth} {other}");
        }
    }
}

#[test]
fn every_write_but_a_request_counts_and_stamps() {
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

#[test]
fn take_exceeds_its_floor() {
    for (floor, expected) in [(0, N.next()), (N.0, N.next()), (182, LeaseCounter(183))] {
        let floor = LeaseCounter(floor);
        let expiry = Duration::from_secs(10);
        let kind = WriteKind::Take {
            counter: N,
            last_write: Field::Any,
            floor,
            expiry,
            owner_switches: 1,
            start_at: None,
            lives_by: Liveness::Counter,
            adopt: None,
        };
        let write = LeaseWrite { key: Lease::sample().key, worker: "me".into(), number: 3, kind };
        let row = Lease { counter: N, ..Lease::sample() };
        let taken = write.apply(Some(&row)).unwrap().unwrap();
        assert_eq!(taken.counter, expected);
        assert!(write.made(&taken));
    }
}
