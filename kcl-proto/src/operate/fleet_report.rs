//! A fleet, as its table shows it.

use std::time::Duration;

use crate::model::{HashKeyRange, StreamArn, StreamName, Timestamp};
use crate::operate::finding::{Finding, Verdict};
use crate::operate::shard_report::{ShardReport, ShardState};
use crate::operate::worker_report::WorkerReport;

/// Which library writes the leases of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum WrittenBy {
    /// There is no lease.
    Empty,
    /// This library.
    Ours,
    /// The Java KCL 2.x, or 1.x.
    Java2,
    /// The Java KCL 3.x.
    Java3,
    /// Both, at least by the last writes to their rows.
    Both,
}

/// A fleet at one moment, made of the rows of its table. In JSON fields are only added.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FleetReport {
    /// The version of its JSON.
    pub schema: u32,
    /// The application.
    pub application: String,
    /// The stream, or `None` if nothing says it.
    pub stream: Option<StreamName>,
    /// The stream's ARN, as the table says it.
    pub stream_arn: Option<StreamArn>,
    /// When the table was read.
    pub at: Timestamp,
    /// How the fleet is.
    pub verdict: Verdict,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
    /// Which library writes its leases.
    pub written_by: WrittenBy,
    /// The greatest lag of a shard, or `None` if no lag is known.
    #[cfg_attr(feature = "serde", serde(rename = "lag_max_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub lag_max: Option<Duration>,
    /// How long the stream keeps records, or `None` if the stream was not read.
    #[cfg_attr(feature = "serde", serde(rename = "retention_seconds"))]
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::optional"))]
    pub retention: Option<Duration>,
    /// The shards that have leases, in the order of their ids.
    pub shards: Vec<ShardReport>,
    /// The workers, in the order of their ids.
    pub workers: Vec<WorkerReport>,
    /// The hash keys that no lease covers; `None` if a lease does not say which ones it has.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::serde_parts::ranges"))]
    pub uncovered: Option<Vec<HashKeyRange>>,
}

impl FleetReport {
    /// The version of its JSON.
    pub const SCHEMA: u32 = 1;

    /// Returns the shards that are not finished.
    pub fn open_shards(&self) -> impl Iterator<Item = &ShardReport> {
        self.shards.iter().filter(|shard| shard.state != ShardState::Ended)
    }

    /// Returns how many workers run, or may.
    #[must_use]
    pub fn workers_alive(&self) -> usize {
        self.workers.iter().filter(|worker| worker.may_work()).count()
    }
}
