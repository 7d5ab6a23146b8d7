//! Creates, reshards and deletes the stream, and deletes the table.

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::operation::delete_table::DeleteTableError;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::delete_stream::DeleteStreamError;
use aws_sdk_kinesis::types::{Shard, StreamDescriptionSummary, StreamStatus};
use aws_types::SdkConfig;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::model::ShardId;
use kcl_local::LocalStack;
use tokio::time::sleep;

use crate::args::Args;
use crate::sdk;

/// The interval of status checks.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// Where the stream is. Dropping it stops a local stack.
#[derive(Debug)]
pub(crate) struct Place {
    sdk: SdkConfig,
    /// The arguments that name the place to a worker process.
    arguments: Vec<String>,
    /// The place, in words.
    title: &'static str,
    _stack: Option<LocalStack>,
}

/// The stream of this run, and the table of the same name.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    name: String,
    sdk: SdkConfig,
    kinesis: Client,
    arguments: Vec<String>,
    title: &'static str,
}

impl Place {
    /// Opens the place that the command line names.
    pub(crate) async fn of(args: &Args) -> anyhow::Result<Self> {
        if args.aws {
            let sdk = sdk::account().await?;
            let arguments = vec!["--aws".to_owned()];
            return Ok(Self { sdk, arguments, title: "your AWS account", _stack: None });
        }
        if let Some(url) = &args.endpoint {
            return Ok(Self::at(url, "a local stack", None));
        }
        let stack = LocalStack::start().context("the local stack did not start")?;
        Ok(Self::at(&stack.endpoint_url(), "this machine", Some(stack)))
    }

    fn at(url: &str, title: &'static str, stack: Option<LocalStack>) -> Self {
        let arguments = vec!["--endpoint".to_owned(), url.to_owned()];
        Self { sdk: sdk::local(url), arguments, title, _stack: stack }
    }

    /// Returns the stream of this run, before its creation.
    pub(crate) fn stream(&self) -> Stream {
        let seconds = SystemClock.time_of_day().epoch_seconds();
        Stream {
            name: format!("kcl-quickstart-{seconds}-{}", std::process::id()),
            sdk: self.sdk.clone(),
            kinesis: Client::new(&self.sdk),
            arguments: self.arguments.clone(),
            title: self.title,
        }
    }
}

impl Stream {
    /// Returns the name of the stream and of the table.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the SDK configuration.
    pub(crate) const fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// Returns the place, in words.
    pub(crate) const fn title(&self) -> &'static str {
        self.title
    }

    /// Returns a Kinesis client.
    pub(crate) const fn kinesis(&self) -> &Client {
        &self.kinesis
    }

    /// Returns the arguments that name the stream to a worker process.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let stream = ["--stream".to_owned(), self.name.clone()];
        self.arguments.iter().cloned().chain(stream).collect()
    }

    /// Creates the stream.
    pub(crate) async fn create(self, shards: u16) -> anyhow::Result<()> {
        let create = self.kinesis.create_stream().stream_name(&self.name);
        create.shard_count(shards.into()).send().await.context("cannot create the stream")?;
        self.ready().await
    }

    /// Splits a shard in half, then merges two adjacent ones.
    pub(crate) async fn reshard(self, split: ShardId, merge: [ShardId; 2]) -> anyhow::Result<()> {
        let middle = self.middle(&split).await?;
        let call = self.kinesis.split_shard().stream_name(&self.name);
        let call = call.shard_to_split(split.as_str()).new_starting_hash_key(middle);
        call.send().await.context("cannot split the shard")?;
        self.ready().await?;
        let [one, other] = merge;
        let call = self.kinesis.merge_shards().stream_name(&self.name);
        let call = call.shard_to_merge(one.as_str()).adjacent_shard_to_merge(other.as_str());
        call.send().await.context("cannot merge the shards")?;
        self.ready().await
    }

    /// Deletes the stream and the table.
    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        let table = aws_sdk_dynamodb::Client::new(&self.sdk).delete_table();
        let table = table.table_name(&self.name).send().await;
        let stream = self.kinesis.delete_stream().stream_name(&self.name).send().await;
        // Neither may exist after an early failure.
        if let Err(error) = table
            && !error
                .as_service_error()
                .is_some_and(DeleteTableError::is_resource_not_found_exception)
        {
            return Err(error).with_context(|| format!("delete the table {} manually", self.name));
        }
        if let Err(error) = stream
            && !error
                .as_service_error()
                .is_some_and(DeleteStreamError::is_resource_not_found_exception)
        {
            return Err(error).with_context(|| format!("delete the stream {} manually", self.name));
        }
        Ok(())
    }

    async fn middle(&self, shard: &ShardId) -> anyhow::Result<String> {
        let list = self.kinesis.list_shards().stream_name(&self.name).send().await?;
        let range = list
            .shards()
            .iter()
            .find(|listed| listed.shard_id() == shard.as_str())
            .and_then(Shard::hash_key_range)
            .context("the shard is not listed")?;
        let (start, end): (u128, u128) =
            (range.starting_hash_key().parse()?, range.ending_hash_key().parse()?);
        let half = end.saturating_sub(start) / 2;
        Ok(start.saturating_add(half).saturating_add(1).to_string())
    }

    /// Waits until the stream is active.
    async fn ready(&self) -> anyhow::Result<()> {
        loop {
            let reply =
                self.kinesis.describe_stream_summary().stream_name(&self.name).send().await?;
            let status =
                reply.stream_description_summary().map(StreamDescriptionSummary::stream_status);
            if status == Some(&StreamStatus::Active) {
                return Ok(());
            }
            sleep(CHECK_EVERY).await;
        }
    }
}
