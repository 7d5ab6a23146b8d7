//! Reads Amazon Kinesis Data Streams: implement one trait, start any number of processes, and every
//! record is processed at least once, in order within its shard.
//!
//! Workers share the stream's shards through leases in one DynamoDB table, in the format of the
//! Java Kinesis Client Library. They come, go, crash and stall, and the stream is resharded; no
//! record is skipped.
//!
//! # A first program
//!
//! ```no_run
//! //! Prints every record of the stream `orders`. Ctrl-C or SIGTERM stops it.
//!
//! use std::io::Write as _;
//!
//! use kinesis_consumer::aws_config;
//! use kinesis_consumer::prelude::*;
//!
//! struct Printer;
//!
//! impl RecordProcessor for Printer {
//!     async fn process_records(
//!         &mut self,
//!         batch: RecordBatch,
//!         shard: &ShardContext,
//!     ) -> Result<(), BoxError> {
//!         let mut out = std::io::stdout().lock();
//!         for record in &batch {
//!             writeln!(out, "{} {}", shard.shard_id(), String::from_utf8_lossy(&record.data))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     let aws = aws_config::load_from_env().await;
//!     let worker = Worker::builder("hello")
//!         .records(KinesisSource::new(&aws, "orders"))
//!         .leases(DynamoLeaseStore::new(&aws, "hello").create_if_missing())
//!         .processor(|_| Printer)
//!         .build()?;
//!     worker.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! Its dependencies are this crate and `tokio` with the features `macros` and `rt-multi-thread`. It
//! reads region, credentials and endpoint as every AWS SDK does, from the environment or a profile.
//!
//! # Without an AWS account
//!
//! The program `kcl-local` (`cargo install kcl-local`) serves Kinesis and DynamoDB on this machine,
//! and runs a command with the environment that leads there. With `--demo` it puts a record into a
//! stream five times a second:
//!
//! ```sh
//! kcl-local --demo orders cargo run
//! ```
//!
//! In a test, the feature `local` starts the same inside the process: replace the first line of
//! `main` by
//!
//! ```
//! # #[cfg(feature = "local")]
//! # fn start() -> Result<(), kinesis_consumer::BoxError> {
//! let stack = kinesis_consumer::local::LocalStack::start()?;
//! let aws = stack.sdk_config();
//! # drop(aws);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to go from here
//!
//! | You want to | Look at |
//! |---|---|
//! | process one record at a time, with one closure | [`WorkerBuilder::for_each`] |
//! | read records as a `Stream` | [`for_stream`] |
//! | store checkpoints yourself | [`Checkpointer`], [`config::CheckpointPolicy`] |
//! | limit retries, dead-letter or skip records | [`config::FailurePolicy`] |
//! | change a setting | [`config::WorkerConfig`], [`kinesis::KinesisSourceConfig`], [`dynamo::DynamoLeaseStoreConfig`] |
//! | count, alarm, log | [`WorkerHandle::meter`], [`event::Observer`], [`WorkerHandle::status`]; the log goes to `tracing` |
//! | know what an error asks of you | [`error::RunError`] |
//! | test your processor against crashes and reshards | the feature `sim` |
//! | keep leases or read records elsewhere | [`backend::LeaseStore`], [`backend::RecordSource`], the feature `test-util` |
//! | know what is promised, every setting, every event | [`guide`] |
//!
//! # Features
//!
//! | Feature | Adds |
//! |---|---|
//! | `local` | `local`: Kinesis and DynamoDB inside your process. Needs a C compiler |
//! | `sim` | `sim`: backends in memory, and a simulator of whole fleets in virtual time |
//! | `metrics` | `metrics::Prometheus`: all metrics as text |
//! | `cloudwatch` | `metrics::cloudwatch`: what the Java KCL publishes, with its names |
//! | `emf` | `metrics::emf`: the same as lines of a log |
//! | `http` | `http`: probes, metrics and status as an `axum` router or a server |
//! | `serde` | `Serialize` for settings, events and status, `Deserialize` for settings |
//! | `test-util` | `testing`: conformance suites for backends of your own |

pub mod guide;

#[cfg(feature = "test-util")]
pub use kcl_core::testing;
pub use kcl_core::{
    Ack, BoxError, Checkpointer, MemoryBudget, PartialFailure, ProcessorFactory, Record,
    RecordBatch, RecordProcessor, ShardContext, Worker, WorkerBuilder, WorkerHandle, for_each,
    for_stream, settle,
};
pub use kcl_core::{backend, config, error, event, kpl, model, processor};

pub mod metrics {
    //! What a worker counts and measures. The features `metrics`, `cloudwatch` and `emf` render it.

    pub use kcl_core::metrics::*;
    #[cfg(feature = "metrics")]
    pub use kcl_metrics::*;
}

#[cfg(feature = "http")]
pub use kcl_http as http;

pub use kcl_dynamo as dynamo;
pub use kcl_dynamo::DynamoLeaseStore;
pub use kcl_kinesis as kinesis;
pub use kcl_kinesis::KinesisSource;

#[cfg(feature = "local")]
pub use kcl_local as local;
#[cfg(feature = "sim")]
pub use kcl_sim as sim;

pub use {aws_config, aws_sdk_dynamodb, aws_sdk_kinesis, bytes};

pub mod prelude {
    //! What most programs import: `use kinesis_consumer::prelude::*;`.

    pub use crate::{
        BoxError, DynamoLeaseStore, KinesisSource, Record, RecordBatch, RecordProcessor,
        ShardContext, Worker,
    };
}
