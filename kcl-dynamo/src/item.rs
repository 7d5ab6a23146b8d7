//! Leases ⇄ items of the table, with the name of every attribute and where it comes from.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::model::{
    Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, PendingCheckpoint, ShardId, Timestamp,
    WorkerId, WriteStamp,
};

use crate::attributes::{Attributes, Item, Problem, number, text};

/// Hash key of every row, of any kind. Java: `LEASE_KEY_KEY`.
pub(crate) const LEASE_KEY: &str = "leaseKey";
/// The kind of the row. Java: `EntityType`, since 3.5; older leases have none.
pub(crate) const ENTITY_TYPE: &str = "entityType";
/// The `entityType` of a lease.
pub(crate) const ENTITY_LEASE: &str = "LEASE";

/// Java: `LEASE_OWNER_KEY`. Also the hash key of Java's index of owners.
pub(crate) const LEASE_OWNER: &str = "leaseOwner";
/// Java: `CHECKPOINT_OWNER`, since 3.0; exists during a hand-over.
pub(crate) const CHECKPOINT_OWNER: &str = "checkpointOwner";
/// Java: `LEASE_COUNTER_KEY`.
pub(crate) const LEASE_COUNTER: &str = "leaseCounter";
/// Java: `OWNER_SWITCHES_KEY`. Java's parser requires it.
pub(crate) const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
/// Java: `CHECKPOINT_SEQUENCE_NUMBER_KEY`: a sequence number or a `SentinelCheckpoint`.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Java: `CHECKPOINT_SUBSEQUENCE_NUMBER_KEY`; a missing one is 0.
pub(crate) const CHECKPOINT_SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
/// Java: `PENDING_CHECKPOINT_SEQUENCE_KEY`.
pub(crate) const PENDING: &str = "pendingCheckpoint";
/// Java: `PENDING_CHECKPOINT_SUBSEQUENCE_KEY`.
pub(crate) const PENDING_SUB_SEQUENCE: &str = "pendingCheckpointSubSequenceNumber";
/// Java: `PENDING_CHECKPOINT_STATE_KEY`.
pub(crate) const PENDING_STATE: &str = "pendingCheckpointState";
/// Java: `PARENT_SHARD_ID_KEY`: a set although its name is singular; never empty.
pub(crate) const PARENTS: &str = "parentShardId";
/// Java: `CHILD_SHARD_IDS_KEY`; never empty.
pub(crate) const CHILDREN: &str = "childShardIds";
/// Java: `STARTING_HASH_KEY`, since 2.3; decimal, inclusive.
pub(crate) const STARTING_HASH_KEY: &str = "startingHashKey";
/// Java: `ENDING_HASH_KEY`, since 2.3; decimal, inclusive.
pub(crate) const ENDING_HASH_KEY: &str = "endingHashKey";

/// Ours: `TRIM_HORIZON`, or `AT_TIMESTAMP` with `startAt`, in the row of a stream. Rows of Java have
/// none.
pub(crate) const START_POSITION: &str = "startPosition";
/// Ours: where `AT_TIMESTAMP` starts, epoch milliseconds. On leases and on the stream's row.
pub(crate) const START_AT: &str = "startAt";
/// Ours: the owner's lease expiry in milliseconds, or 2⁵³−1 less that if its session proves it alive.
pub(crate) const EXPIRY_MILLIS: &str = "expiryMillis";
/// Ours: when the consumer was last at the end of the shard, epoch milliseconds.
pub(crate) const CAUGHT_UP_AT: &str = "caughtUpAt";
/// Ours: the counter that the last take set.
pub(crate) const TOKEN: &str = "token";
/// Ours: the write that set the counter, `counter/worker/number`.
pub(crate) const LAST_WRITE: &str = "lastWrite";

/// Returns the key of the row `key`.
pub(crate) fn key_of(key: &str) -> Item {
    Item::from([(LEASE_KEY.to_owned(), text(key))])
}

/// Returns the row of a lease.
pub(crate) fn encode(lease: &Lease) -> Item {
    let mut item = Item::with_capacity(20);
    let mut put = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    put(LEASE_KEY, Some(text(lease.key.as_str())));
    put(ENTITY_TYPE, Some(text(ENTITY_LEASE)));
    put(LEASE_OWNER, lease.owner.as_ref().map(worker));
    put(CHECKPOINT_OWNER, lease.checkpoint_owner.as_ref().map(worker));
    put(LEASE_COUNTER, Some(number(lease.counter)));
    put(OWNER_SWITCHES, Some(number(lease.owner_switches)));
    put(CHECKPOINT, Some(text(lease.checkpoint.to_text())));
    put(CHECKPOINT_SUB_SEQUENCE, Some(number(sub_sequence(lease.checkpoint))));
    if let Some(pending) = &lease.pending {
        put(PENDING, Some(text(pending.checkpoint.to_text())));
        put(PENDING_SUB_SEQUENCE, Some(number(sub_sequence(pending.checkpoint))));
        put(PENDING_STATE, pending_state(pending));
    }
    put(PARENTS, shards(&lease.parents));
    put(CHILDREN, shards(&lease.children));
    put(STARTING_HASH_KEY, lease.hash_range.map(|range| text(range.start.to_string())));
    put(ENDING_HASH_KEY, lease.hash_range.map(|range| text(range.end.to_string())));
    put(START_AT, lease.start_at.map(timestamp));
    put(EXPIRY_MILLIS, lease.expiry.map(millis));
    put(CAUGHT_UP_AT, lease.caught_up_at.map(timestamp));
    put(TOKEN, lease.token.map(number));
    put(LAST_WRITE, lease.last_write.as_ref().map(text_of));
    item
}

/// Reads the row of a lease. Ignores unknown attributes.
pub(crate) fn decode(item: &Item) -> Result<Lease, Problem> {
    let row = Attributes(item);
    let worker = |name| Ok::<_, Problem>(row.text(name)?.map(WorkerId::from));
    let time = |name| Ok::<_, Problem>(row.number(name)?.map(Timestamp::from_epoch_millis));
    let key = LeaseKey::from(row.required_text(LEASE_KEY)?);
    let owner = worker(LEASE_OWNER)?;
    let checkpoint_owner = worker(CHECKPOINT_OWNER)?;
    let counter = LeaseCounter(row.required_number(LEASE_COUNTER)?);
    let owner_switches = row.required_number(OWNER_SWITCHES)?;
    let checkpoint = checkpoint(row, CHECKPOINT, CHECKPOINT_SUB_SEQUENCE)?
        .ok_or_else(|| Problem::missing(CHECKPOINT))?;
    let mut lease = Lease::new(key, counter, checkpoint);
    lease.owner = owner;
    lease.checkpoint_owner = checkpoint_owner;
    lease.owner_switches = owner_switches;
    lease.pending = pending(row)?;
    lease.parents = shard_set(row, PARENTS)?;
    lease.children = shard_set(row, CHILDREN)?;
    lease.hash_range = hash_range(row)?;
    lease.start_at = time(START_AT)?;
    lease.expiry = row.number(EXPIRY_MILLIS)?.map(Duration::from_millis);
    lease.caught_up_at = time(CAUGHT_UP_AT)?;
    lease.token = row.number(TOKEN)?.map(|token| LeaseCounter(token).into());
    lease.last_write = last_write(row)?;
    Ok(lease)
}

/// Returns a worker's id as an attribute.
pub(crate) fn worker(worker: &WorkerId) -> AttributeValue {
    text(worker.as_str())
}

/// Returns a stamp as an attribute.
pub(crate) fn text_of(stamp: &WriteStamp) -> AttributeValue {
    text(stamp.to_string())
}

/// Returns the sub-sequence number of a checkpoint: 0 for a sentinel, as in Java.
pub(crate) fn sub_sequence(checkpoint: Checkpoint) -> u64 {
    checkpoint.position().map_or(0, |position| position.sub_sequence)
}

/// Returns the application's state of a prepared checkpoint; `None` if it has none.
pub(crate) fn pending_state(pending: &PendingCheckpoint) -> Option<AttributeValue> {
    pending.state.as_ref().map(|state| AttributeValue::B(Blob::new(state.to_vec())))
}

/// Returns a set of shards as an attribute; `None` if it is empty, because DynamoDB stores no empty
/// set.
pub(crate) fn shards(shards: &BTreeSet<ShardId>) -> Option<AttributeValue> {
    let ids: Vec<String> = shards.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then_some(AttributeValue::Ss(ids))
}

/// Returns a time of day as an attribute: epoch milliseconds.
pub(crate) fn timestamp(time: Timestamp) -> AttributeValue {
    number(time.epoch_millis())
}

/// Returns a duration as an attribute: whole milliseconds.
pub(crate) fn millis(duration: Duration) -> AttributeValue {
    number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn checkpoint(
    row: Attributes<'_>,
    name: &str,
    sub_sequence_name: &str,
) -> Result<Option<Checkpoint>, Problem> {
    let Some(stored) = row.text(name)? else { return Ok(None) };
    let sub_sequence = row.number(sub_sequence_name)?.unwrap_or(0);
    match Checkpoint::parse(stored, sub_sequence) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(_) => Err(Problem::value(name, stored, "a checkpoint")),
    }
}

fn pending(row: Attributes<'_>) -> Result<Option<PendingCheckpoint>, Problem> {
    let Some(checkpoint) = checkpoint(row, PENDING, PENDING_SUB_SEQUENCE)? else { return Ok(None) };
    let state = row.bytes(PENDING_STATE)?.map(|state| state.as_ref().to_vec().into());
    Ok(Some(PendingCheckpoint { checkpoint, state }))
}

fn shard_set(row: Attributes<'_>, name: &str) -> Result<BTreeSet<ShardId>, Problem> {
    Ok(row.texts(name)?.iter().map(|id| ShardId::from(id.as_str())).collect())
}

/// Returns the hash range; `None` if either end is missing, as in Java.
fn hash_range(row: Attributes<'_>) -> Result<Option<HashKeyRange>, Problem> {
    match (row.text(STARTING_HASH_KEY)?, row.text(ENDING_HASH_KEY)?) {
        (Some(start), Some(end)) => match HashKeyRange::parse(start, end) {
            Ok(range) => Ok(Some(range)),
            Err(_) => {
                let found = format!("{start} to {end}");
                Err(Problem::value(STARTING_HASH_KEY, &found, "the start of a hash key range"))
            }
        },
        (None, _) | (_, None) => Ok(None),
    }
}

fn last_write(row: Attributes<'_>) -> Result<Option<WriteStamp>, Problem> {
    let Some(stored) = row.text(LAST_WRITE)? else { return Ok(None) };
    let wrong = || Problem::value(LAST_WRITE, stored, "counter/worker/number");
    WriteStamp::parse(stored).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kcl_core::model::{Position, SequenceNumber};
    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn checkpoints() -> impl Strategy<Value = Checkpoint> {
        prop_oneof![
            Just(Checkpoint::TrimHorizon),
            Just(Checkpoint::Latest),
            Just(Checkpoint::AtTimestamp),
            Just(Checkpoint::ShardEnd),
            ("0|[1-9][0-9]{0,128}", any::<u64>()).prop_map(|(digits, sub_sequence)| {
                let sequence: SequenceNumber = digits.parse().expect("the pattern yields digits");
                Checkpoint::After(Position { sequence, sub_sequence })
            }),
        ]
    }

    fn pending_checkpoints() -> impl Strategy<Value = PendingCheckpoint> {
        (checkpoints(), option::of(vec(any::<u8>(), 0..9))).prop_map(|(checkpoint, state)| {
            PendingCheckpoint { checkpoint, state: state.map(Bytes::from) }
        })
    }

    fn workers() -> impl Strategy<Value = WorkerId> {
        ".{0,9}".prop_map(WorkerId::from)
    }

    fn shard_sets() -> impl Strategy<Value = BTreeSet<ShardId>> {
        btree_set("[a-z0-9-]{1,9}".prop_map(ShardId::from), 0..4)
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        any::<i64>().prop_map(Timestamp::from_epoch_millis)
    }

    fn stamps() -> impl Strategy<Value = WriteStamp> {
        (any::<u64>(), workers(), any::<u64>()).prop_map(|(counter, worker, number)| WriteStamp {
            counter: LeaseCounter(counter),
            worker,
            number,
        })
    }

    fn leases() -> impl Strategy<Value = Lease> {
        let ranges = (any::<u128>(), any::<u128>())
            .prop_map(|(a, b)| HashKeyRange { start: a.min(b), end: a.max(b) });
        let ownership = (
            ".{1,9}".prop_map(LeaseKey::from),
            option::of(workers()),
            option::of(workers()),
            any::<u64>(),
            any::<u64>(),
            option::of(stamps()),
            option::of(any::<u64>()),
        );
        let family = (shard_sets(), shard_sets(), option::of(ranges));
        let progress = (
            checkpoints(),
            option::of(pending_checkpoints()),
            option::of(times()),
            option::of(any::<u64>()),
            option::of(times()),
        );
        (ownership, family, progress).prop_map(|(ownership, family, progress)| {
            let (key, owner, checkpoint_owner, counter, owner_switches, last_write, token) =
                ownership;
            let (parents, children, hash_range) = family;
            let (checkpoint, pending, start_at, expiry, caught_up_at) = progress;
            let mut lease = Lease::new(key, LeaseCounter(counter), checkpoint);
            (lease.owner, lease.checkpoint_owner) = (owner, checkpoint_owner);
            (lease.owner_switches, lease.last_write) = (owner_switches, last_write);
            (lease.parents, lease.children) = (parents, children);
            (lease.hash_range, lease.pending, lease.start_at) = (hash_range, pending, start_at);
            lease.expiry = expiry.map(Duration::from_millis);
            lease.caught_up_at = caught_up_at;
            lease.token = token.map(|token| LeaseCounter(token).into());
            lease
        })
    }

    proptest! {
        #[test]
        fn lease_round_trips(lease in leases()) {
            prop_assert_eq!(decode(&encode(&lease)), Ok(lease));
        }
    }

    /// Later versions must read the rows of this one: this row never changes.
    #[test]
    fn own_row_is_pinned() {
        let sequence = "49590338271490256608559692538361571095921575989136588898";
        let position = Position { sequence: sequence.parse().unwrap(), sub_sequence: 3 };
        let mut lease = Lease::new(
            "shardId-000000000007".into(),
            LeaseCounter(4123),
            Checkpoint::After(position),
        );
        lease.owner = Some("host-b:00000000000000b2".into());
        lease.checkpoint_owner = Some("host-a:00000000000000a1".into());
        lease.owner_switches = 1;
        lease.pending = Some(PendingCheckpoint {
            checkpoint: Checkpoint::ShardEnd,
            state: Some(Bytes::from_static(b"\x01\x02\x03")),
        });
        lease.parents = ["shardId-000000000002".into(), "shardId-000000000003".into()].into();
        lease.children = ["shardId-000000000009".into()].into();
        lease.hash_range = Some(HashKeyRange { start: 0, end: u128::MAX });
        lease.start_at = Some(Timestamp::from_epoch_millis(1_767_225_600_000));
        lease.expiry = Some(Duration::from_secs(10));
        lease.caught_up_at = Some(Timestamp::from_epoch_millis(1_767_225_630_000));
        lease.token = Some(LeaseCounter(4100).into());
        lease.last_write = WriteStamp::parse("4123/host-a:00000000000000a1/77");
        let set = |ids: &[&str]| AttributeValue::Ss(ids.iter().map(ToString::to_string).collect());
        let row = [
            ("leaseKey", text("shardId-000000000007")),
            ("entityType", text("LEASE")),
            ("leaseOwner", text("host-b:00000000000000b2")),
            ("checkpointOwner", text("host-a:00000000000000a1")),
            ("leaseCounter", number("4123")),
            ("ownerSwitchesSinceCheckpoint", number("1")),
            ("checkpoint", text(sequence)),
            ("checkpointSubSequenceNumber", number("3")),
            ("pendingCheckpoint", text("SHARD_END")),
            ("pendingCheckpointSubSequenceNumber", number("0")),
            ("pendingCheckpointState", AttributeValue::B(Blob::new([1, 2, 3]))),
            ("parentShardId", set(&["shardId-000000000002", "shardId-000000000003"])),
            ("childShardIds", set(&["shardId-000000000009"])),
            ("startingHashKey", text("0")),
            ("endingHashKey", text("340282366920938463463374607431768211455")),
            ("startAt", number("1767225600000")),
            ("expiryMillis", number("10000")),
            ("caughtUpAt", number("1767225630000")),
            ("token", number("4100")),
            ("lastWrite", text("4123/host-a:00000000000000a1/77")),
        ];
        let row: Item = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(encode(&lease), row);
        assert_eq!(decode(&row), Ok(lease));
    }
}
