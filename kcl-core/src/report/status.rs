//! The status of a worker while it runs, and its report when it stopped.

use std::fmt;
use std::time::Duration;

use kcl_proto::model::{Checkpoint, LeaseEnd, LeaseKey, WorkerId};

use crate::memory::MemoryUsage;

/// A worker at one moment. Its [`Display`](fmt::Display) is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's id.
    pub worker: WorkerId,
    /// What it is doing.
    pub state: WorkerState,
    /// The shards whose leases it holds, in order. Updated about every second.
    pub held: Vec<HeldShard>,
    /// How many leases the table has, ended ones included.
    pub leases: usize,
    /// The memory that records take, in all workers that share the budget. Updated as often.
    pub memory: MemoryUsage,
    /// The last error, causes included.
    pub last_error: Option<String>,
}

/// A shard whose lease a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HeldShard {
    /// The lease.
    pub key: LeaseKey,
    /// The stored checkpoint, as far as this worker knows.
    pub checkpoint: Option<Checkpoint>,
    /// The lag: how far the read that returned the batch in hand, or else the last read, was behind
    /// the end of the shard. While detached acknowledgements are outstanding, how old the oldest
    /// record among them may be. `None` before the first read, or if the source does not report it.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub behind_latest: Option<Duration>,
    /// The call of its processor that has run for longer than `delivery.slow_after`, or
    /// `acknowledgements` if detached ones have been outstanding for that time.
    pub slow: Option<SlowCall>,
}

/// A call of a processor that has run for long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SlowCall {
    /// The call, such as `process_records`.
    pub call: &'static str,
    /// How long it had run at the last report.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub taken: Duration,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WorkerState {
    /// Preparing the table, looking at the stream.
    Starting,
    /// Taking and holding leases.
    Running,
    /// Draining and releasing.
    Stopping,
    /// Ended.
    Stopped,
}

/// How each shard ended when a worker stopped. Its [`Display`](fmt::Display) is one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Each shard that the worker held and whose lease the table still has, with the end of its last
    /// ownership.
    pub shards: Vec<ShardReport>,
}

/// How the last ownership of a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShardReport {
    /// The lease.
    pub key: LeaseKey,
    /// How it ended.
    pub how: LeaseEnd,
    /// The stored checkpoint, as far as this worker knows.
    pub checkpoint: Checkpoint,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

impl fmt::Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        let (held, MemoryUsage { used, budget }) = (self.held.len(), self.memory);
        write!(f, "{} {}, holds {held} of {} leases", self.worker, self.state, self.leases)?;
        write!(f, ", uses {} of {} MiB", used / MIB, budget / MIB)?;
        if let Some(lag) = self.held.iter().filter_map(|shard| shard.behind_latest).max() {
            write!(f, ", lag {lag:?}")?;
        }
        for (shard, slow) in self.held.iter().filter_map(|it| Some((it, it.slow.as_ref()?))) {
            write!(f, ", {} of {} has run for {:?}", slow.call, shard.key, slow.taken)?;
        }
        self.last_error.iter().try_for_each(|error| write!(f, ", last error: {error}"))
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("held")?;
        let mut separator = " ";
        for shard in &self.shards {
            write!(f, "{separator}{shard}")?;
            separator = ", ";
        }
        if self.shards.is_empty() { f.write_str(" no shards") } else { Ok(()) }
    }
}

impl fmt::Display for ShardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} at {})", self.key, self.how, self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        let mut status = WorkerStatus {
            worker: WorkerId::new("ann:1"),
            state: WorkerState::Running,
            held: Vec::new(),
            leases: 4,
            memory: MemoryUsage { used: 12 << 20, budget: 256 << 20 },
            last_error: None,
        };
        assert_eq!(status.to_string(), "ann:1 running, holds 0 of 4 leases, uses 12 of 256 MiB");
        let call = "process_records";
        status.held.push(HeldShard {
            key: LeaseKey::new("shard-1"),
            checkpoint: None,
            behind_latest: Some(Duration::from_secs(3)),
            slow: Some(SlowCall { call, taken: Duration::from_mins(1) }),
        });
        status.last_error = Some("throttled".to_owned());
        assert_eq!(
            status.to_string(),
            "ann:1 running, holds 1 of 4 leases, uses 12 of 256 MiB, lag 3s, process_records of \
             shard-1 has run for 60s, last error: throttled"
        );
    }

    #[test]
    fn a_report_is_one_line() {
        assert_eq!(ShutdownReport::default().to_string(), "held no shards");
        let shard = |key: &str, how| ShardReport {
            key: LeaseKey::new(key),
            how,
            checkpoint: Checkpoint::TrimHorizon,
        };
        let shards = vec![shard("a", LeaseEnd::Released), shard("b", LeaseEnd::Lost)];
        assert_eq!(
            ShutdownReport { shards }.to_string(),
            "held a (released at TRIM_HORIZON), b (lost at TRIM_HORIZON)"
        );
    }
}
