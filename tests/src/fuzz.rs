//! The bodies of the fuzz targets: one for each decoder. Each accepts arbitrary bytes, and panics
//! if a property does not hold.
//!
//! `ci/fuzz.sh` runs them, guided by coverage if the toolchain supports it. This file is compiled
//! twice: here and in `fuzz/`, which is not part of the workspace.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use kcl_core::kpl::{
    Aggregator, Deaggregator, Expansion, HashRangePolicy, UserRecords, open, seal,
};
use kcl_core::model::{
    Bulletin, Checkpoint, HashKeyRange, Position, Record, SequenceNumber, SessionProgress,
    WriteStamp,
};
use kcl_dynamo::testing;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: [(&str, Target); 6] = [
    ("kpl_frame", kpl_frame),
    ("row", row),
    ("position", position),
    ("session_progress", session_progress),
    ("bulletin_moves", bulletin_moves),
    ("cbor_page", cbor_page),
];

/// Expands arbitrary bytes, as a record's data and as the message in an intact frame. A record is
/// expanded wholly or delivered unchanged.
///
/// # Panics
/// If a property does not hold.
pub fn kpl_frame(bytes: &[u8]) {
    expand(&Bytes::copy_from_slice(bytes));
    expand(&seal(bytes));
}

fn expand(frame: &Bytes) {
    let outer = Record::new(Position::of(7.into()), "outer", frame.clone(), None);
    let mut records = Vec::new();
    let expansion = Deaggregator::default().expand(outer.clone(), &mut records);
    let Expansion::Aggregate { user_records, out_of_range } = expansion else {
        assert_eq!(records, [outer], "delivered unchanged");
        return;
    };
    assert_eq!((user_records, out_of_range), (records.len(), 0));
    let within = |part: &[u8]| part.is_empty() || frame.as_ptr_range().contains(&part.as_ptr());
    for (place, record) in (0..).zip(&records) {
        assert_eq!(record.position, Position { sequence: 7.into(), sub_sequence: place });
        assert!(within(&record.data) && within(record.partition_key.as_str().as_bytes()), "copied");
    }

    let message = open(frame).ok().flatten().expect("it was expanded");
    let sent: Vec<_> = UserRecords::of(&message).into_iter().flatten().flatten().collect();
    let lower = HashKeyRange { start: 0, end: u128::MAX / 2 };
    let mut kept = Vec::new();
    Deaggregator::new(HashRangePolicy::Drop, Some(lower)).expand(outer, &mut kept);
    let belongs = records.iter().zip(&sent).filter(|(_, sent)| lower.contains(sent.hash_key()));
    assert!(belongs.map(|(record, _)| record).eq(&kept), "dropping keeps order and numbers");

    let mut aggregator = Aggregator::new(usize::MAX);
    for record in &sent {
        let key = record.partition_key.as_str();
        aggregator.add(key, record.explicit_hash_key, &record.data).expect("there is no limit");
    }
    let Some(aggregate) = aggregator.finish() else { return };
    let message = open(&aggregate.data).ok().flatten().expect("our aggregates are valid");
    let found: Vec<_> = UserRecords::of(&message).into_iter().flatten().flatten().collect();
    assert_eq!(found, sent, "aggregating again changes nothing");
}

/// The attribute names of all kinds of rows.
const NAMES: [&str; 39] = [
    "leaseKey",
    "entityType",
    "leaseOwner",
    "checkpointOwner",
    "leaseCounter",
    "ownerSwitchesSinceCheckpoint",
    "checkpoint",
    "checkpointSubSequenceNumber",
    "pendingCheckpoint",
    "pendingCheckpointSubSequenceNumber",
    "pendingCheckpointState",
    "parentShardId",
    "childShardIds",
    "startingHashKey",
    "endingHashKey",
    "startAt",
    "expiryMillis",
    "caughtUpAt",
    "lastWrite",
    "lut",
    "sts",
    "opr",
    "beat",
    "streamId",
    "arn",
    "createdAt",
    "startPosition",
    "leaseDuration",
    "token",
    "session",
    "beatWrite",
    "progress",
    "dead",
    "leaving",
    "bulletin",
    "bulletinBy",
    "moves",
    "scan",
    "news",
];

/// Reads attributes as a row of exactly one kind, or as an unreadable one. A lease is written as it
/// was read. Each attribute is encoded as a name's index, a type, a length and that many bytes.
///
/// # Panics
/// If a property does not hold.
pub fn row(mut bytes: &[u8]) {
    let mut attributes = Vec::new();
    while let [name, kind, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let name = NAMES.get(usize::from(*name) % NAMES.len()).copied().unwrap_or_default();
        attributes.push((name.to_owned(), attribute(*kind, value)));
        bytes = rest;
    }
    let page = testing::read(attributes);
    let rows = page.leases.len() + page.sessions.len() + page.stream_starts.len();
    assert_eq!(rows + page.java.len() + page.unreadable.len(), 1, "one row of one kind");
    for lease in &page.leases {
        let again = testing::read(testing::write(lease));
        assert_eq!(again.leases, page.leases, "written as it was read");
    }
}

fn attribute(kind: u8, value: &[u8]) -> AttributeValue {
    let text = String::from_utf8_lossy(value).into_owned();
    match kind % 8 {
        0 | 1 => AttributeValue::S(text),
        2 | 3 => AttributeValue::N(text),
        4 => AttributeValue::B(Blob::new(value)),
        5 => AttributeValue::Ss(text.split(',').map(str::to_owned).collect()),
        6 => AttributeValue::Bool(!value.is_empty()),
        _ => AttributeValue::M(std::iter::once((text.clone(), AttributeValue::S(text))).collect()),
    }
}

/// Parses arbitrary text as each type of position. A parsed value is written as it was read.
///
/// # Panics
/// If a property does not hold.
pub fn position(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(number) = text.parse::<SequenceNumber>() {
        assert_eq!(number.to_string(), text);
    }
    let sub_sequence = bytes.len() as u64;
    if let Ok(checkpoint) = Checkpoint::parse(&text, sub_sequence) {
        assert_eq!(checkpoint.to_text(), text);
        assert_eq!(Checkpoint::parse(&checkpoint.to_text(), sub_sequence), Ok(checkpoint));
    }
    let (start, end) = text.split_once(',').unwrap_or((&text, &text));
    if let Ok(range) = HashKeyRange::parse(start, end) {
        assert!(range.start <= range.end);
        assert_eq!(
            HashKeyRange::parse(&range.start.to_string(), &range.end.to_string()),
            Ok(range)
        );
    }
    if let Some(stamp) = WriteStamp::parse(&text) {
        assert_eq!(WriteStamp::parse(&stamp.to_string()), Some(stamp));
    }
}

/// Reads arbitrary bytes as the progress of a session. What is read takes memory in proportion to
/// the bytes, and is written as bytes that are read as the same.
///
/// # Panics
/// If a property does not hold.
pub fn session_progress(bytes: &[u8]) {
    let Ok(progress) = SessionProgress::decode(bytes) else { return };
    assert!(progress.0.len() <= bytes.len());
    let keys: usize = progress.0.keys().map(|key| key.as_str().len()).sum();
    assert!(keys <= bytes.len() * 20, "{keys} bytes of keys");
    let again = SessionProgress::decode(&progress.encode());
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(&progress)), "leading zeros too");
    assert_eq!(again, Ok(progress));
}

/// Reads arbitrary bytes as the moves of a bulletin. What is read takes memory in proportion to the
/// bytes, and is written as bytes that are read as the same.
///
/// # Panics
/// If a property does not hold.
pub fn bulletin_moves(bytes: &[u8]) {
    let Ok(moves) = Bulletin::decode_moves(bytes) else { return };
    assert!(moves.len() <= bytes.len());
    let keys: usize = moves.keys().map(|key| key.as_str().len()).sum();
    assert!(keys <= bytes.len() * 20, "{keys} bytes of keys");
    assert_eq!(Bulletin::decode_moves(&Bulletin::encode_moves(&moves)), Ok(moves));
}

/// Reads arbitrary bytes as a reply with records in CBOR. The records are parts of the reply, and
/// their list takes memory in proportion to it.
///
/// # Panics
/// If a property does not hold.
pub fn cbor_page(bytes: &[u8]) {
    let reply = Bytes::copy_from_slice(bytes);
    let Ok(records) = kcl_kinesis::testing::read_cbor(&reply) else { return };
    // The names of two members are in each record, and a list that grows doubles.
    assert!(records.capacity() <= bytes.len() / 8 + 4, "room for {}", records.capacity());
    let range = reply.as_ptr_range();
    let within = |part: &[u8]| {
        let part_range = part.as_ptr_range();
        part.is_empty() || (range.start <= part_range.start && part_range.end <= range.end)
    };
    for record in &records {
        assert!(within(&record.data) && within(record.partition_key.as_str().as_bytes()), "copied");
        let detached = record.clone().detached();
        assert_eq!(&detached, record);
        assert!(!within(&detached.data) || detached.data.is_empty(), "detached");
    }
}
