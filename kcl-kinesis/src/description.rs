//! `DescribeStreamSummary`, as a description of the model.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::describe_stream_summary::builders::DescribeStreamSummaryFluentBuilder;
use aws_sdk_kinesis::types;
use kcl_core::backend::SourceError;
use kcl_core::model::{StreamDescription, StreamStatus, Timestamp};

use crate::config::StreamId;
use crate::error::{Failure, Kind, Unreadable};
use crate::exchange::Exchange;
use crate::record::timestamp;

const ACTION: &str = "kinesis:DescribeStreamSummary";

/// Returns the stream's description, with the service's time.
pub(crate) async fn fetch(
    client: &Client,
    stream: &StreamId,
) -> Result<StreamDescription, SourceError> {
    let exchange = Exchange::default();
    let reply = describe(client, stream)
        .customize()
        .interceptor(exchange.clone())
        .send()
        .await
        .map_err(|error| Failure::of(error, &exchange).into_error(stream.as_str(), ACTION))?;
    let now = exchange.time().ok_or(Unreadable::new("no readable Date header"));
    let now = now.map(|now| timestamp(&now));
    let described = reply
        .stream_description_summary
        .ok_or(Unreadable::new("no description"))
        .and_then(|summary| description(summary, now?));
    described
        .map_err(|error| Failure::new(Kind::Refused, error).into_error(stream.as_str(), ACTION))
}

/// Checks that the stream exists.
pub(crate) async fn exists(client: &Client, stream: &StreamId) -> Result<(), SourceError> {
    let exchange = Exchange::default();
    let reply = describe(client, stream).customize().interceptor(exchange.clone()).send().await;
    reply
        .map(drop)
        .map_err(|error| Failure::of(error, &exchange).into_error(stream.as_str(), ACTION))
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
