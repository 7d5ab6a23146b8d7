//! One process's engine: [`Worker`], and the [`WorkerHandle`] that watches and stops it.

mod builder;
mod signal;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use kcl_proto::model::{Liveness, WorkerId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::backend::Clock;
use crate::backend::DeadLetter;
use crate::backend::LeaseStore;
use crate::backend::RecordSource;
use crate::config::WorkerConfig;
use crate::data_side::closed_shards::ClosedShards;
use crate::data_side::consumers;
use crate::data_side::erased::ErasedFactory;
use crate::data_side::parts::ConsumerParts;
use crate::lease_side::lease_calls::LeaseCalls;
use crate::lease_side::shared::Shared;
use crate::lease_side::{self, Channels, LeaseSideEnd};
use crate::memory::MemoryBudget;
use crate::metrics::Meter;
use crate::metrics::event_counts::EventCounts;
use crate::metrics::metered_source::MeteredSource;
use crate::metrics::metered_store::MeteredStore;
use crate::metrics::registry::Registry;
use crate::report::delivery::Delivery;
use crate::report::error::RunError;
use crate::report::event::{Observer, ShutdownReport, WorkerState, WorkerStatus};
use crate::report::events::Events;
use crate::report::log::worker_span;
use crate::report::origin::Origin;
use crate::tasks::chance::Chance;
use crate::tasks::stopped_shards::StoppedShards;
pub use crate::worker::builder::WorkerBuilder;

/// How many grants wait for the application's runtime at most. A lease whose grant finds no room is
/// released.
const GRANTS_MAX: usize = 4_096;

/// Where the lease side runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// On a thread of its own.
    OwnThread,
    /// On the runtime that the worker is run on.
    OneRuntime,
}

#[derive(Debug)]
pub(crate) struct WorkerParts {
    pub(crate) application: String,
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) source: Arc<dyn RecordSource>,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) factory: Arc<dyn ErasedFactory>,
    pub(crate) dead_letter: Option<Arc<dyn DeadLetter>>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) memory: MemoryBudget,
    pub(crate) placement: Placement,
}

/// A worker: takes its fair share of a stream's shards and processes their records.
///
/// Start any number of them, in any number of processes, with the same lease table.
#[derive(Debug)]
#[must_use = "a worker does nothing until it is run"]
pub struct Worker {
    parts: WorkerParts,
    id: WorkerId,
    status: watch::Sender<WorkerStatus>,
    registry: Arc<Registry>,
    stop: CancellationToken,
}

impl Worker {
    /// Starts building a worker of `application`.
    ///
    /// All workers of an application have the same lease table, whose name is by convention the
    /// application's. Each log line and each event names the application and the worker, which has
    /// a [name](WorkerBuilder::worker_name) of its own.
    pub fn builder(application: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder::new(application)
    }

    pub(crate) fn new(parts: WorkerParts) -> Self {
        let id = WorkerId::incarnation(&parts.name, parts.incarnation);
        let status = WorkerStatus {
            worker: id.clone(),
            state: WorkerState::Starting,
            held: Vec::new(),
            leases: 0,
            memory: parts.memory.usage(),
            last_error: None,
        };
        let status = watch::Sender::new(status);
        let names = (parts.application.clone(), parts.name.clone());
        let (clock, memory) = (Arc::clone(&parts.clock), parts.memory.clone());
        let registry = Arc::new(Registry::new(names, clock, memory, status.subscribe()));
        Self { parts, id, status, registry, stop: CancellationToken::new() }
    }

    /// Returns this start's id, which the lease table shows as an owner.
    #[must_use]
    pub const fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Returns a handle that watches and stops the worker.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        let meter = Meter::new(Arc::clone(&self.registry));
        WorkerHandle { status: self.status.subscribe(), meter, stop: self.stop.clone() }
    }

    /// Runs until the process receives SIGINT or SIGTERM, or [`WorkerHandle::shut_down`] is called;
    /// then drains.
    ///
    /// The worker stops taking leases, finishes the batches in hand, stores their checkpoints and
    /// releases its leases. Further signals change nothing: the drain has a bound, and only SIGKILL
    /// ends the process earlier. On systems without SIGTERM, Ctrl-C stops the worker.
    ///
    /// The first call replaces the default action of these signals until the process ends. Programs
    /// that handle signals themselves use [`run_until`](Self::run_until), and so do runtimes
    /// without I/O.
    ///
    /// It returns at most `shutdown.drain`, 16 s and `delivery.cancel_grace` after the request to
    /// stop. A processor that blocks its thread for longer is left behind: its lease is released,
    /// and only the process's exit ends the thread. A runtime waits for such threads when it is
    /// dropped: use `Runtime::shutdown_timeout`, or exit.
    ///
    /// # Errors
    /// [`RunError`] if the worker cannot start or continue; [`RunError::kind`] says what to do.
    /// Failures that may pass are retried instead.
    ///
    /// # Cancel safety
    /// Dropping the future ends the worker like a crash: its calls in flight are dropped, leases are
    /// not released, and other workers take them after an expiry.
    pub async fn run(self) -> Result<ShutdownReport, RunError> {
        self.run_until(signal::interrupted_or_terminated()).await
    }

    /// Runs until `signal` is ready, or [`WorkerHandle::shut_down`] is called; then drains as
    /// [`run`](Self::run) does. The signals of the process keep their actions.
    ///
    /// With [`std::future::pending`] only the handle stops the worker.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn run_until(
        self,
        signal: impl Future<Output = ()> + Send,
    ) -> Result<ShutdownReport, RunError> {
        let stop = self.stop.clone();
        let span = worker_span(&self.parts.application, &self.id);
        let mut run = std::pin::pin!(self.run_inside().instrument(span));
        tokio::select! {
            biased;
            end = &mut run => return end,
            () = signal => stop.cancel(),
        }
        run.await
    }

    async fn run_inside(self) -> Result<ShutdownReport, RunError> {
        let Self { parts, id, status, registry, stop } = self;
        let origin = Origin::new(parts.application, id.clone(), Arc::clone(&parts.clock));
        let delivery = Delivery::new(Span::current(), parts.observers);
        let events = match parts.placement {
            Placement::OneRuntime => Events::inline(origin, delivery),
            Placement::OwnThread => {
                Events::queued(origin, delivery).map_err(|error| RunError::Thread(error.into()))?
            }
        };
        events.count_by(Arc::new(EventCounts::new(Arc::clone(&registry))));
        let stopped = StoppedShards::new(stop.clone());
        let chance = Arc::new(Chance::seeded(parts.incarnation));
        let store: Arc<dyn LeaseStore> =
            Arc::new(MeteredStore::new(parts.store, Arc::clone(&registry)));
        let source: Arc<dyn RecordSource> =
            Arc::new(MeteredSource::new(parts.source, Arc::clone(&registry)));
        let has_session = parts.config.lease.liveness == Liveness::Session;
        let shared = Arc::new(Shared {
            me: id,
            calls: Arc::new(LeaseCalls::new(Arc::clone(&store))),
            congestion: watch::Sender::default(),
            store: Arc::clone(&store),
            source: Arc::clone(&source),
            clock: Arc::clone(&parts.clock),
            config: Arc::clone(&parts.config),
            events: events.clone(),
            memory: parts.memory.clone(),
            registry,
            lanes: AtomicU32::new(0),
            chance: Chance::seeded(parts.incarnation.rotate_left(32)),
            stopped: stopped.clone(),
            reported_rows: Arc::default(),
            crash: CancellationToken::new(),
        });
        let (grants, granted) = mpsc::channel(GRANTS_MAX);
        let consumers = ConsumerParts {
            source,
            factory: parts.factory,
            dead_letter: parts.dead_letter,
            config: parts.config,
            clock: parts.clock,
            events: events.clone(),
            chance,
            memory: parts.memory,
            stopped: stopped.clone(),
            ends: ClosedShards::default(),
        };
        let channels = Channels { grants, status: status.clone(), stop };
        let leases = async {
            match parts.placement {
                Placement::OneRuntime => lease_side::run(shared, channels).await,
                Placement::OwnThread => on_own_thread(shared, channels).await,
            }
        };
        let (end, have_consumers_ended) =
            tokio::join!(biased; leases, consumers::run(granted, consumers));
        if end.is_err() && has_session && have_consumers_ended {
            let worker = status.borrow().worker.clone();
            lease_side::resign(&*store, &worker, &events).await;
        }
        status.send_modify(|status| {
            status.state = WorkerState::Stopped;
            status.held.clear();
        });
        events.finish().await;
        let shards = end?;
        stopped.failure().map_or(Ok(ShutdownReport { shards }), |failure| Err(failure.into()))
    }
}

async fn on_own_thread(shared: Arc<Shared>, channels: Channels) -> LeaseSideEnd {
    // Dropped before the consumers are, whose end would release their leases.
    let crash = shared.crash.clone().drop_guard();
    let ended = lease_side::spawn(shared, channels)?;
    let end = ended.await;
    drop(crash);
    end.unwrap_or_else(|_| {
        let message = "the lease thread ended without a report".to_owned();
        Err(RunError::TaskPanicked { task: "lease side", message })
    })
}

/// Watches and stops a [`Worker`]. Clones do the same.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    status: watch::Receiver<WorkerStatus>,
    meter: Meter,
    stop: CancellationToken,
}

impl WorkerHandle {
    /// Asks the worker to shut down: finish what is in hand, checkpoint, release. Asking again
    /// changes nothing. [`Worker::run`] returns when it is done.
    pub fn shut_down(&self) {
        self.stop.cancel();
    }

    /// The worker's metrics.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// The worker as it is now.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.status.borrow().clone()
    }

    /// Waits until the status differs from the one that this method returned last. Returns the new
    /// one, or `None` once the worker is gone and its last status was returned.
    ///
    /// ```no_run
    /// # async fn f(mut handle: kcl_core::WorkerHandle) {
    /// while let Some(status) = handle.changed().await {
    ///     println!("{status}");
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<WorkerStatus> {
        self.status.changed().await.ok()?;
        Some(self.status.borrow_and_update().clone())
    }
}
