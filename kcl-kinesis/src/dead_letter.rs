//! A dead letter in another Kinesis stream.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::BoxError;
use kcl_core::backend::SourceError;
use kcl_core::backend::{DeadLetter, FailedRecord};
use kcl_core::model::{StreamArn, StreamName};
use thiserror::Error;

use crate::config::{KinesisSourceConfig, StreamId};
use crate::error::{Failure, Kind};

const PUT: &str = "kinesis:PutRecord";

/// How large a record and its key may be together in a stream that is not set to larger ones.
///
/// Source: Kinesis developer guide, "Quotas and limits".
const SIZE_MAX_DEFAULT: usize = 1024 * 1024;

/// How many characters a partition key may have.
///
/// Source: Kinesis API reference, `PutRecord`.
const KEY_LENGTH_MAX: usize = 256;

/// Puts each record into a Kinesis stream, as [`FailedRecord::to_json`] writes it, under its own
/// partition key: letters of a key stay in order. A key that Kinesis does not take, as a record may
/// have that was aggregated, is replaced by the id of the record's shard.
///
/// The stream must exist, and must not be the one that is consumed. JSON needs a third more room than
/// the record: one of more than some 760 kB does not fit into a stream whose records are limited to
/// 1 MiB, as they are by default. It holds its shard up, with an error that says so, and goes through as
/// soon as that limit is raised (`UpdateMaxRecordSize`, up to 10 MiB, which is enough for records of some
/// 7.5 MB). So raise it beforehand if records may be large.
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
    /// The stream of this name in the account and region of the credentials.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stream: impl Into<StreamName>) -> Self {
        Self::of(sdk, StreamId::Name(stream.into()))
    }

    /// The stream of this ARN, which may be one of another account that grants access.
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
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refused(Failure::from(error), key.len() + size)),
        }
    }
}

impl KinesisDeadLetter {
    /// Why a letter of so many bytes, its key included, was not stored.
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

/// The partition key of a letter: the record's own, if Kinesis takes it.
fn key(failed: &FailedRecord) -> &str {
    let key = failed.record.partition_key.as_str();
    let is_taken = (1..=KEY_LENGTH_MAX).contains(&key.chars().count());
    if is_taken { key } else { failed.shard.as_str() }
}

/// A letter that is larger than the records of most streams may be, and was refused.
#[derive(Debug, Error)]
#[error(
    "the record takes {bytes} bytes as a letter, and stream {stream} does not accept it: raise the \
     stream's limit with UpdateMaxRecordSize (at most 10240 KiB), and it is stored with the next attempt"
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
    fn a_key_that_kinesis_does_not_take_is_replaced_by_the_shard() {
        let taken = "é".repeat(KEY_LENGTH_MAX);
        let too_long = "é".repeat(KEY_LENGTH_MAX + 1);
        for (own, expected) in
            [("", "shard"), ("k", "k"), (&*taken, &*taken), (&*too_long, "shard")]
        {
            let position = Position::of(1.into());
            let record = Record::new(position, PartitionKey::from(own), "data", None);
            let failed = FailedRecord::new("s".into(), "shard".into(), record, "no", 1);
            assert_eq!(key(&failed), expected);
        }
    }
}
