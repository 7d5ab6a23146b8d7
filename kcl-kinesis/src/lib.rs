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
//!
//! # Hosts
//!
//! In AWS, a source made [`from_arn`](KinesisSource::from_arn) asks three hosts:
//! `ACCOUNT.control-kinesis.REGION.amazonaws.com`, `ACCOUNT.data-kinesis.REGION.amazonaws.com`, and,
//! for later pages of long lists, `kinesis.REGION.amazonaws.com`. A source of a stream's name asks
//! only the last one. In a network without internet access, a VPC endpoint must answer for them.

mod config;
mod dead_letter;
mod description;
mod encoding;
mod error;
mod exchange;
mod polling;
mod record;
mod shards;
mod source;
#[cfg(feature = "test-util")]
pub mod testing;
mod wire;

pub use config::{KinesisSourceConfig, ParseStreamIdError, StreamId};
pub use dead_letter::KinesisDeadLetter;
pub use encoding::Encoding;
pub use source::KinesisSource;
