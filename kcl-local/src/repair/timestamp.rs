//! Replaces the position `AT_TIMESTAMP` by one that the embedded Kinesis supports.

use ferrokinesis::sequence::{resolve_shard_id, shard_ix_to_hex};
use ferrokinesis::store::Store;
use serde_json::{Map, Value};

use crate::repair::stream_arn::name_in;

/// Repairs the position in a call of `GetShardIterator`. Returns whether it changed the call.
pub(crate) async fn in_iterator(store: &Store, call: &mut Map<String, Value>) -> bool {
    let shard = (text(call, "StreamName"), text(call, "ShardId"));
    resolve(store, shard, call, &ITERATOR).await
}

/// Repairs the position in a call of `SubscribeToShard`. Returns whether it changed the call.
pub(crate) async fn in_subscription(store: &Store, call: &mut Map<String, Value>) -> bool {
    let consumer = text(call, "ConsumerARN");
    let shard = (name_in(&consumer).unwrap_or_default().to_owned(), text(call, "ShardId"));
    match call.get_mut("StartingPosition").and_then(Value::as_object_mut) {
        Some(position) => resolve(store, shard, position, &STARTING_POSITION).await,
        None => false,
    }
}

/// The field names of a position, which differ between the two operations.
#[derive(Debug)]
struct Names {
    kind: &'static str,
    sequence_number: &'static str,
}

const ITERATOR: Names =
    Names { kind: "ShardIteratorType", sequence_number: "StartingSequenceNumber" };
const STARTING_POSITION: Names = Names { kind: "Type", sequence_number: "SequenceNumber" };

fn text(fields: &Map<String, Value>, name: &str) -> String {
    fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Replaces the timestamp by the first record at or after it, or by `LATEST` if there is none.
/// Returns whether it changed the call.
///
/// The store rounds arrival times down to whole seconds, so this rounds the timestamp down too:
/// some earlier records of that second are returned, none is skipped. An invalid position stays,
/// for the embedded Kinesis to refuse.
async fn resolve(
    store: &Store,
    (stream, shard): (String, String),
    position: &mut Map<String, Value>,
    names: &Names,
) -> bool {
    if position.get(names.kind).and_then(Value::as_str) != Some("AT_TIMESTAMP")
        || position.contains_key(names.sequence_number)
    {
        return false;
    }
    let Some(timestamp) = position.get("Timestamp").and_then(Value::as_f64) else {
        return false;
    };
    let Ok((_, shard_ix)) = resolve_shard_id(&shard) else {
        return false;
    };
    if timestamp > now_in_seconds() {
        return false;
    }
    let from = format!("{}/", shard_ix_to_hex(shard_ix));
    let to = shard_ix_to_hex(shard_ix + 1);
    let first = store.find_first_record_at_timestamp(&stream, &from, &to, timestamp.floor()).await;
    let first = first.and_then(|(key, _)| {
        key.split_once('/').map(|(_, sequence_number)| sequence_number.to_owned())
    });
    position.remove("Timestamp");
    match first {
        Some(sequence_number) => {
            position.insert(names.kind.to_owned(), Value::from("AT_SEQUENCE_NUMBER"));
            position.insert(names.sequence_number.to_owned(), Value::from(sequence_number));
        }
        None => {
            position.insert(names.kind.to_owned(), Value::from("LATEST"));
        }
    }
    true
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are exact until the year 287396")]
fn now_in_seconds() -> f64 {
    ferrokinesis::util::current_time_ms() as f64 / 1000.0
}
