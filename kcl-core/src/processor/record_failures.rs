//! Per-record failure handling: retries, the dead letter and skipped records.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::consumer::failure_policy::{Exhausted, Failed, FailureHistory, Verdict};
use kcl_proto::model::{LeaseKey, OnExhausted, Position, Record, ShardInfo};

use crate::backend::{Clock, DeadLetter, FailedRecord};
use crate::config::WorkerConfig;
use crate::report::event::Event;
use crate::report::events::Events;
use crate::report::log::chain;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::{FatalFailure, StoppedShards};
use crate::tasks::supervisor::panic_message;

/// Carries out the failure policy for the records of one ownership of one shard.
#[derive(Debug)]
pub(crate) struct RecordFailures {
    pub(crate) info: ShardInfo,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) chance: Arc<Chance>,
    pub(crate) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(crate) stopped: StoppedShards,
    /// The number of records skipped in this ownership.
    pub(crate) skipped: AtomicU64,
}

/// What to do with a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Retry it after this pause.
    Retry(Duration),
    /// [Store](RecordFailures::store) it in the dead letter, or skip it.
    Abandon,
    /// Stop the shard.
    Stop,
}

impl RecordFailures {
    /// Decides what to do with a record after its `attempt`th failure. Emits an event if it is
    /// retried.
    pub(crate) fn failed(
        &self,
        history: &mut FailureHistory,
        record: &Record,
        error: &str,
        attempt: u32,
    ) -> NextStep {
        let positions = [record.position];
        let failed = Failed { positions: &positions, is_first_blamed: true, error };
        match history.failed(failed, &self.config.delivery.failure, self.clock.now()) {
            Verdict::Abandon => NextStep::Abandon,
            Verdict::StopShard | Verdict::StopWorker => NextStep::Stop,
            Verdict::Retry { tries } => {
                let retry_in = self.pause(tries);
                self.events.emit(&Event::RecordFailed {
                    shard: self.info.shard_id.clone(),
                    position: record.position,
                    attempt,
                    error: error.to_owned(),
                    retry_in,
                });
                NextStep::Retry(retry_in)
            }
        }
    }

    /// Stores an abandoned record in the dead letter, if the policy says so. A panic of the dead
    /// letter is an error.
    pub(crate) async fn store(&self, record: Record, exhausted: &Exhausted) -> Result<(), String> {
        if self.config.delivery.failure.then != OnExhausted::DeadLetter {
            return Ok(());
        }
        let Some(dead_letter) = &self.dead_letter else {
            return Err("there is no dead letter".to_owned());
        };
        let Exhausted { attempts, error } = exhausted.clone();
        let ShardInfo { stream, shard_id: shard, .. } = self.info.clone();
        let failed = FailedRecord { stream, shard, record, error, attempts };
        match AssertUnwindSafe(dead_letter.store(&failed)).catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(chain(&*error)),
            Err(panic) => Err(format!("panicked: {}", panic_message(&*panic))),
        }
    }

    /// Reports that a record is abandoned: stored in the dead letter, or skipped.
    pub(crate) fn abandoned(&self, position: Position, exhausted: Exhausted) {
        let Exhausted { attempts, error } = exhausted;
        let shard = self.info.shard_id.clone();
        self.events.emit(&match self.config.delivery.failure.then {
            OnExhausted::DeadLetter => Event::DeadLettered { shard, position, attempts, error },
            OnExhausted::Skip | OnExhausted::StopShard | OnExhausted::StopWorker => {
                let skipped = self.skipped.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                Event::Skipped { shard, position, attempts, error, skipped }
            }
        });
    }

    /// Reports that the dead letter failed for the `attempt`th time.
    pub(crate) fn dead_letter_failed(
        &self,
        position: Position,
        attempt: u32,
        error: String,
        retry_in: Option<Duration>,
    ) {
        let shard = self.info.shard_id.clone();
        self.events.emit(&Event::DeadLetterFailed { shard, position, attempt, error, retry_in });
    }

    /// Stops the shard, or the whole worker, after `failure`.
    pub(crate) fn stop(&self, failure: FatalFailure, stops_worker: bool) {
        let FatalFailure { shard, call, position, error } = failure.clone();
        self.stopped.insert(LeaseKey::from(&shard));
        self.events.emit(&Event::ShardStopped { shard, call, position, error, stops_worker });
        if stops_worker {
            self.stopped.stop_worker(failure);
        }
    }

    /// The pause after `failures` failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let delivery = &self.config.delivery;
        Backoff::new(delivery.retry_min, delivery.retry_max).jittered(failures, self.chance.draw())
    }
}
