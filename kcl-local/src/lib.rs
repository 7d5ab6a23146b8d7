//! Kinesis and DynamoDB inside your process.
//!
//! A [`LocalStack`] is one loopback endpoint that answers for both services, ready in milliseconds
//! and gone when dropped:
//!
//! ```
//! let stack = kcl_local::LocalStack::start()?;
//! let config = stack.sdk_config();
//! // aws_sdk_kinesis::Client::new(&config), aws_sdk_dynamodb::Client::new(&config)
//! assert!(stack.endpoint_url().starts_with("http://127.0.0.1:"));
//! assert!(stack.calls().is_empty());
//! # Ok::<(), kcl_local::StartError>(())
//! ```
//!
//! For clients in any language the program `kcl-local` runs the same as a process. Given a command it
//! runs it with the environment that leads AWS clients to the stack: `kcl-local --demo orders cargo run`.
//!
//! # What differs from AWS
//!
//! - Nobody is throttled, and signatures are not checked.
//! - Times of arrival and creation are whole seconds. `AT_TIMESTAMP` may return records of the
//!   second before the one asked for, and skips none; `MillisBehindLatest` is up to a second too
//!   long while there is a backlog.
//! - A shard's children open up to a second after the call that made them.
//! - Records older than the retention period are not returned; shards stay listed as long as they
//!   have been open within it. No record is trimmed earlier.
//! - `UpdateShardCount` is refused: use `SplitShard` and `MergeShards`.
//! - `PutRecords` takes 5 MiB at most.
//! - A subscription looks for records every 200 ms, in events of up to 2000 records, and its
//!   `MillisBehindLatest` is always 0.
//! - `DescribeStream` returns all shards at once, and `ListStreamConsumers` its first page only.
//! - With a folder, every write to Kinesis saves all of it. That is for development, not for load.

mod calls;
mod demo;
mod dynamo;
mod gateway;
mod repair;
mod stack;
mod topology;
mod wire;

pub use demo::DemoStream;
pub use stack::{LocalStack, LocalStackOptions, StartError, sdk_config};
