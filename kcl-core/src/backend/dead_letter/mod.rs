//! Dead letters: [`DeadLetter`], a store of records that cannot be processed.

mod file;

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_proto::model::{Record, ShardId, StreamName, Timestamp};
use serde_json::json;

use crate::BoxError;

pub use file::FileDeadLetter;

/// Stores records that have used up their attempts. Give one to
/// [`WorkerBuilder::dead_letter`](crate::WorkerBuilder::dead_letter), and set
/// [`OnExhausted::DeadLetter`](kcl_proto::model::OnExhausted::DeadLetter).
///
/// # Contract
/// 1. `Ok` means that the record is stored: its shard continues without it.
/// 2. After an error the call is retried, with growing pauses, until the record is stored, the
///    lease is lost or the worker stops. The shard waits meanwhile.
/// 3. A record may be stored twice: after a crash, or by the shard's next owner.
/// 4. The future may be dropped at any of its await points. Give every call a time limit.
#[async_trait]
pub trait DeadLetter: fmt::Debug + Send + Sync + 'static {
    /// Stores one record.
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError>;
}

/// A record that could not be processed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedRecord {
    /// The stream that it comes from.
    pub stream: StreamName,
    /// The shard that it comes from.
    pub shard: ShardId,
    /// The record, with its position.
    pub record: Record,
    /// The processor's last error, causes included.
    pub error: String,
    /// How often it was delivered to this worker.
    pub attempts: u32,
}

impl FailedRecord {
    /// A record that failed with `error` after `attempts` deliveries.
    pub fn new(
        stream: StreamName,
        shard: ShardId,
        record: Record,
        error: impl Into<String>,
        attempts: u32,
    ) -> Self {
        Self { stream, shard, record, error: error.into(), attempts }
    }

    /// Returns the record as one line of JSON, without an end of line: `stream`, `shard`,
    /// `sequence_number`, `sub_sequence_number`, `partition_key`, `arrived` (milliseconds since
    /// 1970, or null), `attempts`, `error`, and `data` in base64.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Record { position, partition_key, data, arrived, .. } = &self.record;
        json!({
            "stream": self.stream.as_str(),
            "shard": self.shard.as_str(),
            "sequence_number": position.sequence.to_string(),
            "sub_sequence_number": position.sub_sequence,
            "partition_key": partition_key.as_str(),
            "arrived": arrived.map(Timestamp::epoch_millis),
            "attempts": self.attempts,
            "error": self.error,
            "data": STANDARD.encode(data),
        })
        .to_string()
    }
}
