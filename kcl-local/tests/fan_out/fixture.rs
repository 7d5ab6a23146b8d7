//! A stack with a stream and a consumer.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent,
};
use kcl_local::{LocalStack, LocalStackOptions, SubscriptionRules};

pub(crate) const STREAM: &str = "orders";
pub(crate) const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
pub(crate) const ROOT: &str = "shardId-000000000000";

/// A stack with the stream [`STREAM`] of one shard, and an active consumer.
pub(crate) struct Fixture {
    pub(crate) stack: LocalStack,
    pub(crate) client: Client,
    pub(crate) consumer: String,
}

/// Rules with which consumers are active at once, and calls never wait.
pub(crate) fn quick() -> SubscriptionRules {
    SubscriptionRules {
        call_every: Duration::ZERO,
        taken_over_after: Duration::ZERO,
        creating: Duration::ZERO,
        deleting: Duration::ZERO,
        describes_per_second: 1000,
        registers_per_second: 1000,
        ..SubscriptionRules::default()
    }
}

/// Starts a stack with the stream.
pub(crate) async fn stack(rules: SubscriptionRules) -> (LocalStack, Client) {
    let options = LocalStackOptions::default().with_subscriptions(rules);
    let stack = LocalStack::start_with(&options).unwrap();
    // No retries: tests see each answer.
    let config = aws_sdk_kinesis::config::Builder::from(&stack.sdk_config())
        .retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
        .build();
    let client = Client::from_conf(config);
    client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
    (stack, client)
}

impl Fixture {
    pub(crate) async fn new(rules: SubscriptionRules) -> Self {
        let (stack, client) = stack(rules).await;
        let consumer = register(&client, "reader").await.unwrap();
        while status(&client, &consumer).await.as_ref() != Ok(&ConsumerStatus::Active) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { stack, client, consumer }
    }

    pub(crate) async fn put(&self, data: &str) {
        let call = self.client.put_record().stream_name(STREAM).partition_key("k");
        call.data(Blob::new(data)).send().await.unwrap();
    }

    pub(crate) async fn split(&self) {
        let call = self.client.split_shard().stream_name(STREAM).shard_to_split(ROOT);
        call.new_starting_hash_key("1000").send().await.unwrap();
    }

    /// Subscribes. The error is its code.
    pub(crate) async fn subscribe(&self, from: StartingPosition) -> Result<Subscription, String> {
        let call = self.client.subscribe_to_shard().consumer_arn(&self.consumer).shard_id(ROOT);
        let answer = call.starting_position(from).send().await;
        answer.map(Subscription).map_err(|error| error.code().unwrap_or_default().to_owned())
    }

    /// Subscribes from the start of the shard.
    pub(crate) async fn read_all(&self) -> Subscription {
        self.subscribe(horizon()).await.unwrap()
    }

    /// Waits until no subscription runs.
    pub(crate) async fn ended(&self) {
        let ended = async {
            while self.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("subscriptions end");
    }

    /// Returns the number of running subscriptions.
    pub(crate) fn running(&self) -> usize {
        self.stack.subscriptions().len()
    }
}

/// Registers a consumer and returns its ARN. The error is its code.
pub(crate) async fn register(client: &Client, name: &str) -> Result<String, String> {
    let call = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name(name);
    match call.send().await {
        Ok(answer) => Ok(answer.consumer.unwrap().consumer_arn),
        Err(error) => Err(error.code().unwrap_or_default().to_owned()),
    }
}

/// Returns a consumer's status. The error is its code.
pub(crate) async fn status(client: &Client, arn: &str) -> Result<ConsumerStatus, String> {
    match client.describe_stream_consumer().consumer_arn(arn).send().await {
        Ok(answer) => Ok(answer.consumer_description.unwrap().consumer_status),
        Err(error) => Err(error.code().unwrap_or_default().to_owned()),
    }
}

pub(crate) fn horizon() -> StartingPosition {
    StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build().unwrap()
}

pub(crate) fn latest() -> StartingPosition {
    StartingPosition::builder().r#type(ShardIteratorType::Latest).build().unwrap()
}

pub(crate) fn at(position: &str) -> StartingPosition {
    let start = StartingPosition::builder().r#type(ShardIteratorType::AtSequenceNumber);
    start.sequence_number(position).build().unwrap()
}

pub(crate) fn after(position: &str) -> StartingPosition {
    let start = StartingPosition::builder().r#type(ShardIteratorType::AfterSequenceNumber);
    start.sequence_number(position).build().unwrap()
}

pub(crate) fn data(event: &SubscribeToShardEvent) -> Vec<String> {
    let text = |record: &aws_sdk_kinesis::types::Record| {
        String::from_utf8(record.data().as_ref().to_vec()).unwrap()
    };
    event.records().iter().map(text).collect()
}

fn variant(error: &SubscribeToShardEventStreamError) -> String {
    format!("{error:?}").split('(').next().unwrap_or_default().to_owned()
}

/// A subscription of the SDK.
#[derive(Debug)]
pub(crate) struct Subscription(SubscribeToShardOutput);

/// What a subscription brings.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    Event(SubscribeToShardEvent),
    /// An event of a type that this SDK does not know.
    Unknown,
    /// The end, without an error.
    End,
    /// An exception in the stream, by its name in the SDK.
    Exception(String),
    /// No valid frame: the connection or the bytes are broken.
    Broken,
    /// Nothing within the time.
    Nothing,
}

impl Subscription {
    /// Returns what comes within the time.
    pub(crate) async fn within(&mut self, time: Duration) -> Came {
        let Ok(came) = tokio::time::timeout(time, self.0.event_stream.recv()).await else {
            return Came::Nothing;
        };
        match came {
            Ok(None) => Came::End,
            Ok(Some(event)) => {
                event.as_subscribe_to_shard_event().cloned().map_or(Came::Unknown, Came::Event)
            }
            Err(error) => match error.as_service_error() {
                // Errors in a stream have no code.
                Some(error) => Came::Exception(variant(error)),
                None => Came::Broken,
            },
        }
    }

    /// Returns what comes next, of which a test is sure.
    pub(crate) async fn next(&mut self) -> Came {
        self.within(Duration::from_secs(30)).await
    }

    pub(crate) async fn event(&mut self) -> SubscribeToShardEvent {
        let came = self.next().await;
        let Came::Event(event) = came else { panic!("{came:?}") };
        event
    }
}
