//! `DescribeStreamSummary`, as a description of the model.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::operation::describe_stream_summary::builders::DescribeStreamSummaryFluentBuilder;
use aws_sdk_kinesis::types;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use kcl_core::BoxError;
use kcl_core::backend::SourceError;
use kcl_core::model::{StreamDescription, StreamStatus, Timestamp};

use crate::config::StreamId;
use crate::error::{Failure, Kind, Unreadable};
use crate::record::timestamp;

const ACTION: &str = "kinesis:DescribeStreamSummary";

/// Returns the stream's description, with the service's time.
pub(crate) async fn fetch(
    client: &Client,
    stream: &StreamId,
) -> Result<StreamDescription, SourceError> {
    let clock = ServiceClock::default();
    let reply = describe(client, stream)
        .customize()
        .interceptor(clock.clone())
        .send()
        .await
        .map_err(|error| Failure::from(error).into_error(stream.as_str(), ACTION))?;
    let described = reply
        .stream_description_summary
        .ok_or(Unreadable::new("no description"))
        .and_then(|summary| description(summary, clock.time()?));
    described
        .map_err(|error| Failure::new(Kind::Refused, error).into_error(stream.as_str(), ACTION))
}

/// Checks that the stream exists.
pub(crate) async fn exists(client: &Client, stream: &StreamId) -> Result<(), SourceError> {
    let reply = describe(client, stream).send().await;
    reply.map(drop).map_err(|error| Failure::from(error).into_error(stream.as_str(), ACTION))
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

/// Stores the `Date` header of the last reply: the service's clock, in whole seconds.
///
/// An interceptor cannot return a value, so the call shares the lock with it.
#[derive(Clone, Debug, Default)]
struct ServiceClock(Arc<Mutex<Option<Timestamp>>>);

impl ServiceClock {
    /// Returns the time of the reply. This machine's clock is no replacement: it may be wrong.
    fn time(&self) -> Result<Timestamp, Unreadable> {
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
