//! A stream that always has records to read: [`DemoStream`].

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::operation::create_stream::CreateStreamError;
use aws_sdk_kinesis::primitives::Blob;
use aws_types::SdkConfig;
use tokio::task::JoinSet;

use crate::stack::StartError;

/// The number of shards.
const SHARDS: i32 = 2;
/// The number of partition keys.
const KEYS: u64 = 8;
/// The interval of puts.
const PUT_EVERY: Duration = Duration::from_millis(200);

/// A stream of two shards, into which a producer puts `hello 1`, `hello 2` and so on, five times a
/// second. Dropping it ends the producer.
#[derive(Debug)]
pub struct DemoStream {
    _producer: JoinSet<()>,
}

impl DemoStream {
    /// Creates the stream `name`, unless there is one, and starts its producer.
    ///
    /// # Errors
    /// [`StartError::Service`] if the stream cannot be created.
    pub async fn start(sdk: &SdkConfig, name: &str) -> Result<Self, StartError> {
        let client = Client::new(sdk);
        let created = client.create_stream().stream_name(name).shard_count(SHARDS).send().await;
        if let Err(error) = created
            && !error
                .as_service_error()
                .is_some_and(CreateStreamError::is_resource_in_use_exception)
        {
            return Err(StartError::Service { reason: DisplayErrorContext(error).to_string() });
        }
        let mut producer = JoinSet::new();
        producer.spawn(produce(client, name.to_owned()));
        Ok(Self { _producer: producer })
    }
}

/// Puts numbered greetings until the stream refuses one.
async fn produce(client: Client, stream: String) {
    for number in 1_u64.. {
        let key = format!("key {}", number % KEYS);
        let put = client.put_record().stream_name(&stream).partition_key(key);
        if put.data(Blob::new(format!("hello {number}"))).send().await.is_err() {
            return;
        }
        tokio::time::sleep(PUT_EVERY).await;
    }
}
