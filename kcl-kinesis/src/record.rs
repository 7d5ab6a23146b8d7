//! Records of the SDK → records of the model.

use std::time::Duration;

use aws_sdk_kinesis::types;
use aws_smithy_types::DateTime;
use kcl_core::model::{PartitionKey, Position, Record, Timestamp};

use crate::error::Unreadable;

/// Converts a record without copying its data or its partition key.
pub(crate) fn record(record: types::Record) -> Result<Record, Unreadable> {
    let sequence = record
        .sequence_number
        .parse()
        .map_err(|error| Unreadable::because("sequence number of a record", error))?;
    Ok(Record::new(
        Position::of(sequence),
        record.partition_key.map(PartitionKey::from).unwrap_or_default(),
        record.data.into_bytes(),
        record.approximate_arrival_timestamp.as_ref().map(timestamp),
    ))
}

/// Converts a time of the SDK, truncated to milliseconds and clamped to the range.
pub(crate) fn timestamp(time: &DateTime) -> Timestamp {
    let end = if time.secs() < 0 { i64::MIN } else { i64::MAX };
    Timestamp::from_epoch_millis(time.to_millis().unwrap_or(end))
}

/// Converts a time for the SDK.
pub(crate) fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.epoch_millis())
}

/// Converts a lag in milliseconds; a negative one is zero.
pub(crate) fn lag(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::Blob;

    use super::*;

    fn sent() -> types::builders::RecordBuilder {
        types::Record::builder()
            .sequence_number("49590338271490256608559692538361571095921575989136588898")
            .partition_key("pressure/7")
            .data(Blob::new("42"))
            .approximate_arrival_timestamp(DateTime::from_millis(1_700_000_000_123))
    }

    #[test]
    fn data_is_not_copied() {
        let sent = sent().build().unwrap();
        let at = sent.data.as_ref().as_ptr();
        let record = record(sent).unwrap();
        assert_eq!(record.data.as_ptr(), at);
        assert_eq!(record.partition_key, "pressure/7");
        assert_eq!(record.arrived, Some(Timestamp::from_epoch_millis(1_700_000_000_123)));
        assert_eq!(
            record.position.to_string(),
            "49590338271490256608559692538361571095921575989136588898/0"
        );
    }

    #[test]
    fn missing_partition_key_is_empty() {
        let sent = sent().set_partition_key(None).build().unwrap();
        assert_eq!(record(sent).unwrap().partition_key, "");
    }

    #[test]
    fn unreadable_sequence_number_is_an_error() {
        let sent = sent().sequence_number("LATEST").build().unwrap();
        assert!(record(sent).is_err());
    }

    #[test]
    fn times_keep_milliseconds() {
        for millis in [-1_500, -1, 0, 1, 1_700_000_000_999] {
            let time = Timestamp::from_epoch_millis(millis);
            assert_eq!(timestamp(&date_time(time)), time);
        }
        assert_eq!(timestamp(&DateTime::from_secs(i64::MIN)).epoch_millis(), i64::MIN);
    }
}
