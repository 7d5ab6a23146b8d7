//! The course of a large fleet under load: it starts, rests, and workers crash, join and stop.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::config::{CheckpointPolicy, Liveness, WorkerConfig};
use kcl_core::event::WorkerState;
use kcl_core::model::InitialPosition;

use crate::chance::Chance;
use crate::course_plan::CoursePlan;
use crate::error::SimError;
use crate::fleet_mode::{Choices, FleetMode};
use crate::oracle::{Oracle, ScanBudget};
use crate::processor::{Batches, Behavior, Equipment, FailureRates};
use crate::time::Time;
use crate::world::{Load, Producer, Simulation, WorkerSpec, heal, shut_down};

/// The pause between two looks at the shares.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a plan takes per lease: some milliseconds for 3,000 leases.
const PLAN_TIME: Duration = Duration::from_nanos(1_500);

/// How long a write may wait in its worker for others to be answered.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long after a change takes may still be lost.
const SETTLED: Duration = Duration::from_secs(5);

/// A simulation and its plan.
pub(crate) struct Course {
    pub(crate) sim: Simulation,
    plan: CoursePlan,
    chance: Chance,
    liveness: Choices,
    pub(crate) behavior: Behavior,
    /// How many workers have ever been part of the fleet.
    joined: usize,
}

impl Course {
    /// The course of a plan, at its beginning.
    pub(crate) fn new(seed: u64, mut plan: CoursePlan, chance: Chance, mode: FleetMode) -> Self {
        plan.is_led = mode == FleetMode::Lookouts;
        let mut sim = Simulation::new(seed, plan.shards);
        sim.table.set_row_bytes(CoursePlan::ROW_BYTES);
        sim.net.set_service(plan.service);
        sim.net.set_connect_time(plan.connect);
        sim.net.set_weather(plan.weather);
        if let Some(credentials) = plan.credentials {
            sim.net.set_credentials(credentials);
        }
        sim.members.plan_time = PLAN_TIME;
        let facts = &mut sim.observed.facts;
        facts.processors_are_known();
        facts.calls.limit_wait(WAIT_MAX);
        facts.calls.limit_scans(ScanBudget {
            units: plan.scan_rate(),
            scan: plan.scan_cost(),
            workers: f64::from(u32::try_from(plan.workers).unwrap_or(u32::MAX)),
        });
        let behavior = Behavior::new(seed, FailureRates::default());
        let liveness = mode.choices(seed);
        Self { sim, plan, chance, liveness, behavior, joined: 0 }
    }

    /// Runs to the end. Returns how long the fleet took to heal.
    pub(crate) fn finish(&mut self) -> Result<Duration, SimError> {
        let pause = self.plan.traffic;
        self.sim.produce(pause, Producer::of_load(self.sim.seed, pause, Load::default()));
        self.calls_succeed();
        for _ in 0..self.plan.workers {
            let pause = Duration::from_millis(self.chance.between(0, self.plan.start_apart));
            self.sim.run_for(pause)?;
            self.join(self.plan.leases_max)?;
        }
        self.shares_within("the start", self.plan.start_max())?;
        self.rest()?;
        self.lack_capacity()?;
        if self.plan.workers > 1 {
            self.lose_worker()?;
        }
        if self.plan.leases_max.is_some() {
            self.join(None)?;
        }
        let healed_in = heal(&mut self.sim)?;
        shut_down(&mut self.sim)?;
        Ok(healed_in)
    }

    /// Enough calls succeed from now on.
    fn calls_succeed(&mut self) {
        let now = self.sim.now();
        self.sim.observed.facts.calls.succeed_from(now, self.plan.is_prompt);
    }

    /// Lets a fleet rest in which nothing changes.
    fn rest(&mut self) -> Result<(), SimError> {
        let settled = self.sim.now() + self.plan.expiry + SETTLED;
        self.sim.observed.facts.calls.rests_from(settled);
        self.sim.run_for(self.plan.rest())?;
        self.sim.observed.facts.calls.is_disturbed();
        Ok(())
    }

    /// Lets the table lack capacity for a while, if that is planned.
    fn lack_capacity(&mut self) -> Result<(), SimError> {
        let Some((factor, time)) = self.plan.lack else { return Ok(()) };
        self.sim.observed.facts.calls.fail();
        self.sim.net.scale_capacity(factor, self.sim.now());
        self.sim.run_for(time)?;
        self.sim.net.scale_capacity(1.0, self.sim.now());
        self.shares_within("a lack of capacity", self.plan.start_max())?;
        self.calls_succeed();
        Ok(())
    }

    /// A worker crashes; when others have its leases, another one joins; then one stops.
    fn lose_worker(&mut self) -> Result<(), SimError> {
        let crashed = self.any_worker();
        self.sim.crash(&crashed)?;
        self.shares_within("a crash", self.plan.crash_max())?;
        self.join(self.plan.leases_max)?;
        self.shares_within("a join", self.plan.join_max())?;
        let stopped = self.any_worker();
        self.sim.stop(&stopped)?;
        self.shares_within("a stop", self.plan.stop_max())
    }

    fn any_worker(&mut self) -> String {
        let names = self.sim.members.names();
        self.chance.pick(&names).cloned().unwrap_or_default()
    }

    fn join(&mut self, leases_max: Option<usize>) -> Result<(), SimError> {
        let name = format!("w{}", self.joined);
        self.joined += 1;
        let mut config = WorkerConfig::default();
        config.lease.expiry = self.plan.expiry;
        config.lease.liveness = self.liveness.draw();
        config.lease.lookouts = self.plan.is_led && config.lease.liveness == Liveness::Session;
        config.lease.scan_units = self.plan.scan_units;
        config.lease.leases_max = leases_max;
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config.retrieval.poll_every = self.plan.poll_every;
        let (behavior, worker) = (self.behavior.clone(), self.chance.between(0, u64::MAX));
        let checkpoints = CheckpointPolicy::Automatic;
        let spec = WorkerSpec::equipped(1_000, config, move |journal| {
            let factory =
                Batches { behavior: behavior.clone(), checkpoints, journal: journal.clone() };
            Equipment::flaky(factory, journal, &behavior, worker)
        });
        self.sim.start(&name, spec)
    }

    /// Waits until the workers have their shares.
    fn shares_within(&mut self, after: &str, most: Duration) -> Result<(), SimError> {
        let end = self.sim.now() + most;
        loop {
            let Err(seen) = self.are_shared() else { return Ok(()) };
            if self.sim.now() >= end {
                let seen = format!("not within {most:?} after {after}: {seen}");
                return self.late(end, seen);
            }
            self.sim.run_for(LOOK_EVERY)?;
        }
    }

    fn late(&self, at: Time, seen: String) -> Result<(), SimError> {
        let ignored = &self.sim.observed.facts.ignored;
        if ignored.contains(&Oracle::SharesInTime) || !self.plan.scans_often() {
            return Ok(());
        }
        Err(self.sim.broken(Oracle::SharesInTime, at, seen))
    }

    /// Whether each worker has its share of the leases.
    fn are_shared(&self) -> Result<(), String> {
        let workers = self.sim.members.statuses().into_iter();
        let running = workers.filter(|worker| worker.state == WorkerState::Running);
        let mut counts: BTreeMap<_, _> = running.map(|worker| (worker.worker, 0_usize)).collect();
        let (mut leases, mut free) = (0, 0);
        for lease in self.sim.table.leases() {
            leases += 1;
            if lease.checkpoint_owner.is_some() {
                return Err(format!("a hand-over of {} is under way", lease.key));
            }
            match lease.owner.as_ref().and_then(|owner| counts.get_mut(owner)) {
                Some(count) => *count += 1,
                None => free += 1,
            }
        }
        if leases < self.plan.shards {
            return Err(format!("{leases} of {} leases exist", self.plan.shards));
        }
        let least = counts.values().min().copied().unwrap_or(0);
        let most = counts.values().max().copied().unwrap_or(0);
        let is_full = self.plan.leases_max.is_some_and(|max| least >= max);
        let is_shared = self.plan.leases_max.is_some() || most <= least + 1;
        if is_shared && (free == 0 || is_full) {
            return Ok(());
        }
        Err(format!("{least} to {most} leases are held, {free} by no live worker"))
    }
}
