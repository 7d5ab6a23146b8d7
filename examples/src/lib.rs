//! What the examples share: a stream to consume, on this machine or in your AWS account.

use std::time::Duration;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use clap::Parser;
use kcl_local::LocalStack;
use tokio::task::JoinSet;

/// The stream of the local stack.
const STREAM: &str = "demo";
/// How many shards it has.
const SHARDS: i32 = 2;
/// How many partition keys its records have.
const KEYS: u64 = 8;
/// How often a record is put into it.
const PUT_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
#[command(version, about = "Consumes a stream. Without arguments, one on this machine.")]
struct Args {
    /// Consume this stream of your AWS account, with the credentials of your environment
    #[arg(long, value_name = "STREAM")]
    aws: Option<String>,
}

/// A stream to consume. Dropping it ends what was started for it.
#[derive(Debug)]
pub struct Demo {
    aws: SdkConfig,
    stream: String,
    _local: Option<Local>,
}

/// A local stack, and who puts records into its stream.
#[derive(Debug)]
struct Local {
    _producer: JoinSet<()>,
    _stack: LocalStack,
}

impl Demo {
    /// The stream that the command line names: `--aws STREAM`, or one on this machine, with a
    /// producer.
    ///
    /// # Errors
    /// If the local stack cannot be started.
    pub async fn from_args() -> anyhow::Result<Self> {
        match Args::parse().aws {
            Some(stream) => {
                let aws = aws_config::load_defaults(BehaviorVersion::latest()).await;
                Ok(Self { aws, stream, _local: None })
            }
            None => Self::local().await,
        }
    }

    async fn local() -> anyhow::Result<Self> {
        let stack = LocalStack::start().context("the local stack did not start")?;
        let aws = stack.sdk_config();
        let client = Client::new(&aws);
        let create = client.create_stream().stream_name(STREAM).shard_count(SHARDS);
        create.send().await.context("the stream could not be created")?;
        let mut producer = JoinSet::new();
        producer.spawn(produce(client));
        let local = Local { _producer: producer, _stack: stack };
        Ok(Self { aws, stream: STREAM.to_owned(), _local: Some(local) })
    }

    /// How to reach AWS, or what stands in for it.
    #[must_use]
    pub const fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Ready when Ctrl-C was pressed.
    pub async fn ctrl_c(&self) {
        // Where the system cannot tell, the process is stopped by other means.
        drop(tokio::signal::ctrl_c().await);
    }
}

/// Puts numbered greetings for as long as the stream takes them.
async fn produce(client: Client) {
    for number in 1_u64.. {
        let put =
            client.put_record().stream_name(STREAM).partition_key(format!("key {}", number % KEYS));
        if put.data(Blob::new(format!("hello {number}"))).send().await.is_err() {
            return;
        }
        tokio::time::sleep(PUT_EVERY).await;
    }
}
