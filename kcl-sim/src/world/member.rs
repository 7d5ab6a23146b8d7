//! One worker of a world: the real engine on its own paused runtime, run step by step.

use std::fmt;
use std::time::Duration;

use kcl_core::backend::DeadLetter;
use kcl_core::config::{OnExhausted, WorkerConfig};
use kcl_core::error::RunError;
use kcl_core::event::{ShutdownReport, WorkerState, WorkerStatus};
use kcl_core::metrics::Snapshot;
use kcl_core::model::{Timestamp, WorkerId};
use kcl_core::{ProcessorFactory, Worker, WorkerHandle};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep_until};

use super::call::Call;
use super::clock::WorkerClock;
use super::port::Port;
use crate::chance::Chance;
use crate::error::SimError;
use crate::journal::{Entry, Journal};
use crate::processor::{Equipment, WatchedFactory};
use crate::time::{Time, millis};

/// How a worker ended.
pub type End = Result<ShutdownReport, RunError>;

/// What a worker needs to start, apart from its settings and its processors.
pub(crate) struct Start<'a> {
    pub(crate) name: &'a str,
    pub(crate) incarnation: u64,
    pub(crate) now: Time,
    pub(crate) time_of_day: Timestamp,
    /// The speed of its clock, in thousandths of the world's.
    pub(crate) speed: u64,
    pub(crate) chance: Chance,
}

/// One worker of a world.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) id: WorkerId,
    pub(crate) chance: Chance,
    /// The time up to which it has run.
    pub(crate) time: Time,
    handle: WorkerHandle,
    port: Port,
    journal: Journal,
    clock: WorkerClock,
    pace: Pace,
    /// By how much its clock jumps before it runs again.
    gap: Duration,
    /// The time that plans have taken, as far as it is not charged yet.
    unpaid: Duration,
    run: Option<JoinHandle<End>>,
    /// Dropped after the port and the journal are closed.
    runtime: Runtime,
}

/// A worker's time against the world's.
#[derive(Clone, Copy, Debug)]
struct Pace {
    began: Instant,
    since: Time,
    speed: u64,
}

impl Pace {
    /// Returns the worker's instant at a time of the world.
    fn instant(&self, time: Time) -> Instant {
        let gone = millis(time - self.since).saturating_mul(self.speed) / 1_000;
        self.began + Duration::from_millis(gone)
    }

    /// Returns the first time of the world at which the worker's clock has reached `instant`.
    fn time(&self, instant: Instant) -> Time {
        let gone = millis(instant - self.began).saturating_mul(1_000).div_ceil(self.speed);
        self.since + Duration::from_millis(gone)
    }
}

/// What a worker does in one step.
pub(crate) struct Step {
    pub(crate) calls: Vec<(Time, Box<dyn Call>)>,
    pub(crate) entries: Vec<(Time, Entry)>,
}

impl Member {
    /// Starts a worker.
    pub(crate) fn start<F: ProcessorFactory, D: DeadLetter>(
        start: Start<'_>,
        config: WorkerConfig,
        equip: impl FnOnce(&Journal) -> Equipment<F, D>,
    ) -> Result<Self, SimError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(SimError::Runtime)?;
        let began = runtime.block_on(async { Instant::now() });
        let clock = WorkerClock::new(began, start.time_of_day);
        let port = Port::new();
        let journal = Journal::default();
        let uses_dead_letter = config.delivery.failure.then == OnExhausted::DeadLetter;
        let Equipment { factory, dead_letter } = equip(&journal);
        // Members of one name differ in what follows a `#`.
        let name = start.name.split('#').next().unwrap_or(start.name);
        let mut builder = Worker::builder("simulated")
            .worker_name(name)
            .records(port.clone())
            .leases(port.clone())
            .processor_factory(WatchedFactory::new(factory, journal.clone()))
            .config(config)
            .observer(journal.clone())
            .clock(clock.clone())
            .incarnation(start.incarnation)
            .on_one_runtime();
        if uses_dead_letter {
            builder = builder.dead_letter(dead_letter);
        }
        let worker = builder.build().map_err(SimError::Config)?;
        let (id, handle) = (worker.id().clone(), worker.handle());
        let run = runtime.spawn(worker.run_until(std::future::pending()));
        Ok(Self {
            name: start.name.to_owned(),
            id,
            chance: start.chance,
            time: start.now,
            handle,
            port,
            journal,
            clock,
            pace: Pace { began, since: start.now, speed: start.speed },
            gap: Duration::ZERO,
            unpaid: Duration::ZERO,
            run: Some(run),
            runtime,
        })
    }

    /// Runs the worker until `until`, or until its next call.
    pub(crate) fn step(&mut self, until: Time) -> Step {
        let gap = std::mem::take(&mut self.gap);
        let (port, target) = (self.port.clone(), self.pace.instant(until));
        let (reached, now) = self.runtime.block_on(async move {
            if !gap.is_zero() {
                advance(gap).await;
            }
            tokio::select! {
                biased;
                () = port.called() => (false, Instant::now()),
                () = sleep_until(target) => (true, Instant::now()),
            }
        });
        let reached = if reached { until } else { self.pace.time(now).min(until) };
        self.time = self.time.max(reached);
        let (pace, latest) = (self.pace, self.time);
        let at = |instant| pace.time(instant).min(latest);
        let calls = self.port.take().into_iter();
        let entries = self.journal.take().into_iter();
        Step {
            calls: calls.map(|(instant, call)| (at(instant), call)).collect(),
            entries: entries.map(|(instant, entry)| (at(instant), entry)).collect(),
        }
    }

    /// Charges for the plans of the last step: the worker stands still for this time per lease that
    /// they looked at.
    pub(crate) fn pay_plans(&mut self, per_lease: Duration) {
        let leases = u32::try_from(self.clock.take_planned()).unwrap_or(u32::MAX);
        self.unpaid += per_lease * leases;
        let paid = Duration::from_millis(millis(self.unpaid));
        self.unpaid -= paid;
        if !paid.is_zero() {
            self.freeze(self.time + paid);
        }
    }

    /// Stops the worker until `until` while its clocks run on, as between SIGSTOP and SIGCONT.
    pub(crate) fn freeze(&mut self, until: Time) {
        self.gap += self.pace.instant(until) - self.pace.instant(self.time);
        self.time = until;
    }

    /// Suspends the worker's machine until `until`: only its fence clock runs on.
    pub(crate) fn suspend(&mut self, until: Time) {
        let gap = self.pace.instant(until) - self.pace.instant(self.time);
        self.clock.suspend(gap);
        self.pace.since = self.pace.since + (until - self.time);
        self.time = until;
    }

    /// Freezes the task of one of its leases for this time, and nothing else.
    pub(crate) fn freeze_holder(&self, time: Duration) {
        self.clock.freeze_holder(time);
    }

    /// Asks the worker to shut down.
    pub(crate) fn shut_down(&self) {
        self.handle.shut_down();
    }

    /// Returns, once, how the worker ended: `Some(None)` if the engine panicked. `None` if it runs.
    pub(crate) fn end(&mut self) -> Option<Option<End>> {
        let run = self.run.take_if(|run| run.is_finished())?;
        Some(self.runtime.block_on(run).ok())
    }

    /// Whether the worker is shutting down.
    pub(crate) fn is_stopping(&self) -> bool {
        self.status().state == WorkerState::Stopping
    }

    /// Kills the worker.
    pub(crate) fn kill(self) {
        self.port.close();
        self.journal.close();
        drop(self.runtime);
    }

    /// The worker's status.
    pub(crate) fn status(&self) -> WorkerStatus {
        self.handle.status()
    }

    /// The worker's metrics, by its own clock.
    pub(crate) fn metrics(&self) -> Snapshot {
        let _clock = self.runtime.enter();
        self.handle.meter().snapshot()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}
