//! The decoder of aggregated records agrees with `prost`, on valid and on broken messages.

use bytes::Bytes;
use kcl_core::kpl::{Malformed, UserRecord, UserRecords};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_keys: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_keys: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Entry>,
}

/// Required fields are optional here, because `prost` does not check that they are present.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    tags: Vec<Tag>,
}

#[derive(Clone, PartialEq, Message)]
struct Tag {
    #[prost(string, optional, tag = "1")]
    key: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

type Found = Option<Vec<(String, Option<u128>, Vec<u8>)>>;

fn theirs(message: &[u8]) -> Found {
    let aggregate = AggregatedRecord::decode(message).ok()?;
    let at = |index: u64, table: &[String]| table.get(usize::try_from(index).ok()?).cloned();
    let digits = |key: &String| key.bytes().all(|byte| byte.is_ascii_digit());
    let record = |entry: &Entry| {
        let key = at(entry.partition_key?, &aggregate.partition_keys)?;
        let hash_key = match entry.explicit_hash_key {
            Some(index) => {
                Some(at(index, &aggregate.explicit_hash_keys).filter(digits)?.parse().ok()?)
            }
            None => None,
        };
        let data = entry.data.clone()?;
        entry.tags.iter().all(|tag| tag.key.is_some()).then_some((key, hash_key, data))
    };
    aggregate.records.iter().map(record).collect()
}

fn ours(message: &[u8]) -> Found {
    let message = Bytes::copy_from_slice(message);
    let record = |record: Result<UserRecord, Malformed>| {
        let UserRecord { partition_key, explicit_hash_key, data, .. } = record?;
        Ok((partition_key.as_str().to_owned(), explicit_hash_key, data.to_vec()))
    };
    let found: Result<_, Malformed> =
        UserRecords::of(&message).and_then(|records| records.map(record).collect());
    found.ok()
}

fn tag() -> impl Strategy<Value = Tag> {
    (prop::option::weighted(0.9, ".{0,3}"), prop::option::of(".{0,3}"))
        .prop_map(|(key, value)| Tag { key, value })
}

fn entry() -> impl Strategy<Value = Entry> {
    let index = || prop_oneof![9 => 0_u64..3, 1 => any::<u64>()];
    let tags = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(tag(), 0..3)];
    let data = prop::collection::vec(any::<u8>(), 0..20);
    let fields = (
        prop::option::weighted(0.95, index()),
        prop::option::weighted(0.4, index()),
        prop::option::weighted(0.95, data),
        tags,
    );
    fields.prop_map(|(partition_key, explicit_hash_key, data, tags)| Entry {
        partition_key,
        explicit_hash_key,
        data,
        tags,
    })
}

fn aggregate() -> impl Strategy<Value = AggregatedRecord> {
    let hash_key = prop_oneof![9 => "[0-9]{1,30}", 1 => "[-+0-9x]{0,41}"];
    let fields = (
        prop::collection::vec(".{0,8}", 2..5),
        prop::collection::vec(hash_key, 1..4),
        prop::collection::vec(entry(), 0..5),
    );
    fields.prop_map(|(partition_keys, explicit_hash_keys, records)| AggregatedRecord {
        partition_keys,
        explicit_hash_keys,
        records,
    })
}

/// Generates an unknown field of each wire type.
fn unknown_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\x28\x96\x01".to_vec()),
        Just(b"\x31eightbyt".to_vec()),
        Just(b"\x3A\x02ab".to_vec()),
        Just(b"\x43\x4B\x08\x01\x4C\x12\x00\x44".to_vec()),
        Just(b"\x4Dfour".to_vec()),
    ]
}

/// Generates a message with its fields in any order: concatenated messages are one message.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let part =
        prop_oneof![4 => aggregate().prop_map(|it| it.encode_to_vec()), 1 => unknown_field()];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat())
}

/// Generates a message with some bytes changed, added or removed.
fn broken() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4);
    (message(), prop::collection::vec(change, 1..4)).prop_map(|(mut message, changes)| {
        for (place, byte, how) in changes {
            let at = place.index(message.len() + 1);
            match how {
                0 => message.insert(at, byte),
                1 => message.truncate(at.max(1)),
                _ => message.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
            }
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn good_messages_mean_the_same(message in message()) {
        prop_assert_eq!(ours(&message), theirs(&message));
    }

    #[test]
    fn broken_messages_are_refused_or_mean_the_same(message in broken()) {
        prop_assert_eq!(ours(&message), theirs(&message));
    }

    #[test]
    fn any_bytes_are_refused_or_mean_the_same(
        message in prop::collection::vec(prop_oneof![0..0x30_u8, any::<u8>()], 0..40),
    ) {
        prop_assert_eq!(ours(&message), theirs(&message));
    }
}

#[test]
fn enough_generated_messages_are_valid() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut is_good = |_| theirs(&message().new_tree(&mut runner).unwrap().current()).is_some();
    let good = (0..1_000).filter(|number: &u32| is_good(*number)).count();
    assert!((200..900).contains(&good), "{good}");
}
