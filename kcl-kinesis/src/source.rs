//! The source: what it asks of whom.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::operation::describe_stream_summary::builders::DescribeStreamSummaryFluentBuilder;
use aws_sdk_kinesis::types;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use kcl_core::BoxError;
use kcl_core::backend::{ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError};
use kcl_core::config::InvalidSetting;
use kcl_core::model::{
    Shard, ShardId, StreamArn, StreamDescription, StreamName, StreamStatus, Timestamp,
};

use crate::config::{KinesisSourceConfig, StreamId};
use crate::error::{Failure, Kind, Unreadable};
use crate::polling::ShardPoller;
use crate::record::timestamp;
use crate::shards;

const DESCRIBE: &str = "kinesis:DescribeStreamSummary";

/// A Kinesis stream.
///
/// It builds two clients of its own: one describes and lists, for the worker's lease side, the other
/// reads, on the application's runtime. Neither has connections or a credential cache that live on
/// the other's runtime, unless the `SdkConfig` names an HTTP client: that one is used by both.
///
/// Every call has an end, also against a server that accepts connections and never answers: see
/// [`KinesisSourceConfig`].
#[derive(Clone, Debug)]
pub struct KinesisSource {
    stream: Arc<StreamId>,
    control: Client,
    reading: Client,
    invalid: Vec<InvalidSetting>,
}

impl KinesisSource {
    /// The stream of this name in the account and region of the credentials.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stream: impl Into<StreamName>) -> Self {
        Self::with_config(sdk, KinesisSourceConfig::new(StreamId::Name(stream.into())))
    }

    /// The stream of this ARN, which may be one of another account that grants access.
    #[must_use]
    pub fn from_arn(sdk: &SdkConfig, stream: impl Into<StreamArn>) -> Self {
        Self::with_config(sdk, KinesisSourceConfig::new(StreamId::Arn(stream.into())))
    }

    /// The stream with these settings. The retries and timeouts of the `SdkConfig` do not count.
    #[must_use]
    pub fn with_config(sdk: &SdkConfig, config: KinesisSourceConfig) -> Self {
        Self {
            control: config.control_client(sdk),
            reading: config.read_client(sdk),
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
        let clock = ServiceClock::default();
        let reply = describe(&self.control, &self.stream)
            .customize()
            .interceptor(clock.clone())
            .send()
            .await
            .map_err(|error| Failure::from(error).into_error(self.stream.as_str(), DESCRIBE))?;
        let described = reply
            .stream_description_summary
            .ok_or(Unreadable::new("no description"))
            .and_then(|summary| description(summary, clock.told()?));
        described.map_err(|error| {
            Failure::new(Kind::Refused, error).into_error(self.stream.as_str(), DESCRIBE)
        })
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
            stream: Arc::clone(&self.stream),
            shard: shard.clone(),
        };
        Ok(Box::new(poller.open(from).await?))
    }
}

/// Whether the stream exists, as an error if it does not or cannot be told.
pub(crate) async fn exists(client: &Client, stream: &StreamId) -> Result<(), SourceError> {
    let reply = describe(client, stream).send().await;
    reply.map(drop).map_err(|error| Failure::from(error).into_error(stream.as_str(), DESCRIBE))
}

fn describe(client: &Client, stream: &StreamId) -> DescribeStreamSummaryFluentBuilder {
    match stream {
        StreamId::Name(name) => client.describe_stream_summary().stream_name(name.as_str()),
        StreamId::Arn(arn) => client.describe_stream_summary().stream_arn(arn.as_str()),
    }
}

fn description(
    summary: types::StreamDescriptionSummary,
    now: Timestamp,
) -> Result<StreamDescription, Unreadable> {
    let hours = u64::try_from(summary.retention_period_hours)
        .map_err(|error| Unreadable::because("retention period", error))?;
    let (name, arn) = (summary.stream_name.into(), summary.stream_arn.into());
    let created = timestamp(&summary.stream_creation_timestamp);
    let mut stream = StreamDescription::new(name, arn, created, now);
    stream.id = summary.stream_id;
    stream.retention = Duration::from_secs(hours.saturating_mul(3_600));
    stream.status = status(&summary.stream_status)?;
    Ok(stream)
}

fn status(sent: &types::StreamStatus) -> Result<StreamStatus, Unreadable> {
    match sent.as_str() {
        "CREATING" => Ok(StreamStatus::Creating),
        "DELETING" => Ok(StreamStatus::Deleting),
        "ACTIVE" => Ok(StreamStatus::Active),
        "UPDATING" => Ok(StreamStatus::Updating),
        other => Err(Unreadable::because("stream status", other)),
    }
}

/// Notes the `Date` header of the last reply: the service's clock, in whole seconds.
///
/// The lock is shared with the call that the SDK runs, which hands out nothing but its output.
#[derive(Clone, Debug, Default)]
struct ServiceClock(Arc<Mutex<Option<Timestamp>>>);

impl ServiceClock {
    /// What the reply said. This machine's clock is no replacement: it may be wrong.
    fn told(&self) -> Result<Timestamp, Unreadable> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ok_or(Unreadable::new("no readable Date header"))
    }
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "service clock"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let time = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let time = time.as_ref().map(timestamp);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
        Ok(())
    }
}
