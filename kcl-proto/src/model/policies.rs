//! Policies that users set: for checkpoints, and for records that fail.

use std::time::Duration;

/// Which side stores checkpoints, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum CheckpointPolicy {
    /// The library stores the progress of processed batches with the next renewal, at no extra
    /// cost.
    #[default]
    Automatic,
    /// The library stores progress as with [`Automatic`](Self::Automatic), and earlier once about
    /// `records` records are processed or `time` has passed since the first of them. Fewer records
    /// are delivered twice after a crash, at the cost of a write each time.
    Every {
        /// The number of processed records. At least 1.
        records: usize,
        /// The time since the first processed record. At least 10 ms.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        time: Duration,
    },
    /// The application stores checkpoints with its `Checkpointer`. The library only adds records
    /// that need no processing, such as dropped user records, once all before them are stored.
    Manual,
}

impl CheckpointPolicy {
    /// Whether the library stores progress by itself.
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Automatic | Self::Every { .. } => true,
            Self::Manual => false,
        }
    }
}

/// How often failed records are redelivered, and what happens once the attempts are exhausted.
///
/// By default failed records are redelivered indefinitely, and every failure emits an event. With a
/// limit they are abandoned once [`attempts_max`](Self::attempts_max) or
/// [`retry_for`](Self::retry_for) is reached, whichever comes first. Failures are counted in
/// memory: the next owner of a shard starts from zero.
///
/// The same limits apply to `initialize` and `shard_ended` if [`then`](Self::then) stops the shard
/// or the worker. Otherwise these calls are retried indefinitely, because there is no record to
/// abandon.
///
/// # Examples
/// ```
/// use kcl_proto::model::{FailurePolicy, OnExhausted};
///
/// let policy = FailurePolicy::attempts(5, OnExhausted::DeadLetter);
/// assert!(policy.bisect);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct FailurePolicy {
    /// How often the same records may fail in a row. At least 1.
    ///
    /// Default: `None`, no limit.
    pub attempts_max: Option<usize>,
    /// How long the same records may keep failing, from the first failure. At least 1 ms.
    ///
    /// Default: `None`, no limit.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub retry_for: Option<Duration>,
    /// Whether a batch with exhausted attempts is delivered in halves, the first half before the
    /// second, until the failing records are isolated. A half gets one attempt; a single record
    /// gets all attempts and all the time again. If `false`, the whole batch is abandoned.
    ///
    /// Default: `true`.
    pub bisect: bool,
    /// What happens to abandoned records.
    ///
    /// Default: [`OnExhausted::StopShard`], which takes effect only with a limit.
    pub then: OnExhausted,
}

/// What happens to records whose attempts are exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum OnExhausted {
    /// They are stored in the worker's dead letter, and the shard continues. A dead letter that
    /// fails is retried until it succeeds.
    DeadLetter,
    /// They are skipped. Each is counted and emits an event: **these records are lost**.
    Skip,
    /// The shard is stopped before them. This worker does not take it again until it restarts.
    /// Other workers fail at the same records and stop the shard too: in the end it has no owner
    /// until a worker starts.
    #[default]
    StopShard,
    /// The worker shuts down gracefully with `RunError::RecordsFailed`, or with `ProcessorFailed`
    /// if `initialize` or `shard_ended` failed.
    StopWorker,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { attempts_max: None, retry_for: None, bisect: true, then: OnExhausted::default() }
    }
}

impl FailurePolicy {
    /// Creates a policy of at most `attempts_max` attempts.
    #[must_use]
    pub const fn attempts(attempts_max: usize, then: OnExhausted) -> Self {
        Self { attempts_max: Some(attempts_max), retry_for: None, bisect: true, then }
    }

    /// Creates a policy of attempts for `time`.
    #[must_use]
    pub const fn retry_for(time: Duration, then: OnExhausted) -> Self {
        Self { attempts_max: None, retry_for: Some(time), bisect: true, then }
    }
    /// Sets [`attempts_max`](Self::attempts_max).
    #[must_use]
    pub const fn with_attempts_max(mut self, attempts: usize) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// Sets [`retry_for`](Self#structfield.retry_for).
    #[must_use]
    pub const fn with_retry_for(mut self, time: Duration) -> Self {
        self.retry_for = Some(time);
        self
    }

    /// Sets [`bisect`](Self::bisect).
    #[must_use]
    pub const fn with_bisect(mut self, bisect: bool) -> Self {
        self.bisect = bisect;
        self
    }

    /// Sets [`then`](Self::then).
    #[must_use]
    pub const fn with_then(mut self, then: OnExhausted) -> Self {
        self.then = then;
        self
    }
}
