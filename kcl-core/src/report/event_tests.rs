//! Every event has its name, its severity, its shard and its line.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_proto::kpl::Malformed;
use kcl_proto::model::{
    Checkpoint, FencingToken, HashKeyRange, LeaseCounter, LeaseEnd, LeaseKey, Position,
    SequenceNumber, ShardId, TakeReason, WorkerId,
};

use crate::report::event::{Event, Severity};

/// One of each event.
#[expect(clippy::too_many_lines, reason = "one line for each event")]
fn all() -> Vec<(Event, &'static str, &'static str)> {
    let key = || LeaseKey::new("shard-1");
    let shard = || ShardId::new("shard-1");
    let worker = || WorkerId::new("ann:1");
    let error = || "full".to_owned();
    let position = Position::of(7.into());
    let (retry_in, some) = (Duration::from_secs(2), Some(Duration::from_secs(2)));
    let (checkpoint, token) = (Checkpoint::TrimHorizon, FencingToken::from(LeaseCounter(5)));
    let (call, last) = ("initialize", SequenceNumber::from(9));
    vec![
        (Event::Started { worker: worker() }, "started", "worker ann:1 started"),
        (
            Event::LeaseTaken { key: key(), token, checkpoint, why: TakeReason::HandedOver },
            "lease_taken",
            "lease shard-1 taken at TRIM_HORIZON: handed over",
        ),
        (
            Event::LeaseEnded { key: key(), how: LeaseEnd::Lost, checkpoint },
            "lease_ended",
            "lease shard-1 ended at TRIM_HORIZON: lost",
        ),
        (
            Event::HandoverBegun { key: key(), owner: worker() },
            "handover_begun",
            "asked ann:1 to hand over lease shard-1",
        ),
        (
            Event::HandoverAsked { key: key(), next: worker() },
            "handover_asked",
            "ann:1 asked for lease shard-1: its consumer drains",
        ),
        (
            Event::HandoverEnded { key: key(), reason: "taken" },
            "handover_ended",
            "hand-over of lease shard-1 ended without moving it: taken",
        ),
        (
            Event::BatchFailed { shard: shard(), attempt: 3, error: error(), retry_in },
            "batch_failed",
            "batch of shard-1 failed, attempt 3, again in 2s: full",
        ),
        (
            Event::RecordFailed { shard: shard(), position, attempt: 3, error: error(), retry_in },
            "record_failed",
            "record 7/0 of shard-1 failed, attempt 3, again in 2s: full",
        ),
        (
            Event::DeadLettered { shard: shard(), position, attempts: 3, error: error() },
            "dead_lettered",
            "record 7/0 of shard-1 stored in the dead letter after 3 attempts: full",
        ),
        (
            Event::DeadLetterFailed {
                shard: shard(),
                position,
                attempt: 3,
                error: error(),
                retry_in: some,
            },
            "dead_letter_failed",
            "dead letter did not store record 7/0 of shard-1, attempt 3: full",
        ),
        (
            Event::Skipped { shard: shard(), position, attempts: 3, error: error(), skipped: 1 },
            "skipped",
            "record 7/0 of shard-1 skipped and lost after 3 attempts: full",
        ),
        (
            Event::ShardStopped {
                shard: shard(),
                call,
                position: Some(position),
                error: error(),
                stops_worker: false,
            },
            "shard_stopped",
            "shard-1 stopped at record 7/0: initialize failed: full",
        ),
        (
            Event::ProcessorFailed {
                shard: shard(),
                call,
                attempt: 3,
                error: error(),
                retry_in: some,
            },
            "processor_failed",
            "initialize of shard-1 failed, attempt 3: full",
        ),
        (
            Event::FetchFailed { shard: shard(), error: error(), retry_in },
            "fetch_failed",
            "read of shard-1 failed, again in 2s: full",
        ),
        (
            Event::DataAtRisk { shard: shard(), age: retry_in, retention: retry_in },
            "data_at_risk",
            "unprocessed records of shard-1 may be 2s old, and are trimmed after 2s",
        ),
        (
            Event::DataLost {
                shard: shard(),
                from: checkpoint,
                to: checkpoint,
                caught_up_at: None,
            },
            "data_lost",
            "records of shard-1 were trimmed unprocessed, from TRIM_HORIZON to TRIM_HORIZON",
        ),
        (
            Event::MalformedAggregates {
                shard: shard(),
                count: 2,
                last,
                reason: Malformed::Digest,
            },
            "malformed_aggregates",
            "2 malformed aggregates in shard-1, the last at 9: digest of the aggregate does not \
             match its message",
        ),
        (
            Event::OutOfRangeDropped { shard: shard(), count: 2, last },
            "out_of_range_dropped",
            "2 user records out of the range of shard-1 dropped, the last in 9",
        ),
        (
            Event::ShardEndOverdue { shard: shard(), ends_in: retry_in },
            "shard_end_overdue",
            "shard-1 is listed as closed, but its end is not announced: it ends after 2s without \
             records",
        ),
        (
            Event::ShardEnded { shard: shard(), children: vec![ShardId::new("shard-2")] },
            "shard_ended",
            "shard-1 ended, followed by shard-2",
        ),
        (Event::LeaseCreated { key: key() }, "lease_created", "lease shard-1 created"),
        (
            Event::CreatingLeases { existing: 300, total: 2_000 },
            "creating_leases",
            "creating the first leases: 300 of 2000 exist",
        ),
        (Event::LeaseDeleted { key: key() }, "lease_deleted", "lease shard-1 deleted"),
        (
            Event::SessionLost { worker: worker(), reason: error() },
            "session_lost",
            "session lost, continuing as ann:1: full",
        ),
        (
            Event::WorkerCondemned { worker: worker() },
            "worker_condemned",
            "silent worker ann:1 declared dead: its leases are free",
        ),
        (
            Event::WorkerOutdated { worker: worker() },
            "worker_outdated",
            "worker ann:1 does not know sessions, and this fleet uses them: replace it",
        ),
        (
            Event::HolderStuck { key: key() },
            "holder_stuck",
            "the holder of lease shard-1 does not answer: it is given up",
        ),
        (
            Event::HashKeysUncovered { range: HashKeyRange { start: 0, end: 9 } },
            "hash_keys_uncovered",
            "hash keys 0 to 9 have no lease",
        ),
        (
            Event::ProcessorSlow { shard: shard(), call, taken: retry_in },
            "processor_slow",
            "initialize of shard-1 has run for 2s",
        ),
        (
            Event::Stalled { shard: shard() },
            "stalled",
            "processor of shard-1 ran past its time: lease released",
        ),
        (
            Event::UnreadableRow { key: "x".to_owned(), problem: "leaseCounter".to_owned() },
            "unreadable_row",
            "row x of the lease table is unreadable: leaseCounter",
        ),
        (
            Event::NameShared { other: worker() },
            "name_shared",
            "another live worker has this worker's name: ann:1",
        ),
        (
            Event::ScansRare { period: Duration::from_secs(10), budget: 100, needed: 240 },
            "scans_rare",
            "scans of the lease table are 10s apart with lease.scan_units = 100, so that crashes \
             are noticed late: raise it to 240",
        ),
        (
            Event::CallFailed {
                doing: "list shards",
                shard: None,
                error: error(),
                retry_in: some,
                count: 3,
            },
            "call_failed",
            "failed 3 times to list shards: full",
        ),
        (
            Event::WaitingForJava { seen: "LEADER".to_owned(), at_least: retry_in },
            "waiting_for_java",
            "waiting 2s for Java workers to be gone: LEADER",
        ),
        (
            Event::ConsumerPanicked { shard: shard(), error: error() },
            "consumer_panicked",
            "consumer of shard-1 panicked: full",
        ),
        (
            Event::ConsumersBlocked { count: 2 },
            "consumers_blocked",
            "2 processors block their threads until the process exits",
        ),
        (
            Event::ObserverPanicked { error: error() },
            "observer_panicked",
            "observer panicked: full",
        ),
        (Event::EventsDropped { count: 2 }, "events_dropped", "2 events dropped"),
    ]
}

#[test]
fn names_and_lines_are_pinned() {
    let names: BTreeSet<_> = all().iter().map(|(event, ..)| event.name()).collect();
    let named = include_str!("event.rs").matches("{ .. } => \"").count();
    assert_eq!(names.len(), named, "one of each");
    for (event, name, line) in all() {
        assert_eq!((event.name(), event.to_string().as_str()), (name, line));
    }
}

#[test]
fn urgent_events_are_errors() {
    let of = |severity: Severity| -> Vec<_> {
        let events = all();
        let chosen = events.iter().filter(|(event, ..)| event.severity() == severity);
        chosen.map(|(event, ..)| event.name()).collect()
    };
    assert_eq!(
        of(Severity::Error),
        [
            "dead_letter_failed",
            "skipped",
            "shard_stopped",
            "data_at_risk",
            "data_lost",
            "holder_stuck",
            "hash_keys_uncovered",
            "stalled",
            "unreadable_row",
            "consumer_panicked",
            "consumers_blocked",
            "observer_panicked"
        ]
    );
    assert_eq!(
        of(Severity::Info),
        [
            "started",
            "lease_taken",
            "lease_ended",
            "handover_begun",
            "handover_asked",
            "handover_ended",
            "shard_ended",
            "lease_created",
            "creating_leases",
            "lease_deleted"
        ]
    );
}

#[test]
fn events_of_a_shard_name_it() {
    let events = all();
    let without: Vec<_> =
        events.iter().filter(|it| it.0.shard().is_none()).map(|it| it.0.name()).collect();
    let of_workers = [
        "started",
        "creating_leases",
        "session_lost",
        "worker_condemned",
        "worker_outdated",
        "hash_keys_uncovered",
        "unreadable_row",
        "name_shared",
        "scans_rare",
        "call_failed",
        "waiting_for_java",
        "consumers_blocked",
        "observer_panicked",
        "events_dropped",
    ];
    assert_eq!(without, of_workers);
    let shards = events.iter().filter_map(|it| it.0.shard());
    assert!(shards.into_iter().all(|shard| shard == ShardId::new("shard-1")));
}

#[cfg(feature = "serde")]
#[test]
fn serialized_events_carry_their_name() {
    for (event, name, _) in all() {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], name);
    }
    let [_, (taken, ..), ..] = &all()[..] else { panic!("a lease is taken second") };
    assert_eq!(
        serde_json::to_string(taken).unwrap(),
        r#"{"event":"lease_taken","key":"shard-1","token":5,"checkpoint":"TRIM_HORIZON","why":"handed_over"}"#
    );
}
