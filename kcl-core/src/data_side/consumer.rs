//! One shard's consumer: one task for each held lease.
//!
//! What an event means is decided by [`decide::lifecycle`](kcl_proto::consumer::lifecycle); this task
//! carries out its actions, each of which ends with the next event.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kcl_proto::consumer::failure_policy::{self, Verdict};
use kcl_proto::consumer::lifecycle::{Action, Event as Happened, LastWord, State};
use kcl_proto::model::{Checkpoint, ChildShard, Moment, Position, ShardInfo};
use kcl_proto::shards::start_position::resume;
use tokio::sync::{mpsc, oneshot, watch};

use crate::backend::Clock;
use crate::backend::DeadLetter;
use crate::backend::RecordSource;
use crate::config::WorkerConfig;
use crate::data_side::attend::Patience;
use crate::data_side::batch_in_hand::Hand;
use crate::data_side::deadline_guard::Guard;
use crate::data_side::erased::ErasedFactory;
use crate::data_side::processor_call::{Delivery, Mishap, Outcome};
use crate::data_side::reader::FetchParts;
use crate::data_side::reader::{Fetch, Next};
use crate::data_side::shard_end;
use crate::memory::MemoryBudget;
use crate::messages::{ACKNOWLEDGEMENTS, Calling, FromConsumer, Grant, Reports, Vitals};
use crate::processor::record_failures::Desk;
use crate::report::event::Event;
use crate::report::log::Events;
use crate::tasks::chance::Chance;
use crate::tasks::sleep::sleep_until;
use crate::tasks::stopped_shards::StoppedShards;

/// What every consumer of a worker needs.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerParts {
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) factory: Arc<dyn ErasedFactory>,
    pub(crate) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) chance: Arc<Chance>,
    pub(crate) memory: MemoryBudget,
    pub(crate) stopped: StoppedShards,
}

/// Consumes a shard for as long as its lease is held.
///
/// # Cancel safety
/// Dropping the future ends the consumer like a crash: what was not stored is delivered again.
pub(crate) async fn run(grant: Grant, parts: ConsumerParts) {
    Consumer::new(grant, parts).run().await;
}

pub(crate) struct Consumer {
    pub(super) parts: FetchParts,
    pub(super) guard: Guard,
    pub(super) delivery: Delivery,
    /// None for a shard that is finished.
    pub(super) fetch: Option<Fetch>,
    pub(super) hand: Hand,
    pub(super) stopped: StoppedShards,
    /// Proven to cover the shard.
    children: Option<Vec<ChildShard>>,
    pub(super) failure: Option<Failure>,
    /// How often in a row the processor failed: at its beginning, at its end, and at its work.
    starts: Tries,
    ends: Tries,
    pub(super) failures: u32,
    pub(super) vitals: watch::Sender<Vitals>,
    holder: mpsc::Sender<FromConsumer>,
    /// Tells the holder, by being dropped, that this consumer is gone.
    _alive: oneshot::Sender<()>,
}

/// How often in a row a call failed, and since when.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    count: u32,
    since: Option<Moment>,
}

impl Tries {
    /// One more failure; returns for how long it has been so.
    fn failed(&mut self, now: Moment) -> Duration {
        self.count = self.count.saturating_add(1);
        now - *self.since.get_or_insert(now)
    }
}

/// What failed last and is to be told once it is known when it comes again.
pub(crate) struct Failure {
    pub(crate) call: Call,
    pub(crate) attempt: u32,
    pub(crate) error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Initialize,
    ProcessRecords,
    ShardEnded,
    ShutdownRequested,
    /// The dead letter, with this record.
    DeadLetter(Position),
    /// None: acknowledgements are waited for.
    Acknowledgements,
}

impl Call {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::ProcessRecords => "process_records",
            Self::ShardEnded => "shard_ended",
            Self::ShutdownRequested => "shutdown_requested",
            Self::DeadLetter(_) => "dead letter",
            Self::Acknowledgements => ACKNOWLEDGEMENTS,
        }
    }
}

impl Consumer {
    fn new(grant: Grant, parts: ConsumerParts) -> Self {
        let Grant { stream, start, retention, lease, token, deadline, order, .. } = grant;
        let Grant { progress, vitals, holder, alive, .. } = grant;
        let ConsumerParts { source, factory, dead_letter, config, clock, events, chance, .. } =
            parts;
        let ConsumerParts { memory, stopped, .. } = parts;
        let info = ShardInfo::new(stream, lease.key.shard(), token.into());
        let delivery = &config.delivery;
        let guard = Guard::new(Arc::clone(&clock), deadline, order, delivery.cancel_grace);
        let desk = Desk {
            info,
            config: Arc::clone(&config),
            clock: Arc::clone(&clock),
            events: events.clone(),
            chance: Arc::clone(&chance),
            dead_letter,
            skipped: AtomicU64::new(0),
        };
        let to_holder = (holder.downgrade(), Reports { progress, vitals: vitals.clone() });
        let delivery = Delivery::new(factory, delivery.checkpoints, desk, &lease, to_holder);
        let lease = Arc::new(lease);
        let checkpoint = lease.checkpoint;
        let memory = memory.join();
        let parts =
            FetchParts { source, clock, events, chance, config, memory, lease, start, retention };
        let mut consumer = Self {
            parts,
            guard,
            delivery,
            fetch: None,
            hand: Hand::default(),
            stopped,
            children: None,
            failure: None,
            starts: Tries::default(),
            ends: Tries::default(),
            failures: 0,
            vitals,
            holder,
            _alive: alive,
        };
        consumer.read_after(checkpoint);
        consumer
    }

    async fn run(mut self) {
        let (mut state, mut action) = (State::Initializing, Action::Initialize);
        while action != Action::Stop {
            let happened = self.carry_out(action, state).await;
            if happened == Happened::TimeUp {
                let shard = self.parts.lease.key.shard();
                self.parts.events.emit(&Event::Stalled { shard });
            }
            (state, action) = state.on(happened);
        }
    }

    async fn carry_out(&mut self, action: Action, state: State) -> Happened {
        match action {
            Action::Initialize => self.initialize().await,
            Action::Deliver => self.deliver().await,
            Action::Pause => self.pause().await,
            Action::EndShard => self.end_shard().await,
            Action::RequestShutdown => self.request_shutdown(state).await,
            Action::Leave(word) => {
                self.delivery.publish(None);
                self.delivery.close();
                self.tell(word).await;
                self.settled().await
            }
            Action::Abandon(word) => {
                if word == LastWord::Drained {
                    self.delivery.publish(None);
                }
                self.delivery.close();
                self.tell(word).await;
                self.delivery.announce_loss().await;
                Happened::Succeeded
            }
            Action::AnnounceLoss => {
                self.delivery.announce_loss().await;
                Happened::Succeeded
            }
            Action::Stop => Happened::Succeeded,
        }
    }

    async fn initialize(&mut self) -> Happened {
        self.calls(Call::Initialize);
        let outcome = self.delivery.initialize(&mut self.guard).await;
        let mut tries = self.starts;
        let happened = self.tried(outcome, Call::Initialize, &mut tries);
        self.starts = tries;
        happened
    }

    /// Tells what failed, and waits before it is tried again.
    async fn pause(&mut self) -> Happened {
        let pause =
            self.delivery.desk().pause(self.failures.max(self.starts.count).max(self.ends.count));
        self.tell_failure(Some(pause));
        match self.rest(pause).await {
            Ok(()) => {
                self.hand.try_again();
                Happened::PauseOver
            }
            Err(happened) => happened,
        }
    }

    /// Lets a pause pass, while what is under way goes on.
    async fn rest(&mut self, pause: Duration) -> Result<(), Happened> {
        if self.delivery.reached().in_flight == 0 {
            return self.guard.pause(pause).await;
        }
        let end = self.parts.clock.now() + pause;
        let (guard, over) = (&mut self.guard, sleep_until(&*self.parts.clock, end));
        let attended = self.delivery.attend(guard, Patience::WhileInTime(end), over).await;
        self.attended(attended)
    }

    async fn end_shard(&mut self) -> Happened {
        if let Err(happened) = self.prove_children().await {
            return happened;
        }
        self.calls(Call::ShardEnded);
        let outcome = self.delivery.end_shard(&mut self.guard).await;
        let mut tries = self.ends;
        let happened = self.tried(outcome, Call::ShardEnded, &mut tries);
        self.ends = tries;
        if happened != Happened::Succeeded {
            return happened;
        }
        self.acknowledged(Patience::UntilAsked).await
    }

    /// Finds the shards that go on with this one's hash keys: only then it has ended for certain.
    async fn prove_children(&mut self) -> Result<(), Happened> {
        if self.children.is_some() {
            return Ok(());
        }
        let told = match self.fetch.as_mut().and_then(Fetch::take) {
            Some(Next::End(children)) => children,
            Some(Next::Batch(_) | Next::CaughtUp(_) | Next::Hopeless(_)) | None => Vec::new(),
        };
        let done = self.delivery.reached().done;
        let proof = shard_end::prove(&self.parts, &told, done);
        let proven = if self.delivery.reached().in_flight == 0 {
            self.guard.wait(proof).await?
        } else {
            let guard = &mut self.guard;
            let attended = self.delivery.attend(guard, Patience::UntilAsked, proof).await;
            self.attended(attended)?
        };
        self.children = Some(proven.ok_or(Happened::Hopeless)?);
        Ok(())
    }

    async fn request_shutdown(&mut self, state: State) -> Happened {
        // An order to let go names its own time.
        let time = self.parts.config.shutdown.drain;
        let until = (state == State::GivingUp).then(|| self.parts.clock.now() + time);
        self.calls(Call::ShutdownRequested);
        let outcome = self.delivery.request_shutdown(&mut self.guard, until).await;
        let mut happened = self.happened(outcome, Call::ShutdownRequested, 1);
        self.tell_failure(None);
        if matches!(happened, Happened::Succeeded | Happened::Failed) {
            happened = self.acknowledged(Patience::UntilTimeUp(until)).await;
            self.tell_failure(None);
        }
        happened
    }

    /// Says the last word to the holder, unless that is gone.
    async fn tell(&mut self, word: LastWord) {
        let message = match word {
            LastWord::ShardEnded => {
                let children = self.children.take().unwrap_or_default();
                let shard = self.parts.lease.key.shard();
                let ids = children.iter().map(|child| child.id.clone()).collect();
                self.parts.events.emit(&Event::ShardEnded { shard, children: ids });
                FromConsumer::ShardEnded { children }
            }
            LastWord::Drained => FromConsumer::Drained,
            LastWord::GaveUp => FromConsumer::GaveUp,
        };
        tokio::select! {
            biased;
            _ = self.holder.send(message) => {} // A holder that is gone knows more than this.
            () = self.guard.lease_gone() => {}
        }
    }

    /// Waits until the holder is done with the lease.
    async fn settled(&mut self) -> Happened {
        tokio::select! {
            biased;
            () = self.holder.closed() => {}
            () = self.guard.lease_gone() => {}
        }
        Happened::Succeeded
    }

    /// Notes that a call begins; [`happened`](Self::happened) notes its end.
    pub(crate) fn calls(&self, call: Call) {
        let since = self.parts.clock.now();
        let calling = Calling { name: call.name(), since };
        self.vitals.send_modify(|vitals| vitals.call = Some(calling));
    }

    pub(crate) fn call_is_over(&self) {
        self.vitals.send_modify(|vitals| vitals.call = None);
    }

    /// What a call comes to that is made again when it fails, as long as the policy allows.
    fn tried(&mut self, outcome: Outcome, call: Call, tries: &mut Tries) -> Happened {
        let (Outcome::Failed(Mishap { error, .. }) | Outcome::Broken(Mishap { error, .. })) =
            &outcome
        else {
            *tries = Tries::default();
            return self.happened(outcome, call, 0);
        };
        let failing_for = tries.failed(self.parts.clock.now());
        let policy = &self.parts.config.delivery.failure;
        let stops_worker = match failure_policy::call_failed(tries.count, failing_for, policy) {
            Verdict::StopShard => false,
            Verdict::StopWorker => true,
            Verdict::Again { .. } | Verdict::SetAside => {
                return self.happened(outcome, call, tries.count);
            }
        };
        self.call_is_over();
        self.stop(call, None, error.clone(), stops_worker)
    }

    fn happened(&mut self, outcome: Outcome, call: Call, attempt: u32) -> Happened {
        self.call_is_over();
        match outcome {
            Outcome::Succeeded => Happened::Succeeded,
            Outcome::Stopped(stop) => stop.into(),
            Outcome::Failed(Mishap { error, .. }) => {
                self.failure = Some(Failure { call, attempt, error });
                Happened::Failed
            }
            Outcome::Broken(Mishap { error, .. }) => {
                self.failure = Some(Failure { call, attempt, error });
                self.start_over();
                Happened::Panicked
            }
        }
    }

    /// Makes sure that a new processor gets everything that the former one has not done.
    pub(crate) fn start_over(&mut self) {
        if let Some(checkpoint) = self.delivery.reached().restart {
            self.hand.clear();
            // Acknowledgements that the former one gave away may hold memory for ever.
            self.parts.memory = self.parts.memory.another();
            self.read_after(checkpoint);
        }
    }

    fn read_after(&mut self, checkpoint: Checkpoint) {
        let initial = self.parts.config.retrieval.initial_position;
        let caught_up_at = self.delivery.reports.progress.borrow().caught_up_at;
        self.fetch = resume(&self.parts.lease, checkpoint, initial).map(|mut resume| {
            if let Some(seam) = &mut resume.seam {
                seam.caught_up_at = seam.caught_up_at.max(caught_up_at);
            }
            match &mut self.fetch {
                Some(former) => former.again(self.parts.clone(), resume),
                None => Fetch::new(self.parts.clone(), resume),
            }
        });
    }

    fn tell_failure(&mut self, pause: Option<Duration>) {
        let Some(Failure { call, attempt, error }) = self.failure.take() else { return };
        let shard = self.parts.lease.key.shard();
        self.parts.events.emit(&match (call, pause) {
            (Call::ProcessRecords, retry_in) => {
                let retry_in = retry_in.unwrap_or_default();
                Event::BatchFailed { shard, attempt, error, retry_in }
            }
            (Call::DeadLetter(position), retry_in) => {
                Event::DeadLetterFailed { shard, position, attempt, error, retry_in }
            }
            (_, retry_in) => {
                let call = call.name();
                Event::ProcessorFailed { shard, call, attempt, error, retry_in }
            }
        });
    }
}
