//! `KinesisDeadLetter`: a `DeadLetter` over `PutRecord`.

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_types::SdkConfig;
use kcl_core::BoxError;
use kcl_core::backend::SourceError;
use kcl_core::backend::{DeadLetter, FailedRecord};
use kcl_core::model::{StreamArn, StreamName};
use thiserror::Error;

use crate::config::{KinesisSourceConfig, StreamId};
use crate::error::{Failure, Kind};
use crate::exchange::Exchange;

const PUT: &str = "kinesis:PutRecord";

/// The most bytes of a record and its key in a stream with default settings.
///
/// Source: Kinesis developer guide, "Quotas and limits".
const SIZE_MAX_DEFAULT: usize = 1024 * 1024;

/// The most characters of a partition key.
///
/// Source: Kinesis API reference, `PutRecord`.
const KEY_LENGTH_MAX: usize = 256;

/// Puts failed records into a Kinesis stream, in the format of [`FailedRecord::to_json`].
///
/// Each letter has its record's partition key, so that letters of a key stay in order. Aggregated
/// records may have keys that Kinesis refuses: their letters have the shard's id as key.
///
/// The stream must exist, and must not be the consumed one. JSON takes a third more room than the
/// record: a record of more than about 760 kB does not fit into a stream with the default limit of
/// 1 MiB, and blocks its shard, with an error that says so, until the limit is raised. Raise it in
/// advance if records may be large: `UpdateMaxRecordSize` allows up to 10 MiB, enough for records
/// of about 7.5 MB.
///
/// # Permissions
/// `kinesis:PutRecord` on the stream, and `kms:GenerateDataKey` on its key if it is encrypted with
/// one of your own.
#[derive(Clone, Debug)]
pub struct KinesisDeadLetter {
    stream: StreamId,
    client: Client,
}

impl KinesisDeadLetter {
    /// Creates a dead letter in the stream of this name in the account and region of the
    /// credentials.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stream: impl Into<StreamName>) -> Self {
        Self::of(sdk, StreamId::Name(stream.into()))
    }

    /// Creates a dead letter in the stream of this ARN. Its account may be another one that grants
    /// access.
    #[must_use]
    pub fn from_arn(sdk: &SdkConfig, stream: impl Into<StreamArn>) -> Self {
        Self::of(sdk, StreamId::Arn(stream.into()))
    }

    fn of(sdk: &SdkConfig, stream: StreamId) -> Self {
        let client = KinesisSourceConfig::new(stream.clone()).write_client(sdk);
        Self { stream, client }
    }
}

#[async_trait]
impl DeadLetter for KinesisDeadLetter {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let key = key(failed);
        let letter = failed.to_json();
        let size = letter.len();
        let put = self.client.put_record().partition_key(key).data(Blob::new(letter));
        let put = match &self.stream {
            StreamId::Name(name) => put.stream_name(name.as_str()),
            StreamId::Arn(arn) => put.stream_arn(arn.as_str()),
        };
        let exchange = Exchange::default();
        match put.customize().interceptor(exchange.clone()).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(Failure::of(error, &exchange), key.len() + size)),
        }
    }
}

impl KinesisDeadLetter {
    /// Returns the error for a letter of `bytes`, its key included, that was not stored.
    fn refused(&self, failure: Failure, bytes: usize) -> BoxError {
        let may_be_size = matches!(failure.kind, Kind::Refused | Kind::Argument);
        let stream = self.stream.as_str();
        let source = failure.into_error(stream, PUT);
        if may_be_size && bytes > SIZE_MAX_DEFAULT {
            return TooLarge { stream: stream.to_owned(), bytes, source }.into();
        }
        source.into()
    }
}

/// Returns the partition key of a letter: the record's own, if Kinesis accepts it.
fn key(failed: &FailedRecord) -> &str {
    let key = failed.record.partition_key.as_str();
    let is_valid = (1..=KEY_LENGTH_MAX).contains(&key.chars().count());
    if is_valid { key } else { failed.shard.as_str() }
}

/// A refused letter that exceeds the default limit of a stream.
#[derive(Debug, Error)]
#[error(
    "the record takes {bytes} bytes as a letter, and stream {stream} does not accept it: raise the \
     stream's limit with UpdateMaxRecordSize (at most 10240 KiB), and the next attempt stores it"
)]
struct TooLarge {
    stream: String,
    bytes: usize,
    source: SourceError,
}

#[cfg(test)]
mod tests {
    use kcl_core::Record;
    use kcl_core::model::{PartitionKey, Position};

    use super::*;

    #[test]
    fn invalid_key_is_replaced_by_the_shard() {
        let longest = "é".repeat(KEY_LENGTH_MAX);
        let too_long = "é".repeat(KEY_LENGTH_MAX + 1);
        for (own, expected) in
            [("", "shard"), ("k", "k"), (&*longest, &*longest), (&*too_long, "shard")]
        {
            let position = Position::of(1.into());
            let record = Record::new(position, PartitionKey::from(own), "data", None);
            let failed = FailedRecord::new("s".into(), "shard".into(), record, "no", 1);
            assert_eq!(key(&failed), expected);
        }
    }
}
