//! Kinesis and DynamoDB inside your process.
//!
//! A [`LocalStack`] is one loopback endpoint for both services. It starts in milliseconds and stops
//! when dropped:
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
//! Subscriptions of enhanced fan-out keep to the service's rules, whose times tests shorten by
//! [`SubscriptionRules`], and break on demand: [`LocalStack::strike`].
//!
//! The program `kcl-local` runs a stack as a process, for clients in any language. Given a command,
//! it runs it with the environment that leads AWS clients to the stack:
//! `kcl-local --demo orders cargo run`.
//!
//! # What differs from AWS
//!
//! - Calls are not authenticated, and only those of enhanced fan-out are throttled.
//! - Times of arrival and creation are whole seconds. `AT_TIMESTAMP` may return records from up to
//!   a second before the given time, and skips none; `MillisBehindLatest` is up to a second too
//!   long while there is a backlog.
//! - A shard's children open up to a second after the call that creates them.
//! - Records older than the retention period are not returned; shards stay listed as long as they
//!   have been open within it. No record is trimmed earlier.
//! - `UpdateShardCount` is refused: use `SplitShard` and `MergeShards`.
//! - `PutRecords` takes 5 MiB at most.
//! - A subscription sends records at once, in events of up to 2000 records, as fast as its client
//!   reads: not up to 2 MB/s.
//! - `DescribeStream` returns all shards at once.
//! - With a folder, every write to Kinesis saves the whole state: use it for development, not for
//!   load.

mod calls;
#[cfg(feature = "demo")]
mod demo;
mod dynamo;
mod fan_out;
mod gateway;
mod repair;
mod stack;
mod topology;
mod wire;

#[cfg(feature = "demo")]
pub use demo::DemoStream;
pub use fan_out::rules::SubscriptionRules;
pub use fan_out::strike::{Fault, Strike};
pub use stack::{LocalStack, LocalStackOptions, StartError, sdk_config};
