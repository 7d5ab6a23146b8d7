//! Workers of a world: they start, and start again after a crash.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_core::backend::{Clock, DeadLetter};
use kcl_core::config::WorkerConfig;
use kcl_core::{ProcessorFactory, RecordProcessor, ShardContext};

use crate::chance::Chance;
use crate::error::SimError;
use crate::journal::Journal;
use crate::processor::Equipment;
use crate::time::{Time, millis};
use crate::world::World;
use crate::world::call::What;
use crate::world::faults::Fault;
use crate::world::member::{Member, Start};

/// How long a worker may take to have something to lose.
const AT_STAKE_MAX: Duration = Duration::from_mins(2);

/// How long ago records that are acknowledged one by one must have come to count as finished.
const FINISHED_IN: Duration = Duration::from_millis(100);

/// How often the world looks whether it has, or is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts a worker with processors of one kind.
type Starter = dyn Fn(Start<'_>, WorkerConfig) -> Result<Member, SimError> + Send + Sync;

/// What it takes to start a worker again.
#[derive(Clone)]
pub(crate) struct Role {
    speed: u64,
    config: WorkerConfig,
    start: Arc<Starter>,
}

impl Role {
    fn new<F: ProcessorFactory, D: DeadLetter>(
        speed: u64,
        config: WorkerConfig,
        equip: impl Fn(&Journal) -> Equipment<F, D> + Send + Sync + 'static,
    ) -> Self {
        let start = move |start: Start<'_>, config| Member::start(start, config, &equip);
        Self { speed, config, start: Arc::new(start) }
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("speed", &self.speed)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A factory that outlives the workers which use it.
pub(crate) struct Lasting<F>(pub(crate) Arc<F>);

impl<F: ProcessorFactory> ProcessorFactory for Lasting<F> {
    type Processor = F::Processor;

    fn create(&self, shard: &ShardContext) -> F::Processor {
        self.0.create(shard)
    }
}

impl World {
    /// Starts a worker. Its settings hold as they are: at LATEST, the default initial position, it
    /// skips what was put before the first of all workers started, as
    /// [`InitialPosition`](kcl_core::model::InitialPosition) says.
    ///
    /// If a worker of that name runs already, this is its [`restart`](Self::restart) with new settings.
    ///
    /// Its processors run on the world's time: pauses are `tokio::time`'s, and no I/O can be done,
    /// no thread waited for. The factory outlives a crash: what it shares with its processors stands
    /// for what lies outside of the process, such as a database.
    ///
    /// # Errors
    /// If a setting is out of its range; the first promise that was broken.
    pub fn start(
        &mut self,
        name: &str,
        config: WorkerConfig,
        factory: impl ProcessorFactory<Processor: RecordProcessor>,
    ) -> Result<(), SimError> {
        self.start_at_speed(name, 1_000, config, factory)
    }

    /// Starts a worker whose clock runs at `speed` thousandths of the world's.
    ///
    /// # Errors
    /// If a setting is out of its range; the first promise that was broken.
    pub fn start_at_speed(
        &mut self,
        name: &str,
        speed: u64,
        config: WorkerConfig,
        factory: impl ProcessorFactory,
    ) -> Result<(), SimError> {
        let factory = Arc::new(factory);
        let equip = move |journal: &Journal| Equipment::of(Lasting(Arc::clone(&factory)), journal);
        self.start_exactly(name, speed, config, equip)
    }

    pub(crate) fn start_exactly<F: ProcessorFactory, D: DeadLetter>(
        &mut self,
        name: &str,
        speed: u64,
        config: WorkerConfig,
        equip: impl Fn(&Journal) -> Equipment<F, D> + Send + Sync + 'static,
    ) -> Result<(), SimError> {
        self.roles.insert(name.to_owned(), Role::new(speed, config, equip));
        self.restart(name)
    }

    /// Starts a worker again, with the settings and the factory that it had. Lets time pass until one
    /// that was asked to [stop](Self::stop) is gone. One that still runs and was not is killed.
    ///
    /// # Errors
    /// If no worker of that name was ever started; the first promise that was broken.
    pub fn restart(&mut self, name: &str) -> Result<(), SimError> {
        let role = self.roles.get(name).cloned();
        let role = role.ok_or_else(|| SimError::NoSuchWorker { name: name.to_owned() })?;
        while self.is_stopping(name) {
            self.run_for(LOOK_EVERY)?;
        }
        if self.expect_running(name).is_ok() {
            self.crash(name)?;
        }
        self.starts += 1;
        if role.speed != 1_000 {
            self.tally.count(Fault::Drift);
        }
        if !role.config.delivery.checkpoints.is_automatic() {
            self.facts.checkpoints_are_manual();
        }
        let start = Start {
            name,
            incarnation: self.starts,
            now: self.now,
            time_of_day: self.clock.time_of_day(),
            speed: role.speed,
            chance: Chance::of(self.seed, self.starts),
        };
        let member = (role.start)(start, role.config)?;
        self.facts.clock_runs_at(&member.id, role.speed);
        self.trace.line(self.now, name, format_args!("starts as {}", member.id));
        self.members.push(member);
        Ok(())
    }

    /// Lets time pass until a worker's processors have finished records that no checkpoint covers
    /// yet, then kills the worker and starts it again. Returns how many these were: they are handed
    /// over again, to it or to another, once its leases have expired. Of records that are acknowledged
    /// one by one (`into_acks`, `for_each`, `for_stream`) nobody tells the world when they are
    /// finished: those count that were handed over a tenth of a second before.
    ///
    /// # Errors
    /// If the worker does not run; if nothing is finished and unsaved within two minutes, as when no
    /// records are put or the worker holds no shard; the first promise that was broken.
    pub fn redeliver(&mut self, name: &str) -> Result<usize, SimError> {
        self.expect_running(name)?;
        let end = self.now + AT_STAKE_MAX;
        while self.now < end {
            self.run_for(LOOK_EVERY)?;
            let at_stake = self.at_stake(name);
            if at_stake > 0 {
                self.crash(name)?;
                self.restart(name)?;
                return Ok(at_stake);
            }
        }
        Err(SimError::NothingAtStake { name: name.to_owned() })
    }

    /// How many records a worker finished, or has had for a while, of which no checkpoint is stored or
    /// on its way.
    fn at_stake(&self, name: &str) -> usize {
        let since = Time::from_millis(self.now.millis().saturating_sub(millis(FINISHED_IN)));
        let is_write = |what: &What| matches!(what, What::Write(_));
        if self.calls.values().any(|flight| flight.who == name && is_write(flight.call.what())) {
            return 0;
        }
        let member = self.members.iter().find(|member| member.name == name);
        member.map_or(0, |member| self.facts.at_stake(&member.id, &self.leases(), since))
    }
}
