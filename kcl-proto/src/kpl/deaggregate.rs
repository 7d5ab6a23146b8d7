//! Expansion of one record into its user records, with sub-sequence numbers and the hash-range
//! policy.

use bytes::Bytes;

use super::frame::{Malformed, open};
use super::user_records::UserRecords;
use crate::model::{HashKeyRange, Position, Record};

/// What to do with a user record whose hash key is outside its shard's range.
///
/// Such records come from producers with outdated shard maps. The KPL notices and puts them again
/// into the right shard; other producers do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HashRangePolicy {
    /// Deliver it. With the KPL it may be delivered twice, from two shards.
    #[default]
    Deliver,
    /// Drop it and count it. Use this only if every producer is the KPL.
    Drop,
}

/// Expands aggregated records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Deaggregator {
    /// The hash keys that are delivered, or `None` for all.
    kept: Option<HashKeyRange>,
}

/// The kind of a record, and the result of its expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "plain, aggregated or malformed")]
pub enum Expansion {
    /// Not aggregated.
    Plain,
    /// An aggregate.
    Aggregate {
        /// The number of user records that it was expanded to.
        user_records: usize,
        /// The number of further user records that [`HashRangePolicy::Drop`] dropped.
        out_of_range: usize,
    },
    /// It looks aggregated but does not decode. It is returned unchanged.
    Malformed(Malformed),
}

impl Deaggregator {
    /// Creates a deaggregator for a shard with these hash keys. If `range` is `None`, no record is
    /// dropped.
    #[must_use]
    pub const fn new(policy: HashRangePolicy, range: Option<HashKeyRange>) -> Self {
        match policy {
            HashRangePolicy::Deliver => Self { kept: None },
            HashRangePolicy::Drop => Self { kept: range },
        }
    }

    /// Appends the user records of `record` to `records`, or `record` itself if it is not a valid
    /// aggregate.
    ///
    /// The sub-sequence number of a user record is its index in the aggregate, dropped ones
    /// included. User records share the memory of `record`.
    pub fn expand(&self, record: Record, records: &mut Vec<Record>) -> Expansion {
        let message = match open(&record.data) {
            Ok(Some(message)) => message,
            Ok(None) => {
                records.push(record);
                return Expansion::Plain;
            }
            Err(malformed) => {
                records.push(record);
                return Expansion::Malformed(malformed);
            }
        };
        match self.expand_message(&message, &record, records) {
            Ok((user_records, out_of_range)) => Expansion::Aggregate { user_records, out_of_range },
            Err(malformed) => {
                records.push(record);
                Expansion::Malformed(malformed)
            }
        }
    }

    /// Appends the user records of `message`, the message in the frame of `outer`, to `records`.
    /// Returns how many were appended and how many were dropped.
    ///
    /// # Errors
    /// If the message is malformed. Then `records` is unchanged.
    pub fn expand_message(
        &self,
        message: &Bytes,
        outer: &Record,
        records: &mut Vec<Record>,
    ) -> Result<(usize, usize), Malformed> {
        let before = records.len();
        let end = self.append(message, outer, records).inspect_err(|_| records.truncate(before))?;
        let appended = records.len() - before;
        Ok((appended, end - appended))
    }

    fn append(
        &self,
        message: &Bytes,
        outer: &Record,
        records: &mut Vec<Record>,
    ) -> Result<usize, Malformed> {
        let user_records = UserRecords::of(message)?;
        records.reserve(user_records.size_hint().1.unwrap_or_default());
        let mut position = Position::of(outer.position.sequence);
        let mut count = 0;
        for user_record in user_records {
            let user_record = user_record?;
            if self.kept.is_none_or(|kept| kept.contains(user_record.hash_key())) {
                records.push(Record {
                    position,
                    partition_key: user_record.partition_key,
                    data: user_record.data,
                    arrived: outer.arrived,
                });
            }
            position.sub_sequence += 1;
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Aggregator, seal};
    use super::*;
    use crate::model::Timestamp;

    fn outer(data: impl Into<Bytes>) -> Record {
        let arrived = Some(Timestamp::from_epoch_millis(5));
        Record::new(Position::of(42.into()), "outer", data, arrived)
    }

    /// A record of three user records with the hash keys 10, 20 and 30.
    fn aggregated() -> Record {
        let mut aggregator = Aggregator::new(1_000);
        for (key, hash_key, data) in [("a", 10, "tea"), ("b", 20, ""), ("a", 30, "cake")] {
            assert_eq!(aggregator.add(key, Some(hash_key), data.as_bytes()), Ok(None));
        }
        outer(aggregator.finish().unwrap().data)
    }

    fn expand(deaggregator: Deaggregator, record: Record) -> (Vec<Record>, Expansion) {
        let mut records = vec![outer("before")];
        let expansion = deaggregator.expand(record, &mut records);
        assert_eq!(records.remove(0), outer("before"));
        (records, expansion)
    }

    fn part(sub_sequence: u64, key: &str, data: &'static str) -> Record {
        let position = Position { sequence: 42.into(), sub_sequence };
        Record::new(position, key, data, outer("").arrived)
    }

    #[test]
    fn aggregate_becomes_its_user_records() {
        let expected = vec![part(0, "a", "tea"), part(1, "b", ""), part(2, "a", "cake")];
        let expansion = Expansion::Aggregate { user_records: 3, out_of_range: 0 };
        assert_eq!(expand(Deaggregator::default(), aggregated()), (expected, expansion));
    }

    #[test]
    fn user_records_are_slices_of_their_aggregate() {
        let record = aggregated();
        let frame = record.data.as_ptr_range();
        let (records, _) = expand(Deaggregator::default(), record);
        for part in records.iter().filter(|part| !part.data.is_empty()) {
            assert!(frame.contains(&part.data.as_ptr()));
            assert!(frame.contains(&part.partition_key.as_str().as_ptr()));
        }
    }

    #[test]
    fn plain_record_is_unchanged() {
        let plain = outer("just text");
        assert_eq!(expand(Deaggregator::default(), plain.clone()), (vec![plain], Expansion::Plain));
    }

    #[test]
    fn malformed_aggregate_is_unchanged() {
        let whole = open(&aggregated().data).unwrap().unwrap();
        for (message, malformed) in [
            (&whole[..whole.len() - 1], Malformed::Wire),
            (&[&whole[..], b"\x1A\x00"].concat(), Malformed::Required),
            (&[&whole[..], b"\x1A\x04\x08\x09\x1A\x00"].concat(), Malformed::Index),
        ] {
            let record = outer(seal(message));
            let expected = (vec![record.clone()], Expansion::Malformed(malformed));
            assert_eq!(expand(Deaggregator::default(), record), expected);
        }
        let mut data = aggregated().data.to_vec();
        data[30] ^= 1;
        let (records, expansion) = expand(Deaggregator::default(), outer(data.clone()));
        assert_eq!(
            (records, expansion),
            (vec![outer(data)], Expansion::Malformed(Malformed::Digest))
        );
    }

    #[test]
    fn empty_aggregate_disappears() {
        let none = Expansion::Aggregate { user_records: 0, out_of_range: 0 };
        assert_eq!(expand(Deaggregator::default(), outer(seal(b"\x0A\x01a"))), (vec![], none));
    }

    #[test]
    fn records_out_of_range_are_dropped_on_request() {
        let middle = Some(HashKeyRange { start: 20, end: 29 });
        let expected = vec![part(1, "b", "")];
        let expansion = Expansion::Aggregate { user_records: 1, out_of_range: 2 };
        let drops = Deaggregator::new(HashRangePolicy::Drop, middle);
        assert_eq!(expand(drops, aggregated()), (expected, expansion));
        let unknown = Deaggregator::new(HashRangePolicy::Drop, None);
        assert_eq!(expand(unknown, aggregated()).0.len(), 3);
        let delivers = Deaggregator::new(HashRangePolicy::Deliver, middle);
        assert_eq!(expand(delivers, aggregated()).0.len(), 3);
        let plain = outer("just text");
        assert_eq!(expand(drops, plain.clone()).0, [plain]);
    }
}
