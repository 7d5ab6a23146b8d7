//! Replies with records: pinned bytes, every form of CBOR, and bytes that are no reply.

use std::time::Duration;

use bytes::Bytes;
use kcl_core::model::{ChildShard, HashKeyRange, Position, Record, Timestamp};
use proptest::prelude::*;

use super::page::Page;
use super::written::{Value, Writer};

fn read(reply: &[u8]) -> Page {
    Page::read(&Bytes::copy_from_slice(reply)).unwrap()
}

#[track_caller]
fn refused(reply: &[u8]) -> String {
    Page::read(&Bytes::copy_from_slice(reply)).unwrap_err().to_string()
}

/// A record of the golden replies.
fn tea(arrived: Option<i64>) -> Record {
    let arrived = arrived.map(Timestamp::from_epoch_millis);
    Record::new(Position::of(495_903.into()), "key", "tea", arrived)
}

/// The reply of the embedded Kinesis, with `time` as the time of its record.
fn embedded(time: &[u8]) -> Vec<u8> {
    let head = b"\xa3\x72MillisBehindLatest\x19\x05\xdc\x67Records\x81\xa4\x6cPartitionKey\x63key\
                 \x64Data\x43tea\x78\x1bApproximateArrivalTimestamp";
    let tail = b"\x6eSequenceNumber\x66495903\x71NextShardIterator\x63AAE";
    [&head[..], time, tail].concat()
}

#[test]
fn reply_of_the_embedded_kinesis() {
    let page = Page {
        records: vec![tea(Some(1_787_036_486_712))],
        next: Some("AAE".into()),
        behind_latest: Some(Duration::from_millis(1_500)),
        children: Vec::new(),
    };
    // Whole milliseconds, with and without a tag.
    assert_eq!(read(&embedded(b"\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38")), page);
    assert_eq!(read(&embedded(b"\xc1\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38")), page);
    // Seconds, as RFC 8949 has it.
    let page = Page { records: vec![tea(Some(1_500))], ..page };
    assert_eq!(read(&embedded(b"\xc1\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00")), page);
    let page = Page { records: vec![tea(None)], ..page };
    assert_eq!(read(&embedded(b"\xf6")), page);
}

#[test]
fn indefinite_maps_as_java_writes_them() {
    let reply = b"\xbf\x67Records\x9f\xbf\x6eSequenceNumber\x66495903\x64Data\x43tea\
                  \x6cPartitionKey\x63key\xff\xff\x71NextShardIterator\xf6\
                  \x72MillisBehindLatest\x00\x6bChildShards\x9f\xff\xff";
    let expected =
        Page { records: vec![tea(None)], behind_latest: Some(Duration::ZERO), ..Page::default() };
    assert_eq!(read(reply), expected);
}

#[test]
fn last_reply_names_the_children() {
    let reply = b"\xa3\x67Records\x80\x72MillisBehindLatest\x20\x6bChildShards\x81\xa3\
                  \x67ShardId\x65child\x6cParentShards\x82\x61p\x61q\x6cHashKeyRange\xa2\
                  \x6fStartingHashKey\x610\x6dEndingHashKey\x619";
    let child = ChildShard {
        id: "child".into(),
        parents: vec!["p".into(), "q".into()],
        hash_range: HashKeyRange { start: 0, end: 9 },
    };
    let expected =
        Page { behind_latest: Some(Duration::ZERO), children: vec![child], ..Page::default() };
    assert_eq!(read(reply), expected);
}

#[test]
fn refused_replies_say_why() {
    let of = |record: &[u8]| refused(&[b"\xa1\x67Records\x81", record].concat());
    let pieces = "not a text in one piece";
    for (text, expected) in [
        (refused(b""), "ends early"),
        (refused(b"<html>"), "a reserved length"),
        (refused(b"\x80"), "not a map"),
        (refused(b"\xa0\x00"), "bytes after its end"),
        (refused(b"\xa1\x67Records"), "ends early"),
        (refused(b"\xa1\x01\x00"), "a member without a name"),
        (refused(b"\xa1\x67Records\x01"), "not an array"),
        (refused(b"\xa1\x71NextShardIterator\x7f\x61A\xff"), pieces),
        (refused(b"\xa1\x71NextShardIterator\x61\xff"), "text"),
        (refused(b"\xa1\x72MillisBehindLatest\x61x"), "not a number"),
        (of(b"\xf6"), "record that is null"),
        (of(b"\xa0"), "record without a sequence number"),
        (of(b"\xa1\x6eSequenceNumber\x615"), "record without data"),
        (of(b"\xa1\x6eSequenceNumber\x61x"), "sequence number of a record"),
        (of(b"\xa1\x64Data\x5f\x41a\xff"), "not bytes in one piece"),
        (of(b"\xa1\x64Data\x64dGVh"), "not bytes in one piece"),
        (
            of(b"\xa3\x6eSequenceNumber\x615\x64Data\x40\x6cPartitionKey\x61\xff"),
            "partition key of a record",
        ),
        (refused(b"\xa1\x6bChildShards\x81\xa0"), "child without an id"),
        (refused(b"\xa1\x6bChildShards\x81\xa1\x67ShardId\x61c"), "shard without hash range"),
    ] {
        assert_eq!(text, format!("reply is unreadable: {expected}"));
    }
}

#[test]
fn counts_are_not_believed() {
    for count in [&b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x9a\x00\x98\x96\x80"] {
        assert!(refused(&[b"\xa1\x67Records", count].concat()).ends_with("ends early"));
    }
    let many = [b"\xa1\x67Records\x9a\x00\x07\xa1\x20", &[0xa0; 500_000][..]].concat();
    assert!(refused(&many).ends_with("record without a sequence number"));
    let record = b"\xa2\x6eSequenceNumber\x615\x64Data\x40";
    let most = [b"\xa1\x67Records\x9f", &record.repeat(10_000)[..], b"\xff"].concat();
    assert_eq!(read(&most).records.len(), 10_000);
    let more = [b"\xa1\x67Records\x9f", &record.repeat(10_001)[..], b"\xff"].concat();
    assert!(refused(&more).ends_with("more records than a call returns"));
}

#[test]
fn every_reply_that_is_cut_is_refused() {
    let reply = embedded(b"\xc1\x1b\x00\x00\x01\xa0\x13\xac\xcc\x38");
    for length in 0..reply.len() {
        refused(&reply[..length]);
    }
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![9 => ".{0,30}", 1 => ".{200,300}"]
}

fn records() -> impl Strategy<Value = Record> {
    let number = prop_oneof!["0{0,3}[1-9][0-9]{0,60}", "0", "[1-9][0-9]{55}"];
    let data = prop::collection::vec(any::<u8>(), 0..40);
    let arrived = prop::option::of(0..4_000_000_000_000_i64);
    (number, texts(), data, arrived).prop_map(|(number, key, data, arrived)| {
        let arrived = arrived.map(Timestamp::from_epoch_millis);
        Record::new(Position::of(number.parse().unwrap()), key, data, arrived)
    })
}

fn children() -> impl Strategy<Value = ChildShard> {
    (texts(), prop::collection::vec(texts(), 0..3), any::<(u128, u128)>()).prop_map(
        |(id, parents, (one, other))| ChildShard {
            id: id.into(),
            parents: parents.into_iter().map(Into::into).collect(),
            hash_range: HashKeyRange { start: one.min(other), end: one.max(other) },
        },
    )
}

fn pages() -> impl Strategy<Value = Page> {
    let records = prop::collection::vec(records(), 0..6);
    let children = prop::collection::vec(children(), 0..3);
    let behind = prop::option::of(any::<u64>());
    (records, prop::option::of(texts()), behind, children).prop_map(
        |(records, next, behind, children)| Page {
            records,
            next,
            behind_latest: behind.map(Duration::from_millis),
            children,
        },
    )
}

fn text(text: &impl ToString) -> Value {
    Value::Text(text.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "the times of the test are exact")]
fn written_record(record: &Record, is_float: bool) -> Value {
    let millis = record.arrived.map(Timestamp::epoch_millis);
    let arrived = millis.map_or(Value::Null, |millis| {
        if is_float {
            Value::Float(millis as f64 / 1_000.0)
        } else {
            Value::Unsigned(u64::try_from(millis).unwrap())
        }
    });
    Value::Map(vec![
        ("SequenceNumber", text(&record.position.sequence)),
        ("PartitionKey", text(&record.partition_key)),
        ("Data", Value::Bytes(record.data.to_vec())),
        ("ApproximateArrivalTimestamp", arrived),
    ])
}

fn written_child(child: &ChildShard) -> Value {
    Value::Map(vec![
        ("ShardId", text(&child.id)),
        ("ParentShards", Value::Array(child.parents.iter().map(text).collect())),
        (
            "HashKeyRange",
            Value::Map(vec![
                ("StartingHashKey", text(&child.hash_range.start)),
                ("EndingHashKey", text(&child.hash_range.end)),
            ]),
        ),
    ])
}

fn written(page: &Page, is_float: bool) -> Value {
    let behind = page
        .behind_latest
        .map(|behind| Value::Unsigned(u64::try_from(behind.as_millis()).unwrap()));
    let records = page.records.iter().map(|record| written_record(record, is_float));
    Value::Map(vec![
        ("Records", Value::Array(records.collect())),
        ("NextShardIterator", page.next.as_ref().map_or(Value::Null, text)),
        ("MillisBehindLatest", behind.unwrap_or(Value::Null)),
        ("ChildShards", Value::Array(page.children.iter().map(written_child).collect())),
    ])
}

proptest! {
    #[test]
    fn any_page_in_any_form_is_read(
        page in pages(),
        is_float in any::<bool>(),
        choices in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let reply = Bytes::from(Writer::write(&written(&page, is_float), choices));
        let read = Page::read(&reply).unwrap();
        prop_assert_eq!(&read, &page);
        let numbers = |page: &Page| -> Vec<_> {
            page.records.iter().map(|record| record.position.to_string()).collect()
        };
        prop_assert_eq!(numbers(&read), numbers(&page), "leading zeros too");
        let range = reply.as_ptr_range();
        let is_inside = |part: &[u8]| part.is_empty() || range.contains(&part.as_ptr());
        for record in &read.records {
            prop_assert!(is_inside(&record.data), "data is copied");
            prop_assert!(is_inside(record.partition_key.as_str().as_bytes()), "key is copied");
        }
    }

    #[test]
    fn no_bytes_panic(
        page in pages(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut reply = Writer::write(&written(&page, false), Vec::new());
        for (at, byte) in flips {
            let at = at.index(reply.len());
            reply[at] = byte;
        }
        if let Ok(page) = Page::read(&reply.clone().into()) {
            prop_assert!(page.records.len() <= reply.len());
        }
    }
}
