//! Settings of delivery.

use std::time::Duration;

use kcl_proto::model::{CheckpointPolicy, FailurePolicy};

use crate::config::error::InvalidSetting;

/// How records are delivered, and what happens when that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct DeliveryConfig {
    /// Who stores how far a shard is done.
    ///
    /// Default: [`CheckpointPolicy::Automatic`].
    pub checkpoints: CheckpointPolicy,
    /// The pause before a failed batch is delivered again, the first time. It doubles each time.
    /// Chance shortens each pause by up to half, so that shards that failed together do not retry
    /// together.
    ///
    /// Default: 100 ms. From 1 ms to [`retry_max`](Self::retry_max).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub retry_min: Duration,
    /// The longest pause before a failed batch is delivered again.
    ///
    /// Default: 10 s. At most 1 h.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub retry_max: Duration,
    /// How many records may lie above the last position up to which all are acknowledged, before
    /// the next batch waits. It counts where a processor [detaches](crate::RecordBatch::into_acks)
    /// acknowledgements. A batch that was begun may exceed it.
    ///
    /// Default: 10,000. At least 1.
    pub in_flight_max: usize,
    /// How often records that fail are delivered again, and what happens to them then.
    ///
    /// Default: they are delivered again without a limit.
    pub failure: FailurePolicy,
    /// What to do when records were trimmed before they were processed.
    ///
    /// Default: [`LostDataPolicy::Continue`], with an error in the log and an event.
    pub lost_data: LostDataPolicy,
    /// How long the application's future may take to notice that the lease is lost before it is
    /// dropped. It ends at the lease's deadline at the latest.
    ///
    /// Default: 1 s. At most 1 minute.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub cancel_grace: Duration,
    /// How long a processor call may run, or an acknowledgement be outstanding, before
    /// [`ProcessorSlow`](crate::event::Event::ProcessorSlow) is emitted. The event is repeated each
    /// time that the duration has doubled, and each hour. Nothing else happens: a processor may
    /// take any time while no other worker asks for its shard.
    ///
    /// Default: 1 minute. From 1 s to 1 day.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub slow_after: Duration,
}

/// What to do when records were trimmed before they were processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum LostDataPolicy {
    /// Continue with the oldest record that is left.
    #[default]
    Continue,
    /// Stop the shard: release its lease, and emit an event. This worker does not take the lease
    /// again until it is started anew. The next worker does the same: in the end the shard has no
    /// owner, and loses further records, until workers are started that continue.
    Stop,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            checkpoints: CheckpointPolicy::default(),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            in_flight_max: 10_000,
            failure: FailurePolicy::default(),
            lost_data: LostDataPolicy::default(),
            cancel_grace: Duration::from_secs(1),
            slow_after: Duration::from_mins(1),
        }
    }
}

impl DeliveryConfig {
    /// Sets [`checkpoints`](Self::checkpoints).
    #[must_use]
    pub const fn with_checkpoints(mut self, policy: CheckpointPolicy) -> Self {
        self.checkpoints = policy;
        self
    }

    /// Sets [`retry_min`](Self::retry_min).
    #[must_use]
    pub const fn with_retry_min(mut self, pause: Duration) -> Self {
        self.retry_min = pause;
        self
    }

    /// Sets [`retry_max`](Self::retry_max).
    #[must_use]
    pub const fn with_retry_max(mut self, pause: Duration) -> Self {
        self.retry_max = pause;
        self
    }

    /// Sets [`in_flight_max`](Self::in_flight_max).
    #[must_use]
    pub const fn with_in_flight_max(mut self, records: usize) -> Self {
        self.in_flight_max = records;
        self
    }

    /// Sets [`failure`](Self::failure).
    #[must_use]
    pub const fn with_failure(mut self, policy: FailurePolicy) -> Self {
        self.failure = policy;
        self
    }

    /// Sets [`lost_data`](Self::lost_data).
    #[must_use]
    pub const fn with_lost_data(mut self, policy: LostDataPolicy) -> Self {
        self.lost_data = policy;
        self
    }

    /// Sets [`cancel_grace`](Self::cancel_grace).
    #[must_use]
    pub const fn with_cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Sets [`slow_after`](Self::slow_after).
    #[must_use]
    pub const fn with_slow_after(mut self, time: Duration) -> Self {
        self.slow_after = time;
        self
    }

    /// Returns what cannot work where the application gets no checkpointer: nothing would be
    /// stored.
    pub(crate) fn validate_without_checkpointer(&self) -> Vec<InvalidSetting> {
        let reason = "must not be Manual with for_each or for_stream, which get no checkpointer";
        let invalid = InvalidSetting::new("delivery.checkpoints", self.checkpoints, reason);
        if self.checkpoints == CheckpointPolicy::Manual { vec![invalid] } else { Vec::new() }
    }

    pub(super) fn validate(&self) -> Vec<InvalidSetting> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_mins(1);
        const HOUR: Duration = Duration::from_hours(1);
        const DAY: Duration = Duration::from_hours(24);
        let mut invalid = Vec::new();
        if let CheckpointPolicy::Every { records, time } = self.checkpoints {
            let min = Duration::from_millis(10);
            invalid.extend(InvalidSetting::below("delivery.checkpoints.records", records, 1));
            invalid.extend(InvalidSetting::below("delivery.checkpoints.time", time, min));
        }
        if let Some(attempts) = self.failure.attempts_max {
            invalid.extend(InvalidSetting::below("delivery.failure.attempts_max", attempts, 1));
        }
        if let Some(time) = self.failure.retry_for {
            invalid.extend(InvalidSetting::below("delivery.failure.retry_for", time, MILLISECOND));
        }
        let (min, max) = (self.retry_min, self.retry_max);
        invalid.extend(InvalidSetting::below("delivery.in_flight_max", self.in_flight_max, 1));
        invalid.extend(InvalidSetting::outside("delivery.retry_min", min, MILLISECOND, max));
        invalid.extend(InvalidSetting::outside("delivery.retry_max", max, MILLISECOND, HOUR));
        let (grace, slow) = (self.cancel_grace, self.slow_after);
        let none = Duration::ZERO;
        invalid.extend(InvalidSetting::outside("delivery.cancel_grace", grace, none, MINUTE));
        invalid.extend(InvalidSetting::outside("delivery.slow_after", slow, SECOND, DAY));
        invalid
    }
}
