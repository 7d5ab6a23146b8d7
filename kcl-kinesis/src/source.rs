//! `KinesisSource`: a `RecordSource` over the AWS SDK's Kinesis client.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_types::SdkConfig;
use kcl_core::backend::{ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::config::InvalidSetting;
use kcl_core::model::{Shard, ShardId, StreamArn, StreamDescription, StreamName};

use crate::config::{KinesisSourceConfig, StreamId};
use crate::description;
use crate::encoding::EncodingInUse;
use crate::polling::ShardPoller;
use crate::shards;

/// A Kinesis stream.
///
/// Builds two clients: one describes and lists, for the worker's lease side, the other reads, on
/// the application's runtime. They share neither connections nor a credential cache, unless the
/// `SdkConfig` names an HTTP client: both use it.
///
/// Every call times out, also against a server that accepts connections and never answers: see
/// [`KinesisSourceConfig`].
#[derive(Clone, Debug)]
pub struct KinesisSource {
    stream: Arc<StreamId>,
    control: Client,
    reading: Client,
    encoding: Arc<EncodingInUse>,
    invalid: Vec<InvalidSetting>,
}

impl KinesisSource {
    /// Creates a source for the stream of this name in the account and region of the credentials.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stream: impl Into<StreamName>) -> Self {
        Self::with_config(sdk, KinesisSourceConfig::new(StreamId::Name(stream.into())))
    }

    /// Creates a source for the stream of this ARN. Its account may be another one that grants
    /// access.
    #[must_use]
    pub fn from_arn(sdk: &SdkConfig, stream: impl Into<StreamArn>) -> Self {
        Self::with_config(sdk, KinesisSourceConfig::new(StreamId::Arn(stream.into())))
    }

    /// Creates a source with these settings. It ignores the retries and timeouts of the
    /// `SdkConfig`.
    #[must_use]
    pub fn with_config(sdk: &SdkConfig, config: KinesisSourceConfig) -> Self {
        Self {
            control: config.control_client(sdk),
            reading: config.read_client(sdk),
            encoding: Arc::new(EncodingInUse::new(config.encoding)),
            invalid: config.validate(),
            stream: Arc::new(config.stream),
        }
    }
}

#[async_trait]
impl RecordSource for KinesisSource {
    fn validate(&self) -> Vec<InvalidSetting> {
        self.invalid.clone()
    }

    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        description::fetch(&self.control, &self.stream).await
    }

    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        shards::list(&self.control, &self.stream, &filter).await
    }

    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError> {
        let poller = ShardPoller {
            client: self.reading.clone(),
            encoding: Arc::clone(&self.encoding),
            stream: Arc::clone(&self.stream),
            shard: shard.clone(),
        };
        Ok(Box::new(poller.open(from).await?))
    }
}
