//! Settings of delivery.

use std::time::Duration;

use kcl_proto::model::{CheckpointPolicy, FailurePolicy};

use crate::config::error::{Mistake, check_count, check_duration};
use crate::config::failure;

/// How records are handed over, and what happens when that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub retry_min: Duration,
    /// The longest pause before a failed batch is delivered again.
    ///
    /// Default: 10 s. At most 1 h.
    pub retry_max: Duration,
    /// How many records may lie above the last position up to which all are acknowledged, before the
    /// next batch waits; it counts where a processor [detaches](crate::RecordBatch::into_acks)
    /// acknowledgements. A batch that was begun may exceed it.
    ///
    /// Default: 10,000. At least 1.
    pub in_flight_max: usize,
    /// What becomes of records that fail again and again.
    ///
    /// Default: they come again for ever.
    pub failure: FailurePolicy,
    /// What to do when records were trimmed before they were processed.
    ///
    /// Default: [`LostDataPolicy::Continue`], with an error in the log and an event.
    pub lost_data: LostDataPolicy,
    /// How long the application's future may take to notice that the lease is lost before it is
    /// dropped. It ends at the lease's deadline at the latest.
    ///
    /// Default: 1 s. At most 1 minute.
    pub cancel_grace: Duration,
    /// After what time a call of the processor that has not ended is told, or an acknowledgement that
    /// is outstanding. It is told again each time that it has doubled, and each hour. Nothing else happens: a processor may take as long as it
    /// likes while nobody asks for its shard.
    ///
    /// Default: 1 minute. From 1 s to 1 day.
    pub slow_after: Duration,
}

/// What to do when records were trimmed before they were processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LostDataPolicy {
    /// Go on with the oldest record that is left.
    #[default]
    Continue,
    /// Do not go on with this shard: release its lease, and say so. This worker does not take it
    /// again until it is started anew. The next one does the same: in the end the shard rests without
    /// an owner, while records are lost that were not yet, until workers are started that go on.
    Stop,
}

impl DeliveryConfig {
    /// What cannot work where the application gets no checkpointer: nothing would ever be stored.
    pub(crate) fn without_checkpointer(&self) -> Vec<Mistake> {
        let problem = "must not be Manual with for_each or for_stream, which get no checkpointer";
        let is_mistake = self.checkpoints == CheckpointPolicy::Manual;
        is_mistake.then(|| Mistake::new("delivery.checkpoints", problem)).into_iter().collect()
    }
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
    pub(super) fn check(&self, mistakes: &mut Vec<Mistake>) {
        if let CheckpointPolicy::Every { records, time } = self.checkpoints {
            check_count(mistakes, "delivery.checkpoints", records, (1, usize::MAX));
            let range = (Duration::from_millis(10), Duration::MAX);
            check_duration(mistakes, "delivery.checkpoints", time, range);
        }
        failure::check(&self.failure, mistakes);
        let range = (1, usize::MAX);
        check_count(mistakes, "delivery.in_flight_max", self.in_flight_max, range);
        let range = (Duration::from_millis(1), self.retry_max);
        check_duration(mistakes, "delivery.retry_min", self.retry_min, range);
        let range = (Duration::from_millis(1), Duration::from_hours(1));
        check_duration(mistakes, "delivery.retry_max", self.retry_max, range);
        let range = (Duration::ZERO, Duration::from_mins(1));
        check_duration(mistakes, "delivery.cancel_grace", self.cancel_grace, range);
        let range = (Duration::from_secs(1), Duration::from_hours(24));
        check_duration(mistakes, "delivery.slow_after", self.slow_after, range);
    }
}
