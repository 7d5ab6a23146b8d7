//! Records for the Kinesis consumer framework, read with `aws-sdk-kinesis`.
//!
//! ```no_run
//! # async fn example() {
//! use kcl_kinesis::KinesisSource;
//!
//! let sdk = aws_config::load_from_env().await;
//! let source = KinesisSource::new(&sdk, "orders");
//! # }
//! ```
//!
//! # Permissions
//!
//! `kinesis:DescribeStreamSummary`, `kinesis:ListShards`, `kinesis:GetShardIterator` and
//! `kinesis:GetRecords` on the stream, and `kms:Decrypt` on its key if it is encrypted with one of
//! your own. [`KinesisDeadLetter`] lists its own.

mod config;
mod dead_letter;
mod description;
mod error;
mod polling;
mod record;
mod shards;
mod source;

pub use config::{KinesisSourceConfig, ParseStreamIdError, StreamId};
pub use dead_letter::KinesisDeadLetter;
pub use source::KinesisSource;
