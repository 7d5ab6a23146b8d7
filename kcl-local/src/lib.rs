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
//! For clients in any language, `cargo run -p kcl-local` runs the same thing as a process.

mod calls;
mod dynamo;
mod gateway;
pub mod kinesis;
pub mod leases;
mod repair;
mod stack;
mod topology;
mod wire;

pub use stack::{LocalStack, LocalStackOptions, StartError, sdk_config};
