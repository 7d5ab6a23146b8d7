//! A dead letter in another Kinesis stream.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::BoxError;
use kcl_core::dead_letter::{DeadLetter, FailedRecord};
use kcl_core::model::{StreamArn, StreamName};

use crate::config::{KinesisSourceConfig, StreamId};
use crate::error::Failure;

const PUT: &str = "kinesis:PutRecord";

/// Puts each record into a Kinesis stream, as [`FailedRecord::to_json`] writes it, under its own
/// partition key: letters of a key stay in order.
///
/// The stream must exist, and must not be the one that is consumed. JSON needs a third more room than
/// the record: a record of more than some 760 kB does not fit into a stream whose records are limited
/// to 1 MiB, and holds its shard up until that limit is raised (`UpdateMaxRecordSize`).
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
        // Kinesis takes no empty key, which a record may have that was aggregated.
        let key = match failed.record.partition_key.as_str() {
            "" => failed.shard.as_str(),
            key => key,
        };
        let put = self.client.put_record().partition_key(key).data(Blob::new(failed.to_json()));
        let put = match &self.stream {
            StreamId::Name(name) => put.stream_name(name.as_str()),
            StreamId::Arn(arn) => put.stream_arn(arn.as_str()),
        };
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::from(error).into_error(self.stream.as_str(), PUT).into()),
        }
    }
}
