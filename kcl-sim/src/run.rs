//! A world on its way through its plan: a storm of faults, then calm, in which the fleet must heal and
//! stop.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::chance::Chance;
use crate::error::SimError;
use crate::memory::LatePage;
use crate::plan::{Act, Plan};
use crate::processor::{Acks, Batches, Equipment, Handlers, Style, TwoPhase, Ways};
use crate::time::Time;
use crate::world::World;
use crate::world::faults::Fault;

/// How many open shards a stream grows to at most.
const SHARDS_MAX: usize = 16;

/// When a fleet that started together is under way.
const UNDER_WAY: Time = Time::from_millis(15_000);

/// A world on its way through its plan.
pub(crate) struct Run {
    pub(crate) world: World,
    plan: Plan,
    chance: Chance,
    pub(crate) ways: Ways,
    /// Who starts again when.
    starts: BTreeSet<(Time, String)>,
    expiry: Duration,
    joined: usize,
    /// From when on nobody is missing, where records are not to wait.
    spare_from: Time,
}

impl Run {
    /// A world of that seed, at its beginning.
    pub(crate) fn new(seed: u64, plan: Plan, chance: Chance) -> Result<Self, SimError> {
        let mut world = World::new(seed, plan.shards)?;
        world.set_page_rows(plan.page_rows);
        let ways = Ways::new(seed, plan.temper);
        let (expiry, joined) = (plan.expiry, plan.workers);
        let starts = BTreeSet::new();
        let spare_from = UNDER_WAY;
        let mut run = Self { world, plan, chance, ways, starts, expiry, joined, spare_from };
        for nth in 0..joined {
            let most = if run.plan.starts_together { 1_000 } else { 40_000 };
            let at = Time::from_millis(run.chance.between(0, most));
            run.starts.insert((at, format!("w{nth}")));
        }
        Ok(run)
    }

    /// Goes to the end. Returns how long the fleet took to heal.
    pub(crate) fn finish(&mut self) -> Result<Duration, SimError> {
        self.world.set_weather(self.plan.weather);
        self.world.set_load(self.plan.load);
        self.world.processors_are_known();
        self.world.send_every(self.plan.traffic);
        if let Some(patience) = self.plan.patience {
            self.world.facts.be_patient(UNDER_WAY, patience);
        }
        let end = Time::default() + self.plan.storm;
        let mut next = self.pause();
        loop {
            let start = self.starts.first().cloned();
            match start {
                Some((at, name)) if at <= next.min(end) => {
                    self.starts.remove(&(at, name.clone()));
                    self.world.run_until(at.max(self.world.now()))?;
                    self.start(&name)?;
                }
                _ if next >= end => break,
                _ => {
                    self.world.run_until(next)?;
                    self.act();
                    next = self.pause();
                }
            }
        }
        self.world.run_until(end)?;
        self.ways.calm();
        self.world.calm();
        while let Some((at, name)) = self.starts.pop_first() {
            self.world.run_until(at.max(self.world.now()))?;
            self.start(&name)?;
        }
        if self.plan.ends_recreated {
            self.world.recreate(self.plan.shards);
            self.world.ends_by_itself()?;
            // Who starts now is told as well.
            self.start("late")?;
            return self.world.ends_by_itself();
        }
        let healed_in = self.world.heal()?;
        self.world.shut_down()?;
        Ok(healed_in)
    }

    fn pause(&mut self) -> Time {
        let mut mean = crate::time::millis(self.plan.pause);
        // Who starts and who stops shall meet.
        if self.plan.patience.is_some() && self.chance.hits(0.5) {
            mean = mean.min(500);
        }
        self.world.now() + Duration::from_millis(self.chance.between(1, 2 * mean))
    }

    fn start(&mut self, name: &str) -> Result<(), SimError> {
        if self.world.workers().iter().any(|other| other == name) {
            if self.world.is_stopping(name) {
                self.start_later(name.to_owned(), 1_000);
            }
            return Ok(());
        }
        let drift = self.plan.drift;
        let speed = 1_000 - drift + self.chance.between(0, 2 * drift);
        let config = self.plan.config(self.expiry);
        let (ways, checkpoints) = (self.ways.clone(), self.plan.checkpoints);
        let worker = self.chance.between(0, u64::MAX);
        let world = &mut self.world;
        match self.plan.style {
            Style::Batches => world.start_exactly(name, speed, config, move |journal| {
                let factory = Batches { ways: ways.clone(), checkpoints, journal: journal.clone() };
                Equipment { factory, dead_letter: ways.shelf(journal, worker) }
            }),
            Style::Handlers => world.start_exactly(name, speed, config, move |journal| {
                let factory = Handlers { ways: ways.clone(), journal: journal.clone() };
                Equipment { factory, dead_letter: ways.shelf(journal, worker) }
            }),
            Style::Acks => world.start_exactly(name, speed, config, move |journal| {
                let factory = Acks { ways: ways.clone(), journal: journal.clone() };
                Equipment { factory, dead_letter: ways.shelf(journal, worker) }
            }),
            Style::TwoPhase => world.start_exactly(name, speed, config, move |journal| {
                let factory = TwoPhase { ways: ways.clone(), journal: journal.clone() };
                Equipment { factory, dead_letter: ways.shelf(journal, worker) }
            }),
        }
    }

    fn start_later(&mut self, name: String, most: u64) {
        let at = self.world.now() + Duration::from_millis(self.chance.between(0, most));
        self.starts.insert((at, name));
    }

    fn act(&mut self) {
        let Some(act) = self.plan.draw(&mut self.chance) else { return };
        let workers = self.world.workers();
        let worker = self.chance.pick(&workers).cloned();
        let shards = self.world.open_shards();
        let shard = self.chance.pick(&shards).map(|shard| shard.id.clone());
        // Every act is drawn a worker and a shard, whether it needs them or not.
        let (Some(worker), Some(shard)) = (worker, shard) else { return };
        if self.plan.patience.is_some() && !self.may_go(act, &worker) {
            return;
        }
        let mut time = |most: u64| Duration::from_millis(self.chance.between(100, most));
        // Who stands still already, or a shard without a neighbour: then chance strikes nobody.
        drop(match act {
            Act::Crash => {
                self.start_later(worker.clone(), 20_000);
                self.world.crash(&worker)
            }
            Act::Stop => {
                let asked = self.world.stop(&worker);
                self.change_expiry();
                // It starts again once the former one is gone, at the earliest.
                self.start_later(worker, self.plan.away_max);
                asked
            }
            Act::Freeze => self.world.freeze(&worker, time(60_000)),
            Act::Suspend => self.world.suspend(&worker, time(60_000)),
            Act::CutLeases => self.world.cut(&worker, time(40_000), Duration::ZERO),
            Act::CutRecords => self.world.cut(&worker, Duration::ZERO, time(40_000)),
            Act::CutBoth => {
                let time = time(40_000);
                self.world.cut(&worker, time, time)
            }
            Act::Split if shards.len() < SHARDS_MAX => self.world.split(&shard),
            Act::Merge => self.world.merge(&shard),
            Act::Trim => self.world.trim(&shard),
            Act::Forget => {
                let finished = self.world.finished_shards();
                if let Some(shard) = self.chance.pick(&finished) {
                    self.world.forget(shard);
                }
                Ok(())
            }
            Act::DeleteRow => self.world.delete_row(&shard),
            Act::Throttle => {
                self.world.throttle(time(10_000));
                Ok(())
            }
            Act::StaleLists => {
                let (lag, page) = (time(20_000), self.chance.between(1, 6));
                let is_first = self.chance.hits(0.5);
                let late = if is_first { LatePage::First } else { LatePage::Others };
                self.world.list_late(lag, usize::try_from(page).unwrap_or(1), late);
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

    /// Whether somebody can be spared: another one runs, and those who saw the last one fail have had
    /// the time to do something about it.
    fn may_go(&mut self, act: Act, worker: &str) -> bool {
        let fails = match act {
            Act::Stop => false,
            Act::Crash | Act::Freeze | Act::Suspend | Act::CutLeases | Act::CutBoth => true,
            Act::CutRecords
            | Act::Throttle
            | Act::Split
            | Act::Merge
            | Act::Trim
            | Act::Forget
            | Act::DeleteRow
            | Act::StaleLists
            | Act::Join => return true,
        };
        let now = self.world.now();
        let can_be_spared = !self.world.is_needed(worker) && now >= self.spare_from;
        if fails && can_be_spared {
            self.spare_from = now + self.expiry * 2;
        }
        can_be_spared
    }

    /// Half of the stops are for a release with another expiry.
    fn change_expiry(&mut self) {
        if self.plan.patience.is_none() && self.chance.hits(0.5) {
            let expiry = *self.chance.pick(&[3, 10, 30]).unwrap_or(&10);
            self.expiry = Duration::from_secs(expiry);
            self.world.count(Fault::ChangedExpiry);
        }
    }
}
