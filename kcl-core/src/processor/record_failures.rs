//! What becomes of single records that fail, for processors that retry records by themselves.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use kcl_proto::consumer::backoff;
use kcl_proto::consumer::failure_policy::{Failed, Trouble, Verdict};
use kcl_proto::model::{OnExhausted, Record, ShardInfo};

use crate::backend::Clock;
use crate::backend::{DeadLetter, FailedRecord};
use crate::config::WorkerConfig;
use crate::report::event::Event;
use crate::report::log::{Events, chain};
use crate::tasks::chance::Chance;
use crate::tasks::supervisor::panic_message;

/// The policy for records that fail, and what it takes to carry it out.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) info: ShardInfo,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) chance: Arc<Chance>,
    pub(crate) dead_letter: Option<Arc<dyn DeadLetter>>,
    /// How many records were passed over in this ownership.
    pub(crate) skipped: AtomicU64,
}

/// A record that used up its attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp<'a> {
    pub(crate) record: &'a Record,
    /// What was said last.
    pub(crate) error: &'a str,
    /// How often it was tried.
    pub(crate) attempts: u32,
}

/// What to do with a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Try it again after this pause.
    Again(Duration),
    /// [Set it aside](Desk::set_aside).
    SetAside,
    /// Nothing any more: the shard stops.
    Stop,
}

impl Desk {
    /// Says what to do with a record that failed for the `attempt`th time, and tells it.
    pub(crate) fn failed(
        &self,
        trouble: &mut Trouble,
        record: &Record,
        error: &str,
        attempt: u32,
    ) -> Advice {
        let positions = [record.position];
        let failed = Failed { positions: &positions, is_first_blamed: true, error };
        let (policy, now) = (&self.config.delivery.failure, self.clock.now());
        match trouble.failed(failed, policy, now) {
            Verdict::SetAside => Advice::SetAside,
            Verdict::StopShard | Verdict::StopWorker => Advice::Stop,
            Verdict::Again { tries } => {
                let retry_in = self.pause(tries);
                self.events.emit(&Event::RecordFailed {
                    shard: self.info.shard_id.clone(),
                    position: record.position,
                    attempt,
                    error: error.to_owned(),
                    retry_in,
                });
                Advice::Again(retry_in)
            }
        }
    }

    /// Stores a record in the dead letter, or passes it over; returns after which pause it is to be
    /// tried again, if it is.
    pub(crate) async fn set_aside(&self, given_up: &GivenUp<'_>, attempt: u32) -> Option<Duration> {
        let GivenUp { record, error, attempts } = *given_up;
        let (shard, position) = (self.info.shard_id.clone(), record.position);
        let error = error.to_owned();
        if self.config.delivery.failure.then != OnExhausted::DeadLetter {
            let skipped = self.skip();
            self.events.emit(&Event::Skipped { shard, position, attempts, error, skipped });
            return None;
        }
        let stream = self.info.stream.clone();
        let (from, record) = (shard.clone(), record.clone());
        let failed = FailedRecord::new(stream, from, record, error.clone(), attempts);
        let Err(error) = self.store(&failed).await else {
            self.events.emit(&Event::DeadLettered { shard, position, attempts, error });
            return None;
        };
        let pause = self.pause(attempt);
        let retry_in = Some(pause);
        self.events.emit(&Event::DeadLetterFailed { shard, position, attempt, error, retry_in });
        Some(pause)
    }

    async fn store(&self, failed: &FailedRecord) -> Result<(), String> {
        let Some(dead_letter) = &self.dead_letter else {
            return Err("there is no dead letter".to_owned());
        };
        match AssertUnwindSafe(dead_letter.store(failed)).catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(chain(&*error)),
            Err(panic) => Err(format!("panicked: {}", panic_message(&*panic))),
        }
    }

    /// Counts a record that is passed over.
    pub(crate) fn skip(&self) -> u64 {
        self.skipped.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// The pause after so many failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let delivery = &self.config.delivery;
        backoff::pause(failures, (delivery.retry_min, delivery.retry_max), self.chance.draw())
    }
}
