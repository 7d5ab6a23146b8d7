//! What the user chooses about checkpoints and about records that keep failing.

use std::time::Duration;

/// Who stores how far a shard is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum CheckpointPolicy {
    /// The library: a batch that was processed is stored with the next renewal, at no extra cost.
    #[default]
    Automatic,
    /// The library: as with [`Automatic`](Self::Automatic), and sooner than the next renewal once
    /// about so many records are processed, or the first of them was processed so long ago. It makes
    /// fewer records come twice after a crash, and costs a write each time.
    Every {
        /// So many records. At least 1.
        records: usize,
        /// So long. From 10 ms.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        time: Duration,
    },
    /// The application, with its `Checkpointer`.
    Manual,
}

impl CheckpointPolicy {
    /// Whether the library stores by itself what was processed.
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Automatic | Self::Every { .. } => true,
            Self::Manual => false,
        }
    }
}

/// How often records that failed are delivered again, and what becomes of them then.
///
/// By default they come again for ever, and each failure is told. With a limit they are given up once
/// [`attempts_max`](Self::attempts_max) or [`retry_for`](Self::retry_for) is reached, whichever is
/// first. Failures are counted in memory: the next owner of a shard starts from zero.
///
/// The same limits hold for `initialize` and `shard_ended` where [`then`](Self::then) is to stop the
/// shard or the worker. Otherwise they are called again for ever: there is no record to be set aside.
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
    /// How often the same records may fail in a row.
    ///
    /// Default: none, without limit. At least 1.
    pub attempts_max: Option<usize>,
    /// For how long the same records may go on failing, from the first failure.
    ///
    /// Default: none, without limit. At least 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub retry_for: Option<Duration>,
    /// Whether a batch that has used up its attempts is delivered in halves, first the first one,
    /// then the second, until the records that fail are alone. A half gets one attempt; a single
    /// record gets all attempts and all the time again. Otherwise the whole batch is given up.
    ///
    /// Default: true.
    pub bisect: bool,
    /// What becomes of records that are given up.
    ///
    /// Default: [`OnExhausted::StopShard`], which needs a limit to be reached at all.
    pub then: OnExhausted,
}

/// What becomes of records that have used up their attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum OnExhausted {
    /// They are stored in the worker's dead letter, then the shard
    /// goes on. A dead letter that fails is tried again until it works.
    DeadLetter,
    /// They are passed over. Each is counted and told as an event: **they are lost**.
    Skip,
    /// The shard is given up before them. This worker does not take it again until it is started
    /// anew. The next worker fails at the same records, and then does the same: in the end the
    /// shard rests without an owner until a worker is started.
    #[default]
    StopShard,
    /// The worker stops in good order, with `RunError::RecordsFailed`, or
    /// `ProcessorFailed` if it was `initialize` or `shard_ended` that failed.
    StopWorker,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { attempts_max: None, retry_for: None, bisect: true, then: OnExhausted::default() }
    }
}

impl FailurePolicy {
    /// At most so many attempts, then this.
    #[must_use]
    pub const fn attempts(attempts_max: usize, then: OnExhausted) -> Self {
        Self { attempts_max: Some(attempts_max), retry_for: None, bisect: true, then }
    }

    /// Attempts for so long, then this.
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
