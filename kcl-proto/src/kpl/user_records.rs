//! The user records of one message, in order.

use bytes::Bytes;
use md5::{Digest, Md5};

use super::frame::{Malformed, USER_RECORDS_MAX};
use super::wire::Fields;
use crate::model::PartitionKey;

/// A record as its producer sent it, before aggregation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// The producer's partition key.
    pub partition_key: PartitionKey,
    /// The hash key that the producer chose, or `None` if it chose none.
    pub explicit_hash_key: Option<u128>,
    /// The producer's data.
    pub data: Bytes,
}

impl UserRecord {
    /// Returns the hash key that determines its shard: the explicit one, or the [`hash_key`] of its
    /// partition key.
    #[must_use]
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| hash_key(self.partition_key.as_str()))
    }
}

/// Returns the hash key of a partition key: its MD5 as a number.
///
/// Source: Kinesis Developer Guide, "Key concepts", partition key.
#[must_use]
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// An iterator over the user records of a message: their index is their sub-sequence number.
///
/// They share the message's memory. The iterator ends after an error.
#[derive(Clone, Debug)]
pub struct UserRecords<'a> {
    message: &'a Bytes,
    fields: Fields<'a>,
    partition_keys: Vec<PartitionKey>,
    /// Contains `None` for a text that is not a hash key.
    explicit_hash_keys: Vec<Option<u128>>,
    left: usize,
}

/// One user record, with its keys as indexes into the tables.
struct Entry<'a> {
    partition_key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
}

impl<'a> UserRecords<'a> {
    /// Creates the iterator over a message that [`open`](super::open) returned.
    ///
    /// # Errors
    /// If a part of the message other than its user records is malformed.
    pub fn of(message: &'a Bytes) -> Result<Self, Malformed> {
        let fields = Fields::of(message);
        let (mut partition_keys, mut explicit_hash_keys, mut left) = (Vec::new(), Vec::new(), 0);
        // The tables may come after the user records that refer to them.
        for field in fields.clone() {
            let field = field?;
            match field.number {
                1 => {
                    bounded(partition_keys.len())?;
                    let key = message.slice_ref(field.value.bytes()?);
                    let Ok(key) = PartitionKey::try_from(key) else { return Err(Malformed::Text) };
                    partition_keys.push(key);
                }
                2 => {
                    bounded(explicit_hash_keys.len())?;
                    explicit_hash_keys.push(number(field.value.text()?));
                }
                3 => {
                    bounded(left)?;
                    field.value.bytes()?;
                    left += 1;
                }
                _ => {}
            }
        }
        Ok(Self { message, fields, partition_keys, explicit_hash_keys, left })
    }

    fn user_record(&self, entry: &Entry<'_>) -> Result<UserRecord, Malformed> {
        let partition_key = at(&self.partition_keys, entry.partition_key)?.clone();
        let explicit_hash_key = match entry.explicit_hash_key {
            Some(index) => Some(at(&self.explicit_hash_keys, index)?.ok_or(Malformed::HashKey)?),
            None => None,
        };
        let data = self.message.slice_ref(entry.data);
        Ok(UserRecord { partition_key, explicit_hash_key, data })
    }
}

impl Iterator for UserRecords<'_> {
    type Item = Result<UserRecord, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.fields.by_ref().find_map(|field| match field {
            Ok(field) if field.number != 3 => None,
            Ok(field) => Some(field.value.bytes().and_then(entry)),
            Err(error) => Some(Err(error)),
        })?;
        self.left = self.left.saturating_sub(1);
        let record = entry.and_then(|entry| self.user_record(&entry));
        if record.is_err() {
            (self.fields, self.left) = (Fields::of(&[]), 0);
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Returns an error if `count` things leave no room for another one.
const fn bounded(count: usize) -> Result<(), Malformed> {
    if count < USER_RECORDS_MAX { Ok(()) } else { Err(Malformed::TooMany) }
}

fn entry(message: &[u8]) -> Result<Entry<'_>, Malformed> {
    let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            1 => partition_key = Some(field.value.varint()?),
            2 => explicit_hash_key = Some(field.value.varint()?),
            3 => data = Some(field.value.bytes()?),
            4 => check_tag(field.value.bytes()?)?,
            _ => {}
        }
    }
    let (Some(partition_key), Some(data)) = (partition_key, data) else {
        return Err(Malformed::Required);
    };
    Ok(Entry { partition_key, explicit_hash_key, data })
}

/// Checks a tag. Tags are unused, but a malformed one means that the message is malformed.
fn check_tag(message: &[u8]) -> Result<(), Malformed> {
    let mut has_key = false;
    for field in Fields::of(message) {
        let field = field?;
        if matches!(field.number, 1 | 2) {
            field.value.text()?;
            has_key |= field.number == 1;
        }
    }
    if has_key { Ok(()) } else { Err(Malformed::Required) }
}

fn at<T>(table: &[T], index: u64) -> Result<&T, Malformed> {
    usize::try_from(index).ok().and_then(|index| table.get(index)).ok_or(Malformed::Index)
}

/// Parses a hash key in decimal, without a sign.
fn number(text: &str) -> Option<u128> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::super::wire::{put_bytes, put_number};
    use super::*;

    /// A message with the partition keys "a" and "b", the explicit hash keys 7 and nonsense, and
    /// this as its only user record.
    fn message(user_record: &[u8]) -> Bytes {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"a");
        put_bytes(&mut message, 2, b"7");
        put_bytes(&mut message, 2, b"-7");
        put_bytes(&mut message, 3, user_record);
        put_bytes(&mut message, 1, b"b");
        message.into()
    }

    fn user_record(partition_key: u64, explicit_hash_key: Option<u64>, data: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        put_number(&mut record, 1, partition_key);
        if let Some(index) = explicit_hash_key {
            put_number(&mut record, 2, index);
        }
        put_bytes(&mut record, 3, data);
        record
    }

    #[track_caller]
    fn check(record: &[u8], expected: Result<(&str, Option<u128>, &'static [u8]), Malformed>) {
        let expected = expected.map(|(key, explicit_hash_key, data)| UserRecord {
            partition_key: key.into(),
            explicit_hash_key,
            data: data.into(),
        });
        let message = message(record);
        assert_eq!(UserRecords::of(&message).unwrap().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn keys_are_found_in_tables_anywhere() {
        check(&user_record(0, None, b"tea"), Ok(("a", None, b"tea")));
        check(&user_record(1, Some(0), b""), Ok(("b", Some(7), b"")));
    }

    #[test]
    fn unknown_key_is_malformed() {
        check(&user_record(2, None, b"tea"), Err(Malformed::Index));
        check(&user_record(u64::MAX, None, b"tea"), Err(Malformed::Index));
        check(&user_record(0, Some(2), b"tea"), Err(Malformed::Index));
        check(&user_record(0, Some(1), b"tea"), Err(Malformed::HashKey));
    }

    #[test]
    fn missing_key_or_data_is_malformed() {
        check(b"", Err(Malformed::Required));
        check(b"\x08\x00", Err(Malformed::Required));
        check(b"\x1A\x01a", Err(Malformed::Required));
        check(b"\x0A\x01a\x1A\x01a", Err(Malformed::Wire));
    }

    #[test]
    fn tags_and_unknown_fields_are_ignored() {
        let tag = b"\x22\x06\x0A\x01k\x12\x01v";
        let record = [&user_record(0, None, b"tea")[..], tag, b"\x28\x01", b"\x08\x01"].concat();
        check(&record, Ok(("b", None, b"tea")));
        check(&[&user_record(0, None, b"tea")[..], b"\x22\x00"].concat(), Err(Malformed::Required));
        let tag = b"\x22\x03\x0A\x01\xFF";
        check(&[&user_record(0, None, b"tea")[..], tag].concat(), Err(Malformed::Text));
    }

    #[test]
    fn iterator_ends_after_an_error() {
        let mut message = message(b"").to_vec();
        put_bytes(&mut message, 3, &user_record(0, None, b"tea"));
        let message = message.into();
        let found: Vec<_> = UserRecords::of(&message).unwrap().collect();
        assert_eq!(found, [Err(Malformed::Required)]);
    }

    #[test]
    fn tables_are_text() {
        let of = |message: &'static [u8]| UserRecords::of(&Bytes::from_static(message)).err();
        assert_eq!(of(b"\x0A\x01\xFF"), Some(Malformed::Text));
        assert_eq!(of(b"\x12\x01\xFF"), Some(Malformed::Text));
        assert_eq!(of(b"\x08\x01"), Some(Malformed::Wire));
        assert_eq!(of(b"\x18\x01"), Some(Malformed::Wire));
    }

    #[test]
    fn counts_are_bounded() {
        for (field, at_the_bound) in [(1_u8, None), (2, None), (3, Some(Malformed::Required))] {
            let with = |count| Bytes::from([field << 3 | 2, 0].repeat(count));
            let message = with(USER_RECORDS_MAX);
            let first = UserRecords::of(&message).unwrap().next();
            assert_eq!(first, at_the_bound.map(Err), "field {field}");
            let message = with(USER_RECORDS_MAX + 1);
            assert_eq!(UserRecords::of(&message).err(), Some(Malformed::TooMany), "field {field}");
        }
    }

    #[test]
    fn hash_key_is_explicit_or_the_md5_of_the_partition_key() {
        let record = |explicit_hash_key| UserRecord {
            partition_key: "a".into(),
            explicit_hash_key,
            data: Bytes::new(),
        };
        assert_eq!(record(Some(7)).hash_key(), 7);
        assert_eq!(record(None).hash_key(), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
        assert_eq!(
            (number("340282366920938463463374607431768211455"), number("+1"), number("")),
            (Some(u128::MAX), None, None)
        );
    }
}
