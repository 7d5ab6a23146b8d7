//! Aggregates of the public Python library expand to their user records.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use kcl_core::kpl::{
    Aggregator, Deaggregator, Expansion, HashRangePolicy, UserRecord, UserRecords, open,
};
use kcl_core::model::{HashKeyRange, Position, Record};
use serde_json::Value;

/// A user record of an aggregate: partition key, explicit hash key, data.
type Sent = (String, Option<u128>, Vec<u8>);

struct Golden {
    name: String,
    frame: Bytes,
    sent: Vec<Sent>,
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn runs(value: &Value) -> Vec<u8> {
    let run = |run: &Value| match run.as_str() {
        Some(hex) => unhex(hex),
        None => unhex(run["hex"].as_str().unwrap())
            .repeat(run["times"].as_u64().unwrap().try_into().unwrap()),
    };
    value.as_array().unwrap().iter().flat_map(run).collect()
}

fn golden() -> Vec<Golden> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kpl-frames/frames.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let sent = |record: &Value| {
        let hash_key = record["hash_key"].as_str().map(|key| key.parse().unwrap());
        (record["key"].as_str().unwrap().to_owned(), hash_key, runs(&record["data"]))
    };
    let line = |line| {
        let json: Value = serde_json::from_str(line).unwrap();
        Golden {
            name: json["name"].as_str().unwrap().to_owned(),
            frame: runs(&json["frame"]).into(),
            sent: json["records"].as_array().unwrap().iter().map(sent).collect(),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn python_user_records_round_trip() {
    let golden = golden();
    assert!(golden.len() >= 200, "{}", golden.len());
    for Golden { name, frame, sent } in golden {
        let message = open(&frame).unwrap().expect("an aggregate");
        let found = UserRecords::of(&message).unwrap().map(|record| {
            let UserRecord { partition_key, explicit_hash_key, data, .. } = record.unwrap();
            (partition_key.as_str().to_owned(), explicit_hash_key, data.to_vec())
        });
        assert!(found.collect::<Vec<_>>() == sent, "{name}");
    }
}

#[test]
fn python_records_are_numbered_and_filtered_by_hash_key() {
    let upper = HashKeyRange { start: 1 << 127, end: u128::MAX };
    for Golden { name, frame, sent } in golden() {
        let outer = Record::new(Position::of(9.into()), "outer", frame, None);
        for (policy, range) in
            [(HashRangePolicy::Deliver, HashKeyRange::FULL), (HashRangePolicy::Drop, upper)]
        {
            let is_kept = |(key, hash_key, _): &Sent| {
                range.contains(hash_key.unwrap_or_else(|| kcl_core::kpl::hash_key(key)))
            };
            let kept: Vec<_> = (0..).zip(&sent).filter(|(_, sent)| is_kept(sent)).collect();
            let expected = kept.iter().map(|(sub_sequence, (key, _, data))| {
                let position = Position { sequence: 9.into(), sub_sequence: *sub_sequence };
                Record::new(position, key.as_str(), data.clone(), None)
            });
            let mut records = Vec::new();
            let expansion =
                Deaggregator::new(policy, Some(range)).expand(outer.clone(), &mut records);
            assert!(records == expected.collect::<Vec<_>>(), "{name}, {policy:?}");
            let out_of_range = sent.len() - kept.len();
            let user_records = kept.len();
            assert_eq!(expansion, Expansion::Aggregate { user_records, out_of_range }, "{name}");
        }
    }
}

/// Both libraries write the key tables first, in the order of first use.
#[test]
fn frames_match_the_python_library_byte_for_byte() {
    for Golden { name, frame, sent } in golden() {
        let mut aggregator = Aggregator::new(2 << 20);
        for (key, hash_key, data) in &sent {
            assert_eq!(aggregator.add(key, *hash_key, data), Ok(None));
        }
        assert!(aggregator.finish().unwrap().data == frame, "{name}");
    }
}
