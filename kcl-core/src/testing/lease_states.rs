//! Every state that a lease's row can be in, and every write that could be tried on it.

use std::time::Duration;

use kcl_proto::lease::precondition::{Field, Precondition};
use kcl_proto::lease::write::{LeaseWrite, Progress, WriteKind};
use kcl_proto::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, Liveness, NewLease, PendingCheckpoint,
    Position, SequenceNumber, ShardId, StartPosition, StreamName, StreamStart, Timestamp, WorkerId,
    WriteStamp,
};

/// The workers that write.
pub(super) const WORKERS: [&str; 3] =
    ["host-a:000000000000000a", "host-b:000000000000000b", "host/c:000000000000000c"];

/// A state of a row: its name and the writes that lead there, by worker and kind.
pub(super) struct State {
    pub(super) name: &'static str,
    pub(super) script: Vec<(WorkerId, WriteKind)>,
}

/// A write of `worker` to the row `key`.
pub(super) fn write(key: &LeaseKey, worker: &str, number: u64, kind: WriteKind) -> LeaseWrite {
    LeaseWrite { key: key.clone(), worker: WorkerId::from(worker), number, kind }
}

/// A new lease with everything that a new one can have.
pub(super) fn new_lease(key: &LeaseKey) -> NewLease {
    let hash_range = HashKeyRange { start: 1, end: u128::MAX };
    let mut lease = NewLease::new(key.clone(), Checkpoint::AtTimestamp, hash_range);
    lease.start_at = Some(Timestamp::from_epoch_millis(1_767_225_600_123));
    lease.parents = ["shardId-000000000001", "shardId-000000000002"].map(ShardId::from).into();
    lease
}

/// Progress to a position with a sub-sequence number.
pub(super) fn progress(sequence: u128) -> Progress {
    let position = Position { sequence: SequenceNumber::from(sequence), sub_sequence: 3 };
    let caught_up_at = Timestamp::from_epoch_millis(1_767_225_630_456);
    Progress::to(Checkpoint::After(position), Some(caught_up_at))
}

/// A prepared checkpoint.
pub(super) fn prepared(state: Option<&'static [u8]>) -> Progress {
    let checkpoint = Checkpoint::After(Position::of(SequenceNumber::from(77)));
    Progress::prepare(PendingCheckpoint { checkpoint, state: state.map(Into::into) })
}

/// The states, each reached by writes alone.
pub(super) fn states(key: &LeaseKey) -> Vec<State> {
    let [a, b, _] = WORKERS.map(WorkerId::from);
    let n = LeaseCounter;
    let by = |worker: &WorkerId, kind| (worker.clone(), kind);
    let create = by(&a, WriteKind::Create(new_lease(key)));
    let take = by(&a, take(n(0)));
    let prepare = by(
        &a,
        WriteKind::Renew { counter: n(1), next: None, progress: Some(prepared(Some(b"state"))) },
    );
    let begin = |counter| by(&b, WriteKind::BeginHandover { counter, victim: a.clone() });
    let end = |next| {
        by(
            &a,
            WriteKind::EndShard {
                counter: n(1),
                next,
                children: [ShardId::from("shardId-000000000008")].into(),
                unmark: None,
            },
        )
    };
    let held = [create.clone(), take];
    let held_and = |more: &[(WorkerId, WriteKind)]| [&held[..], more].concat();
    let state = |name, script| State { name, script };
    vec![
        state("no row", vec![]),
        state("never taken", vec![create]),
        state("held", held_and(&[])),
        state("held, a checkpoint prepared", held_and(&[prepare])),
        state("handed over from a to b", held_and(&[begin(n(1))])),
        state(
            "handed over",
            held_and(&[
                begin(n(1)),
                by(
                    &a,
                    WriteKind::CompleteHandover {
                        counter: n(1),
                        next: b.clone(),
                        progress: Some(progress(5)),
                        unmark: None,
                    },
                ),
            ]),
        ),
        state(
            "released",
            held_and(&[by(
                &a,
                WriteKind::Release { counter: n(1), progress: Some(progress(5)), unmark: None },
            )]),
        ),
        state("ended, held", held_and(&[end(None)])),
        state("ended, handed over from a to b", held_and(&[begin(n(1)), end(Some(b.clone()))])),
        state(
            "ended, released",
            held_and(&[
                end(None),
                by(&a, WriteKind::Release { counter: n(2), progress: None, unmark: None }),
            ]),
        ),
    ]
}

/// A take of a row whose counter is `counter`.
pub(super) fn take(counter: LeaseCounter) -> WriteKind {
    let floor = LeaseCounter::default();
    WriteKind::Take {
        counter,
        last_write: Field::Any,
        floor,
        expiry: Duration::from_millis(12_345),
        owner_switches: 1,
        start_at: None,
        lives_by: Liveness::Counter,
        adopt: None,
    }
}

/// A take of a lease that lives by a session, with the progress of its former holder.
fn marked_take(counter: LeaseCounter, last_write: Field<WriteStamp>) -> WriteKind {
    WriteKind::Take {
        counter,
        last_write,
        floor: LeaseCounter(9),
        expiry: Duration::from_millis(12_345),
        owner_switches: 2,
        start_at: None,
        lives_by: Liveness::Session,
        adopt: Some(Box::new(progress(u128::MAX))),
    }
}

/// Every kind of write, with the right counter and with wrong ones, by and about every worker.
pub(super) fn attempts(key: &LeaseKey, row: Option<&Lease>) -> Vec<(&'static str, WriteKind)> {
    let now = row.map_or(LeaseCounter(0), |row| row.counter);
    let last_write = row.and_then(|row| row.last_write.clone());
    let counters = [LeaseCounter(now.0.saturating_sub(1)), now.next(), now];
    let mut attempts = vec![];
    for (at, worker) in WORKERS.into_iter().enumerate() {
        for counter in counters {
            attempts
                .extend(kinds(counter, last_write.clone()).into_iter().map(|kind| (worker, kind)));
        }
        if at == 0 {
            attempts.push((worker, WriteKind::DeleteUntouched));
            attempts.push((worker, WriteKind::Create(new_lease(key))));
        }
    }
    attempts
}

fn kinds(counter: LeaseCounter, last_write: Option<WriteStamp>) -> Vec<WriteKind> {
    let [a, b, _] = WORKERS.map(WorkerId::from);
    let children = || [ShardId::from("shardId-000000000003"), ShardId::from("shard-4")].into();
    let unmark = Some(Duration::from_millis(12_345));
    let another = WriteStamp { counter, worker: a.clone(), number: u64::MAX };
    let mut kinds = vec![
        take(counter),
        marked_take(counter, Field::from(last_write)),
        marked_take(counter, Field::Absent),
        marked_take(counter, Field::Is(another)),
        WriteKind::Renew { counter, next: None, progress: None },
        WriteKind::Renew { counter, next: None, progress: Some(progress(u128::MAX)) },
        WriteKind::Renew { counter, next: None, progress: Some(prepared(None)) },
        WriteKind::CancelHandover { counter },
        WriteKind::Release { counter, progress: None, unmark: None },
        WriteKind::Release { counter, progress: Some(progress(9)), unmark },
        WriteKind::EndShard { counter, next: None, children: children(), unmark },
        WriteKind::EndShard { counter, next: Some(b.clone()), children: [].into(), unmark: None },
        WriteKind::DeleteEnded { counter },
    ];
    for other in [a, b] {
        let next = other.clone();
        kinds.extend([
            WriteKind::Renew { counter, next: Some(next.clone()), progress: None },
            WriteKind::BeginHandover { counter, victim: other.clone() },
            WriteKind::CompleteHandover { counter, next, progress: Some(progress(6)), unmark },
            WriteKind::Withdraw { counter, victim: other },
        ]);
    }
    kinds
}

/// Which parts of its precondition a write violates on `row`.
pub(super) fn violations(write: &LeaseWrite, row: Option<&Lease>) -> Vec<&'static str> {
    let mut violated = vec![];
    match (write.precondition(), row) {
        (Precondition::NoRow, None) => {}
        (Precondition::NoRow, Some(_)) => violated.push("a row"),
        (Precondition::Row { .. }, None) => violated.push("no row"),
        (
            Precondition::Row { counter, owner, checkpoint_owner, last_write, must_be_ended },
            Some(row),
        ) => {
            let mut require = |holds: bool, part| {
                if !holds {
                    violated.push(part);
                }
            };
            require(row.counter == counter, "counter");
            require(owner.admits(row.owner.as_ref()), "owner");
            require(checkpoint_owner.admits(row.checkpoint_owner.as_ref()), "checkpoint owner");
            require(last_write.admits(row.last_write.as_ref()), "last write");
            require(row.is_ended() || !must_be_ended, "end");
        }
    }
    violated
}

/// A stream's row.
pub(super) fn start(id: Option<&str>) -> StreamStart {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into();
    let created = Timestamp::from_epoch_millis(1_700_000_000_123);
    let position = StartPosition::AtTimestamp(Timestamp::from_epoch_millis(1_767_225_600_000));
    let mut start = StreamStart::new(StreamName::from("orders"), arn, created, position);
    start.id = id.map(String::from);
    start
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The suite proves a condition only if some attempt violates that one and no other.
    #[test]
    fn every_part_of_every_precondition_is_violated_alone() {
        let key = LeaseKey::from("shardId-000000000005");
        let mut seen: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for state in states(&key) {
            let mut row = None;
            for (number, (worker, kind)) in (0..).zip(state.script) {
                let write = write(&key, worker.as_str(), number, kind);
                row = write.apply(row.as_ref()).expect("each script is possible");
            }
            for (worker, kind) in attempts(&key, row.as_ref()) {
                let write = write(&key, worker, 99, kind);
                let name = format!("{:?}", write.kind);
                let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
                let violated = violations(&write, row.as_ref());
                assert_eq!(violated.is_empty(), write.is_allowed(row.as_ref()), "{write:?}");
                let outcome = match violated[..] {
                    [] => "allowed",
                    [one] => one,
                    _ => continue,
                };
                seen.entry(name).or_default().insert(outcome);
            }
        }
        let owned = ["allowed", "no row", "counter", "owner", "checkpoint owner"];
        let expected: BTreeMap<String, BTreeSet<&str>> = [
            ("Create", &["allowed", "a row"][..]),
            ("Take", &["allowed", "no row", "counter", "last write"]),
            ("Renew", &owned),
            ("BeginHandover", &owned),
            ("CompleteHandover", &owned),
            ("CancelHandover", &["allowed", "no row", "counter", "checkpoint owner"]),
            ("Withdraw", &owned),
            ("Release", &owned),
            ("EndShard", &owned),
            ("DeleteEnded", &["allowed", "no row", "counter", "end"]),
            // A row with counter 0 was never taken, so it has no owner of either kind.
            ("DeleteUntouched", &["allowed", "no row", "counter"]),
        ]
        .map(|(name, outcomes)| (name.to_owned(), outcomes.iter().copied().collect()))
        .into();
        assert_eq!(seen, expected);
    }
}
