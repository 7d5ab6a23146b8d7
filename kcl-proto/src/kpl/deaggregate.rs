//! One record → its user records, with sub-sequence numbers and the hash-range policy.

use bytes::Bytes;

use super::frame::{Malformed, open};
use super::user_records::UserRecords;
use crate::model::{HashKeyRange, Position, Record};

/// What to do with a user record whose hash key lies outside of its shard's range.
///
/// A producer that knew an older set of shards puts such records. The KPL itself notices and puts
/// them again into the right shard; other producers do neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HashRangePolicy {
    /// Deliver it like any other: with the KPL it may come twice, from two shards.
    #[default]
    Deliver,
    /// Drop it, and count it: right if every producer is the KPL.
    Drop,
}

/// Expands aggregated records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Deaggregator {
    /// What is delivered; everything if none.
    kept: Option<HashKeyRange>,
}

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "it is an aggregate, or it is not, or it is broken")]
pub enum Expansion {
    /// Not aggregated.
    Plain,
    /// An aggregate.
    Aggregate {
        /// How many user records it was expanded to.
        user_records: usize,
        /// How many more were dropped by [`HashRangePolicy::Drop`].
        out_of_range: usize,
    },
    /// It begins like an aggregate and is none: it is there as it was.
    Malformed(Malformed),
}

impl Deaggregator {
    /// Expands records of a shard with this range of hash keys; without one nothing is dropped.
    #[must_use]
    pub const fn new(policy: HashRangePolicy, range: Option<HashKeyRange>) -> Self {
        match policy {
            HashRangePolicy::Deliver => Self { kept: None },
            HashRangePolicy::Drop => Self { kept: range },
        }
    }

    /// Appends the user records of `record` to `records`; or `record` itself, unless it is a valid
    /// aggregate as a whole.
    ///
    /// The sub-sequence number of a user record is its place in the aggregate, whatever is dropped.
    /// User records share the memory of `record`.
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

    /// Appends the user records of `message`, the one in `outer`'s frame, to `records`; returns how
    /// many these are, and how many were dropped.
    ///
    /// # Errors
    /// If the message is malformed: nothing is appended then.
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
    fn an_aggregate_becomes_its_user_records() {
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
    fn what_is_no_aggregate_stays_as_it_is() {
        let plain = outer("just text");
        assert_eq!(expand(Deaggregator::default(), plain.clone()), (vec![plain], Expansion::Plain));
    }

    #[test]
    fn what_is_malformed_anywhere_stays_as_it_is() {
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
    fn an_aggregate_of_no_user_records_is_nothing() {
        let none = Expansion::Aggregate { user_records: 0, out_of_range: 0 };
        assert_eq!(expand(Deaggregator::default(), outer(seal(b"\x0A\x01a"))), (vec![], none));
    }

    #[test]
    fn what_lies_outside_of_the_shard_is_dropped_where_that_is_asked_for() {
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
