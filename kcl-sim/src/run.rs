//! One run of a plan: a storm of faults, then a calm in which the fleet must heal and shut down.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl_core::config::Liveness;
use kcl_core::model::ShardId;

use crate::chance::Chance;
use crate::error::SimError;
use crate::fault::Fault;
use crate::fleet_mode::{Choices, FleetMode};
use crate::memory::{LatePage, Pushes};
use crate::plan::{Act, Plan, PushFault};
use crate::processor::{Acks, Batches, Behavior, Equipment, Handlers, ProcessorKind, TwoPhase};
use crate::time::{Time, millis};
use crate::world::{
    Producer, Simulation, WORLD, WorkerSpec, all_end, delete_row, delete_session, heal, shut_down,
};

/// The most open shards to which splits lead.
const SHARDS_MAX: usize = 16;

/// When a fleet whose workers started together has settled.
const SETTLED: Time = Time::from_millis(15_000);

/// The size of a row in bytes for which two rows cost more read units than a fleet without lookouts
/// may spend each second.
const LOOKOUTS_ROW_BYTES: usize = 64 * 1024;

/// The budget of a fleet with lookouts in read units a second: scans never wait for it.
const LOOKOUTS_UNITS: usize = 10_000;

/// How much longer a record may wait in a fleet with lookouts: they may be gone, and the next one
/// publishes after five seconds.
const LOOKOUTS_WAIT: Duration = Duration::from_secs(7);

/// The worker that takes what the others may not hold.
const RELIEF: &str = "relief";

/// A simulation and its plan.
pub(crate) struct Run {
    pub(crate) sim: Simulation,
    plan: Plan,
    chance: Chance,
    mode: FleetMode,
    liveness: Choices,
    pub(crate) behavior: Behavior,
    /// The workers that will start, and when.
    starts: BTreeSet<(Time, String)>,
    /// The lease expiry of workers that start from now on.
    expiry: Duration,
    /// How many workers have ever been part of the fleet.
    joined: usize,
    /// The time before which no worker may fail or stop, if waits are limited.
    disruptible_from: Time,
}

impl Run {
    /// The run of a plan, at its beginning.
    pub(crate) fn new(seed: u64, plan: Plan, chance: Chance, mode: FleetMode) -> Self {
        let mut sim = Simulation::new(seed, plan.shards);
        sim.table.set_page_rows(plan.page_rows);
        if mode == FleetMode::Lookouts {
            sim.table.set_row_bytes(LOOKOUTS_ROW_BYTES);
        }
        let behavior = Behavior::new(seed, plan.failure_rates);
        let (expiry, joined) = (plan.expiry, plan.workers);
        let (starts, disruptible_from) = (BTreeSet::new(), SETTLED);
        let mut run = Self {
            sim,
            plan,
            chance,
            mode,
            liveness: mode.choices(seed),
            behavior,
            starts,
            expiry,
            joined,
            disruptible_from,
        };
        for nth in 0..joined {
            let most = if run.plan.starts_together { 1_000 } else { 40_000 };
            let at = Time::from_millis(run.chance.between(0, most));
            run.starts.insert((at, format!("w{nth}")));
        }
        run
    }

    /// Runs to the end. Returns how long the fleet took to heal.
    pub(crate) fn finish(&mut self) -> Result<Duration, SimError> {
        self.sim.net.set_weather(self.plan.weather);
        self.sim.observed.facts.processors_are_known();
        let (pause, load) = (self.plan.traffic, self.plan.load);
        self.sim.produce(pause, Producer::of_load(self.sim.seed, pause, load));
        if let Some(most) = self.plan.wait_max {
            let expiry = (most >= self.plan.expiry).then_some(self.plan.expiry);
            // Both lookouts may fail: then the third in line notices an expiry later.
            let led = (self.mode == FleetMode::Lookouts)
                .then(|| LOOKOUTS_WAIT + expiry.unwrap_or_default());
            let most = most + led.unwrap_or_default();
            self.sim.observed.facts.limit_waits(SETTLED, most, expiry);
        }
        self.sim.stream.memory().set_pushes(self.plan.pushes);
        self.storm()?;
        self.behavior.calm();
        self.sim.calm();
        self.sim.stream.memory().set_pushes(self.plan.pushes);
        while let Some((at, name)) = self.starts.pop_first() {
            self.sim.run_until(at.max(self.sim.now()))?;
            self.start(&name)?;
        }
        if self.plan.ends_recreated {
            self.sim.recreate(self.plan.shards);
            all_end(&mut self.sim)?;
            // A worker that starts now must end as well.
            self.start("late")?;
            return all_end(&mut self.sim);
        }
        if self.plan.leases_max.is_some() {
            self.start(RELIEF)?;
        }
        let healed_in = heal(&mut self.sim)?;
        shut_down(&mut self.sim)?;
        Ok(healed_in)
    }

    /// Starts workers and performs acts until the storm is over.
    fn storm(&mut self) -> Result<(), SimError> {
        let end = Time::default() + self.plan.storm;
        let mut next = self.pause();
        loop {
            let start = self.starts.first().cloned();
            match start {
                Some((at, name)) if at <= next.min(end) => {
                    self.starts.remove(&(at, name.clone()));
                    self.sim.run_until(at.max(self.sim.now()))?;
                    self.start(&name)?;
                }
                _ if next >= end => break,
                _ => {
                    self.sim.run_until(next)?;
                    self.act();
                    next = self.pause();
                }
            }
        }
        self.sim.run_until(end)
    }

    /// Draws the time of the next act.
    fn pause(&mut self) -> Time {
        let mut mean = millis(self.plan.pause);
        // Starts and stops must overlap at times.
        if self.plan.wait_max.is_some() && self.chance.hits(0.5) {
            mean = mean.min(500);
        }
        self.sim.now() + Duration::from_millis(self.chance.between(1, 2 * mean))
    }

    fn start(&mut self, name: &str) -> Result<(), SimError> {
        if self.sim.members.is_running(name) {
            if self.sim.members.is_stopping(name) {
                self.start_later(name.to_owned(), 1_000);
            }
            return Ok(());
        }
        let drift = self.plan.drift;
        let speed = 1_000 - drift + self.chance.between(0, 2 * drift);
        let mut config = self.plan.config(self.expiry);
        config.lease.liveness = self.liveness.draw();
        if self.mode == FleetMode::Lookouts {
            config.lease.scan_units = LOOKOUTS_UNITS;
            config.lease.lookouts = config.lease.liveness == Liveness::Session;
        }
        if let Some(most) = self.plan.leases_max.filter(|_| name != RELIEF) {
            config.lease.leases_max = usize::try_from(self.chance.between(1, most)).ok();
        }
        let (behavior, checkpoints) = (self.behavior.clone(), self.plan.checkpoints);
        let worker = self.chance.between(0, u64::MAX);
        let spec = match self.plan.processors {
            ProcessorKind::Batches => WorkerSpec::equipped(speed, config, move |journal| {
                let factory =
                    Batches { behavior: behavior.clone(), checkpoints, journal: journal.clone() };
                Equipment::flaky(factory, journal, &behavior, worker)
            }),
            ProcessorKind::PerKey => WorkerSpec::equipped(speed, config, move |journal| {
                let factory = Handlers { behavior: behavior.clone(), journal: journal.clone() };
                Equipment::flaky(factory, journal, &behavior, worker)
            }),
            ProcessorKind::Acks => WorkerSpec::equipped(speed, config, move |journal| {
                let factory = Acks { behavior: behavior.clone(), journal: journal.clone() };
                Equipment::flaky(factory, journal, &behavior, worker)
            }),
            ProcessorKind::TwoPhase => WorkerSpec::equipped(speed, config, move |journal| {
                let factory = TwoPhase { behavior: behavior.clone(), journal: journal.clone() };
                Equipment::flaky(factory, journal, &behavior, worker)
            }),
        };
        self.sim.start(name, spec)
    }

    fn start_later(&mut self, name: String, most: u64) {
        let at = self.sim.now() + Duration::from_millis(self.chance.between(0, most));
        self.starts.insert((at, name));
    }

    /// Draws an act and performs it.
    fn act(&mut self) {
        let Some(act) = self.plan.draw(&mut self.chance) else { return };
        let workers = self.sim.members.names();
        let worker = self.chance.pick(&workers).cloned();
        let shards = self.sim.stream.open_shards();
        let shard = self.chance.pick(&shards).map(|shard| shard.id.clone());
        // A worker and a shard are drawn for every act, even if it needs neither.
        let (Some(worker), Some(shard)) = (worker, shard) else { return };
        if self.plan.wait_max.is_some() && !self.may_disrupt(act, &worker) {
            return;
        }
        let mut time = |most: u64| Duration::from_millis(self.chance.between(100, most));
        let sim = &mut self.sim;
        // The worker may stand still, and the shard may have no neighbour: then nothing happens.
        drop(match act {
            Act::Crash => {
                self.start_later(worker.clone(), 20_000);
                self.sim.crash(&worker)
            }
            Act::Stop => {
                let asked = sim.stop(&worker);
                self.change_expiry();
                // It starts again once its predecessor has ended, at the earliest.
                self.start_later(worker, self.plan.away_max);
                asked
            }
            Act::Freeze => sim.freeze(&worker, time(60_000)),
            Act::FreezeHolder => sim.freeze_holder(&worker, time(60_000)),
            Act::Suspend => sim.suspend(&worker, time(60_000)),
            Act::CutLeases => sim.cut(&worker, time(40_000), Duration::ZERO),
            Act::CutRecords => sim.cut(&worker, Duration::ZERO, time(40_000)),
            Act::CutBoth => {
                let time = time(40_000);
                sim.cut(&worker, time, time)
            }
            Act::Split if shards.len() < SHARDS_MAX => sim.split(&shard),
            Act::Merge => sim.merge(&shard),
            Act::Trim => sim.trim(&shard),
            Act::Forget => {
                let finished = self.finished_shards();
                if let Some(shard) = self.chance.pick(&finished) {
                    self.sim.forget(shard);
                }
                Ok(())
            }
            Act::DeleteRow => delete_row(sim, &shard),
            Act::DeleteSession => delete_session(sim, &worker),
            Act::Throttle => {
                sim.throttle(time(10_000));
                Ok(())
            }
            Act::StaleLists => {
                let (lag, page) = (time(20_000), self.chance.between(1, 6));
                let is_first = self.chance.hits(0.5);
                let late = if is_first { LatePage::First } else { LatePage::Others };
                sim.list_late(lag, usize::try_from(page).unwrap_or(1), late);
                Ok(())
            }
            Act::BreakPushes(fault) => {
                self.break_pushes(fault);
                Ok(())
            }
            Act::Join if self.joined < self.plan.workers_max => {
                let name = format!("w{}", self.joined);
                self.joined += 1;
                self.start_later(name, 1_000);
                Ok(())
            }
            Act::Split | Act::Join => Ok(()),
        });
    }

    /// Breaks subscriptions, those to come or all.
    fn break_pushes(&mut self, fault: PushFault) {
        let stream = self.sim.stream.memory();
        let struck = usize::try_from(self.chance.between(1, 4)).unwrap_or(1);
        let delay = Duration::from_millis(self.chance.between(100, 10_000));
        match fault {
            PushFault::Lose => stream.lose_pushes(struck),
            PushFault::Tear => stream.tear_pushes(struck),
            PushFault::Delay => {
                let delay = if self.chance.hits(0.5) { delay } else { Duration::ZERO };
                stream.set_pushes(self.plan.pushes.map(|pushes| Pushes { delay, ..pushes }));
            }
            PushFault::Refuse => {
                stream.set_pushes(None);
                self.sim.fault(Fault::RefusedPush, WORLD, "refuses subscriptions");
            }
        }
    }

    /// The closed shards whose ends are stored, if they are still listed.
    fn finished_shards(&self) -> Vec<ShardId> {
        let shards = self.sim.stream.shards().into_iter().map(|shard| shard.id);
        shards.filter(|shard| self.sim.observed.facts.is_finished(shard)).collect()
    }

    /// Whether an act may disrupt a worker: another worker can take its leases, and the fleet has
    /// had the time to recover from the last failure.
    fn may_disrupt(&mut self, act: Act, worker: &str) -> bool {
        let fails = match act {
            Act::Stop => false,
            Act::Crash
            | Act::Freeze
            | Act::FreezeHolder
            | Act::Suspend
            | Act::CutLeases
            | Act::CutBoth => true,
            Act::CutRecords
            | Act::Throttle
            | Act::Split
            | Act::Merge
            | Act::Trim
            | Act::Forget
            | Act::DeleteRow
            | Act::DeleteSession
            | Act::StaleLists
            | Act::BreakPushes(_)
            | Act::Join => return true,
        };
        let now = self.sim.now();
        let may = !self.sim.is_needed(worker) && now >= self.disruptible_from;
        if fails && may {
            self.disruptible_from = now + self.expiry * 2;
        }
        may
    }

    /// Changes the lease expiry of workers that start from now on, at every other stop.
    fn change_expiry(&mut self) {
        if self.plan.wait_max.is_none() && self.chance.hits(0.5) {
            let expiry = *self.chance.pick(&[3, 10, 30]).unwrap_or(&10);
            self.expiry = Duration::from_secs(expiry);
            self.sim.observed.tally.count(Fault::ChangedExpiry);
        }
    }
}
