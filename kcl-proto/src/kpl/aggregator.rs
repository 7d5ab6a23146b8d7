//! Aggregation of user records into one record, for producers and tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use thiserror::Error;

use super::frame::{OVERHEAD_BYTES, USER_RECORDS_MAX, seal};
use super::wire::{put_bytes, put_number};
use crate::model::PartitionKey;

/// The maximum size of an index into a table with its tag.
const INDEX_BYTES_MAX: usize = 11;

/// Collects user records into frames of a bounded size.
///
/// A frame goes into one shard: user records of different shards need an aggregator each.
#[derive(Clone, Debug)]
pub struct Aggregator {
    bytes_max: usize,
    first: Option<(PartitionKey, Option<u128>)>,
    partition_keys: Table<String>,
    explicit_hash_keys: Table<u128>,
    records: Vec<u8>,
    count: usize,
}

/// A frame to put into a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aggregate {
    /// The frame.
    pub data: Bytes,
    /// The partition key to put the frame under: that of its first user record.
    pub partition_key: PartitionKey,
    /// The explicit hash key to put the frame under, or `None` if its first user record has none.
    pub explicit_hash_key: Option<u128>,
    /// The number of its user records.
    pub user_records: usize,
}

/// A user record does not fit into any frame. Put it into the stream unaggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("user record makes an aggregate of {bytes} bytes, more than {bytes_max}")]
pub struct TooLarge {
    bytes: usize,
    bytes_max: usize,
}

/// The distinct keys and their encoding.
#[derive(Clone, Debug)]
struct Table<K> {
    places: BTreeMap<K, u64>,
    encoded: Vec<u8>,
}

impl Aggregator {
    /// Creates an aggregator of frames of at most `bytes_max` bytes. Kinesis takes up to 1 MiB with
    /// the partition key; 50 KB are usual.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            first: None,
            partition_keys: Table::new(),
            explicit_hash_keys: Table::new(),
            records: Vec::new(),
            count: 0,
        }
    }

    /// Adds a user record. Returns the frame of the earlier ones if the record does not fit into
    /// it, or `None`.
    ///
    /// # Errors
    /// If the record does not fit into a frame of its own. The aggregator is unchanged.
    pub fn add(
        &mut self,
        partition_key: &str,
        explicit_hash_key: Option<u128>,
        data: &[u8],
    ) -> Result<Option<Aggregate>, TooLarge> {
        let key_bytes = explicit_hash_key.map_or(0, |key| key.to_string().len() + INDEX_BYTES_MAX);
        // An upper bound: indexes count with their maximum size.
        let record_bytes = partition_key.len() + key_bytes + data.len() + 6 * INDEX_BYTES_MAX;
        let alone = OVERHEAD_BYTES + record_bytes;
        if alone > self.bytes_max {
            return Err(TooLarge { bytes: alone, bytes_max: self.bytes_max });
        }
        let is_full =
            self.count >= USER_RECORDS_MAX || self.bytes() + record_bytes > self.bytes_max;
        let finished = if is_full { self.finish() } else { None };
        self.append(partition_key, explicit_hash_key, data);
        Ok(finished)
    }

    /// Returns the current frame and starts the next one, or returns `None` if the frame is empty.
    pub fn finish(&mut self) -> Option<Aggregate> {
        let (partition_key, explicit_hash_key) = self.first.take()?;
        let mut message = std::mem::take(&mut self.partition_keys).encoded;
        message.append(&mut std::mem::take(&mut self.explicit_hash_keys).encoded);
        message.append(&mut self.records);
        let user_records = std::mem::take(&mut self.count);
        Some(Aggregate { data: seal(&message), partition_key, explicit_hash_key, user_records })
    }

    fn append(&mut self, partition_key: &str, explicit_hash_key: Option<u128>, data: &[u8]) {
        self.first.get_or_insert_with(|| (partition_key.into(), explicit_hash_key));
        let mut record = Vec::with_capacity(data.len() + 3 * INDEX_BYTES_MAX);
        let encode = |key: &String| key.clone();
        put_number(&mut record, 1, self.partition_keys.place(1, partition_key.to_owned(), encode));
        if let Some(key) = explicit_hash_key {
            put_number(&mut record, 2, self.explicit_hash_keys.place(2, key, u128::to_string));
        }
        put_bytes(&mut record, 3, data);
        put_bytes(&mut self.records, 3, &record);
        self.count += 1;
    }

    /// Returns the size of the current frame in bytes.
    fn bytes(&self) -> usize {
        let tables = self.partition_keys.encoded.len() + self.explicit_hash_keys.encoded.len();
        OVERHEAD_BYTES + tables + self.records.len()
    }
}

impl<K> Table<K> {
    const fn new() -> Self {
        Self { places: BTreeMap::new(), encoded: Vec::new() }
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> Table<K> {
    /// Returns the index of a key, which is added if it is new.
    fn place(&mut self, field: u8, key: K, encode: impl Fn(&K) -> String) -> u64 {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let place = self.places.len() as u64;
        put_bytes(&mut self.encoded, field, encode(&key).as_bytes());
        self.places.insert(key, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{UserRecord, UserRecords, open};
    use super::*;

    fn user_records(aggregate: &Aggregate) -> Vec<(String, Option<u128>, Vec<u8>)> {
        let message = open(&aggregate.data).unwrap().unwrap();
        let records = UserRecords::of(&message).unwrap().map(|record| {
            let UserRecord { partition_key, explicit_hash_key, data } = record.unwrap();
            (partition_key.as_str().to_owned(), explicit_hash_key, data.to_vec())
        });
        records.collect()
    }

    #[test]
    fn repeated_keys_are_stored_once() {
        let mut aggregator = Aggregator::new(50_000);
        let key = "k".repeat(200);
        for _ in 0..100 {
            assert_eq!(aggregator.add(&key, Some(u128::MAX), b"tea"), Ok(None));
        }
        let aggregate = aggregator.finish().unwrap();
        assert!(aggregate.data.len() < 20 + 250 + 100 * 11, "{}", aggregate.data.len());
        assert_eq!(aggregator.finish(), None);
    }

    #[test]
    fn frame_has_the_keys_of_its_first_user_record() {
        let mut aggregator = Aggregator::new(1_000);
        assert_eq!(aggregator.add("a", Some(7), b"tea"), Ok(None));
        assert_eq!(aggregator.add("b", None, b"tea"), Ok(None));
        let aggregate = aggregator.finish().unwrap();
        let Aggregate { partition_key, explicit_hash_key, user_records, .. } = aggregate;
        assert_eq!((partition_key.as_str(), explicit_hash_key, user_records), ("a", Some(7), 2));
    }

    #[test]
    fn too_large_user_record_changes_nothing() {
        let mut aggregator = Aggregator::new(1_000);
        assert_eq!(aggregator.add("a", None, b"tea"), Ok(None));
        let error = aggregator.add("a", None, &[0; 1_000]).unwrap_err();
        assert!(error.to_string().ends_with("more than 1000"), "{error}");
        assert_eq!(user_records(&aggregator.finish().unwrap()).len(), 1);
    }

    proptest! {
        #[test]
        fn user_records_round_trip_in_bounded_frames(
            sent in prop::collection::vec(
                (".{0,20}", prop::option::of(any::<u128>()), prop::collection::vec(any::<u8>(), 0..300)),
                1..40,
            ),
            bytes_max in 600_usize..3_000,
        ) {
            let (mut aggregator, mut frames) = (Aggregator::new(bytes_max), Vec::new());
            for (key, explicit_hash_key, data) in &sent {
                frames.extend(aggregator.add(key, *explicit_hash_key, data).unwrap());
            }
            frames.extend(aggregator.finish());
            prop_assert!(frames.iter().all(|frame| frame.data.len() <= bytes_max));
            let counts: usize = frames.iter().map(|frame| frame.user_records).sum();
            prop_assert_eq!(counts, sent.len());
            prop_assert_eq!(frames.iter().flat_map(user_records).collect::<Vec<_>>(), sent);
        }
    }
}
