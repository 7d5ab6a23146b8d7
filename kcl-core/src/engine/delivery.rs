//! Hands batches to one shard's processor, again and again until they are processed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::BoxError;
use crate::config::{CheckpointPolicy, DeliveryConfig};
use crate::context::ShardContext;
use crate::decide::retry;
use crate::engine::erase::{ErasedFactory, ErasedProcessor};
use crate::engine::guard::{Call, Guard, Stop};
use crate::engine::link::{Done, Order};
use crate::engine::side::Chance;
use crate::engine::supervisor::said;
use crate::event::Event;
use crate::model::{Checkpoint, Position, RecordBatch};
use crate::telemetry::{Events, chain};

/// Why something was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The holder asks to let go.
    Drain,
    /// Nothing may run any more.
    Stop(Stop),
}

/// What the processor is asked to do.
#[derive(Clone, Debug)]
enum Ask {
    Initialize,
    Process(RecordBatch),
    EndShard,
}

/// Hands batches to one processor.
pub(super) struct Delivery {
    pub(super) guard: Guard,
    pub(super) context: ShardContext,
    pub(super) config: DeliveryConfig,
    pub(super) factory: Arc<dyn ErasedFactory>,
    pub(super) events: Events,
    pub(super) chance: Arc<Chance>,
    pub(super) progress: watch::Sender<Done>,
    pub(super) delivered: watch::Sender<Option<Position>>,
    pub(super) processor: Option<Box<dyn ErasedProcessor>>,
}

impl Delivery {
    /// Makes a processor and initializes it.
    pub(super) async fn initialize(&mut self) -> Result<(), Interrupt> {
        self.until_it_works(Ask::Initialize).await
    }

    /// Delivers a batch until it is processed.
    pub(super) async fn deliver(
        &mut self,
        batch: RecordBatch,
        is_caught_up: bool,
    ) -> Result<(), Interrupt> {
        let last = batch.last_position();
        self.delivered.send_replace(last);
        self.until_it_works(Ask::Process(batch)).await?;
        if self.config.checkpoints == CheckpointPolicy::Automatic {
            let checkpoint = last.map(Checkpoint::After);
            self.progress.send_modify(|done| done.checkpoint = done.checkpoint.max(checkpoint));
        }
        if is_caught_up {
            self.caught_up();
        }
        Ok(())
    }

    /// Notes that everything in the shard is processed at this time.
    pub(super) fn caught_up(&self) {
        let delivered = *self.delivered.borrow();
        let is_stored = match self.config.checkpoints {
            CheckpointPolicy::Automatic => true,
            CheckpointPolicy::Manual => self.context.checkpointer.stored() >= delivered,
        };
        if is_stored {
            let now = self.guard.clock.time_of_day();
            self.progress.send_modify(|done| done.caught_up_at = Some(now));
        }
    }

    /// Tells the processor that the shard ended, until it agrees.
    pub(super) async fn end_shard(&mut self) -> Result<(), Interrupt> {
        self.until_it_works(Ask::EndShard).await
    }

    /// Tells the processor that the shard goes to another worker.
    pub(super) async fn request_shutdown(&mut self) -> Result<(), Stop> {
        let Some(processor) = &mut self.processor else { return Ok(()) };
        let error = match self.guard.call(processor.shutdown_requested(&self.context)).await {
            Call::Done(Ok(())) => return Ok(()),
            Call::Done(Err(error)) => chain(&*error),
            Call::Panicked(said) => said,
            Call::Stopped(stop) => return Err(stop),
        };
        self.report(1, error, std::time::Duration::ZERO);
        Ok(())
    }

    async fn until_it_works(&mut self, mut ask: Ask) -> Result<(), Interrupt> {
        let mut attempt = 0_u32;
        loop {
            attempt = attempt.saturating_add(1);
            let Err(error) = self.attempt(&ask).await? else { return Ok(()) };
            if self.guard.order() != Order::Run {
                return Err(Interrupt::Drain); // Whoever is next delivers it again.
            }
            if let Ask::Process(batch) = &ask {
                let rest = batch.again_after(self.context.checkpointer.stored());
                if rest.is_empty() {
                    return Ok(()); // The application checkpointed all of it before it failed.
                }
                ask = Ask::Process(rest);
            }
            let limits = (self.config.retry_min, self.config.retry_max);
            let pause = retry::pause(attempt, limits, self.chance.draw());
            self.report(attempt, error, pause);
            tokio::select! {
                biased;
                () = self.guard.interrupted() => return Err(self.interrupt()),
                () = sleep(pause) => {}
            }
        }
    }

    /// Calls the processor once; after a panic, or at first, a new one.
    async fn attempt(&mut self, ask: &Ask) -> Result<Result<(), String>, Interrupt> {
        if let Some(stop) = self.guard.stop() {
            return Err(Interrupt::Stop(stop));
        }
        if self.processor.is_none() {
            match self.create().await? {
                Ok(()) if matches!(ask, Ask::Initialize) => return Ok(Ok(())),
                Ok(()) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        let Some(processor) = &mut self.processor else { return Ok(Ok(())) };
        let work = match ask {
            Ask::Initialize => return Ok(Ok(())),
            Ask::Process(batch) => processor.process_records(batch.clone(), &self.context),
            Ask::EndShard => processor.shard_ended(&self.context),
        };
        let call = self.guard.call(work).await;
        self.outcome(call)
    }

    /// Makes a processor, and keeps it once it is initialized.
    async fn create(&mut self) -> Result<Result<(), String>, Interrupt> {
        let factory = Arc::clone(&self.factory);
        let made = catch_unwind(AssertUnwindSafe(|| factory.create(&self.context)));
        let mut processor = match made {
            Ok(processor) => processor,
            Err(panic) => return Ok(Err(said(&*panic))),
        };
        let call = self.guard.call(processor.initialize(&self.context)).await;
        self.processor = Some(processor); // To be told of a loss even if it is not initialized.
        let outcome = self.outcome(call)?;
        if outcome.is_err() {
            self.processor = None;
        }
        Ok(outcome)
    }

    fn outcome(
        &mut self,
        call: Call<Result<(), BoxError>>,
    ) -> Result<Result<(), String>, Interrupt> {
        match call {
            Call::Done(Ok(())) => Ok(Ok(())),
            Call::Done(Err(error)) => Ok(Err(chain(&*error))),
            Call::Panicked(said) => {
                self.processor = None; // What it was doing may be half done.
                Ok(Err(format!("panicked: {said}")))
            }
            Call::Stopped(stop) => Err(Interrupt::Stop(stop)),
        }
    }

    /// Why the consumer is interrupted.
    pub(super) fn interrupt(&self) -> Interrupt {
        self.guard.stop().map_or(Interrupt::Drain, Interrupt::Stop)
    }

    fn report(&self, attempt: u32, error: String, retry_in: std::time::Duration) {
        let shard = self.context.info.shard_id.clone();
        self.events.emit(&Event::BatchFailed { shard, attempt, error, retry_in });
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("shard", &self.context.info).finish_non_exhaustive()
    }
}
