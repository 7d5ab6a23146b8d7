//! Where an application starts, and which streams are the same.

use super::*;
use crate::shards::family::{Member as _, ShardState as _, shard};

fn description() -> StreamDescription {
    let created = Timestamp::from_epoch_seconds(100);
    StreamDescription { created, ..StreamDescription::sample() }
}

#[test]
fn latest_is_stored_as_the_time_of_the_service() {
    let check = |position, expected| {
        let start = start(position, &description());
        assert_eq!((start.position, start.bootstrapped), (expected, false));
    };
    check(InitialPosition::Latest, StartPosition::AtTimestamp(Timestamp::from_epoch_seconds(500)));
    check(
        InitialPosition::AtTimestamp(Timestamp::from_epoch_seconds(7)),
        StartPosition::AtTimestamp(Timestamp::from_epoch_seconds(7)),
    );
    check(InitialPosition::TrimHorizon, StartPosition::TrimHorizon);
}

#[test]
fn missing_leases_leave_out_what_exists_and_begin_elsewhere_for_each_worker() {
    let start = start(InitialPosition::TrimHorizon, &description());
    let listed: Vec<Shard> = (0..100).map(shard).collect();
    let existing: BTreeSet<_> = listed.iter().take(40).map(|it| LeaseKey::from(&it.id)).collect();
    let missing = |worker: &str| {
        let missing = missing_leases(&start, &listed, &existing, &worker.into());
        missing.into_iter().map(|lease| lease.key).collect::<Vec<_>>()
    };
    let (ann, ben) = (missing("ann:1"), missing("ben:1"));
    assert_ne!(ann, ben);
    let sorted = |keys: &[LeaseKey]| keys.iter().cloned().collect::<BTreeSet<_>>();
    let expected: BTreeSet<_> = listed.iter().skip(40).map(|it| LeaseKey::from(&it.id)).collect();
    assert_eq!((sorted(&ann), sorted(&ben)), (expected.clone(), expected));
    assert_eq!(missing_leases(&start, &[], &existing, &"ann:1".into()).len(), 0);
}

/// How a stored start and a stream compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Same,
    Other,
    Recreated,
}

/// Checks a stored start that `change` made differ from a stream with the id `id`.
#[track_caller]
fn check_identity(change: impl FnOnce(&mut StreamStart), id: Option<&str>, expected: Identity) {
    let description = StreamDescription { id: id.map(Into::into), ..description() };
    let mut stored = start(InitialPosition::Latest, &description);
    change(&mut stored);
    let found = match check(&stored, &description) {
        Ok(()) => Identity::Same,
        Err(StreamMismatch::Other { .. }) => Identity::Other,
        Err(StreamMismatch::Recreated { .. }) => Identity::Recreated,
    };
    assert_eq!(found, expected);
}

#[test]
fn recreated_stream_is_recognized() {
    check_identity(|_| {}, Some("a"), Identity::Same);
    check_identity(|start| start.arn = "arn:2".into(), None, Identity::Other);
    check_identity(|start| start.id = Some("b".into()), Some("a"), Identity::Recreated);
    check_identity(|start| start.id = None, Some("a"), Identity::Same);
    check_identity(|start| start.id = Some("b".into()), None, Identity::Same);
}

#[test]
fn creation_times_may_differ_by_rounding() {
    let created = |millis| {
        move |start: &mut StreamStart| start.created = Timestamp::from_epoch_millis(millis)
    };
    check_identity(created(99_000), None, Identity::Same);
    check_identity(created(101_000), None, Identity::Same);
    check_identity(created(98_999), None, Identity::Recreated);
    check_identity(created(101_001), None, Identity::Recreated);
}

#[track_caller]
fn check_first(position: InitialPosition, expected: (Checkpoint, Option<Timestamp>)) {
    let listed = [
        shard(2).child_of([0]).hash_keys(8, 15),
        shard(1).child_of([0]).hash_keys(0, 7),
        shard(0).closed(),
    ];
    let found = first_leases(&start(position, &description()), &listed);
    let of = |id: &str, parents: &[&str], shard: &Shard| NewLease {
        key: id.into(),
        checkpoint: expected.0,
        start_at: expected.1,
        parents: parents.iter().map(|parent| (*parent).into()).collect(),
        hash_range: shard.hash_range,
    };
    let expected =
        [of("0", &[], &listed[2]), of("1", &["0"], &listed[1]), of("2", &["0"], &listed[0])];
    assert_eq!(found, expected);
}

#[test]
fn first_leases_start_where_the_stream_does() {
    check_first(InitialPosition::TrimHorizon, (Checkpoint::TrimHorizon, None));
    check_first(
        InitialPosition::Latest,
        (Checkpoint::AtTimestamp, Some(Timestamp::from_epoch_seconds(500))),
    );
}

#[test]
fn shards_are_listed_as_of_the_start() {
    let filter = |position| filter(&start(position, &description()));
    assert_eq!(filter(InitialPosition::TrimHorizon), ShardFilter::All);
    assert_eq!(
        filter(InitialPosition::Latest),
        ShardFilter::OpenAt(Timestamp::from_epoch_seconds(500))
    );
}
