//! A stream for the examples, on this machine or in your AWS account.

use anyhow::Context as _;
use clap::Parser;
use kinesis_consumer::aws_config::{self, SdkConfig};
use kinesis_consumer::local::{DemoStream, LocalStack};

/// The name of the local stream.
const STREAM: &str = "demo";

#[derive(Debug, Parser)]
#[command(version, about = "Consumes a stream. Without arguments, one on this machine.")]
struct Args {
    /// Consume this stream of your AWS account, with the credentials of your environment
    #[arg(long, value_name = "STREAM")]
    aws: Option<String>,
}

/// A stream to consume. Dropping it stops a local one.
#[derive(Debug)]
pub struct Demo {
    aws: SdkConfig,
    stream: String,
    _local: Option<(DemoStream, LocalStack)>,
}

impl Demo {
    /// Returns the stream that the command line names: `--aws STREAM`, or one on this machine, with
    /// a producer.
    ///
    /// # Errors
    /// If the local stack cannot be started.
    pub async fn from_args() -> anyhow::Result<Self> {
        match Args::parse().aws {
            Some(stream) => {
                let aws = aws_config::load_from_env().await;
                Ok(Self { aws, stream, _local: None })
            }
            None => Self::local().await,
        }
    }

    async fn local() -> anyhow::Result<Self> {
        let stack = LocalStack::start().context("the local stack did not start")?;
        let aws = stack.sdk_config();
        let stream = DemoStream::start(&aws, STREAM).await;
        let stream = stream.context("cannot create the stream")?;
        Ok(Self { aws, stream: STREAM.to_owned(), _local: Some((stream, stack)) })
    }

    /// Returns the SDK configuration of AWS, or of the local stack.
    #[must_use]
    pub const fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// Returns the stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Waits for Ctrl-C.
    pub async fn ctrl_c(&self) {
        // Without a handler, Ctrl-C ends the process.
        drop(tokio::signal::ctrl_c().await);
    }
}
