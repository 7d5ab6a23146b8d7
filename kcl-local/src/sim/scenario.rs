//! Scenarios: a storm of faults, then calm, in which the fleet must heal and stop.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kcl_core::config::CheckpointPolicy;
use kcl_core::model::InitialPosition;

use super::chance::Chance;
use super::error::SimError;
use super::faults::{Fault, Tally};
use super::plan::{Act, Plan};
use super::processor::{Acks, Batches, Equipment, Handlers, Style, TwoPhase, Ways};
use super::time::Time;
use super::world::World;
use crate::kinesis::LatePage;

/// A kind of world. With a seed it is one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scenario {
    /// All that goes wrong with calls, workers and shards, with processors that go batch by batch.
    Mixed,
    /// Crashes, stops and sleeping machines.
    Crashes,
    /// Workers that do not reach the table, the stream, or both.
    Partitions,
    /// Splits and merges in quick succession, with late and torn lists.
    Reshards,
    /// Everybody is replaced one by one, with other settings.
    Rolling,
    /// Clocks that run up to 5 % too fast or too slow.
    Drift,
    /// Clocks that run up to 20 % too fast or too slow: who delivers may overlap, what is stored may
    /// not.
    WildDrift,
    /// A first start at LATEST, with crashes and splits in its first seconds.
    Bootstrap,
    /// Processors that store their checkpoints themselves.
    Manual,
    /// Records that nobody can process: they are given up, and nothing else is.
    Poison,
    /// Records of many keys, processed concurrently.
    PerKey,
    /// Records that are acknowledged one by one, in any order; some acknowledgements are lost.
    Acks,
    /// Aggregated records, and progress that is stored often.
    Aggregates,
    /// Checkpoints in two phases.
    TwoPhase,
    /// Rows that somebody deletes.
    DeletedRows,
    /// A stream that is deleted and created again under its name: workers end and say so.
    Recreated,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Mixed,
        Self::Crashes,
        Self::Partitions,
        Self::Reshards,
        Self::Rolling,
        Self::Drift,
        Self::WildDrift,
        Self::Bootstrap,
        Self::Manual,
        Self::Poison,
        Self::PerKey,
        Self::Acks,
        Self::Aggregates,
        Self::TwoPhase,
        Self::DeletedRows,
        Self::Recreated,
    ];

    /// The scenario whose turn it is with a seed, when all are run in turn.
    #[must_use]
    pub fn of_turn(seed: u64) -> Self {
        let turns = u64::try_from(Self::ALL.len()).unwrap_or(1);
        let place = usize::try_from(seed % turns).unwrap_or(0);
        Self::ALL.get(place).copied().unwrap_or(Self::Mixed)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::Reshards => "reshards",
            Self::Rolling => "rolling",
            Self::Drift => "drift",
            Self::WildDrift => "wild-drift",
            Self::Bootstrap => "bootstrap",
            Self::Manual => "manual",
            Self::Poison => "poison",
            Self::PerKey => "per-key",
            Self::Acks => "acks",
            Self::Aggregates => "aggregates",
            Self::TwoPhase => "two-phase",
            Self::DeletedRows => "deleted-rows",
            Self::Recreated => "recreated",
        }
    }

    fn plan(self, chance: &mut Chance) -> Plan {
        const CRASHES: &[(Act, u64)] =
            &[(Act::Crash, 4), (Act::Stop, 3), (Act::Freeze, 3), (Act::Suspend, 1), (Act::Join, 1)];
        const CUTS: &[(Act, u64)] =
            &[(Act::CutLeases, 3), (Act::CutRecords, 2), (Act::CutBoth, 2), (Act::Throttle, 2)];
        const RESHARDS: &[(Act, u64)] = &[(Act::Split, 3), (Act::Merge, 3), (Act::StaleLists, 1)];
        let fair = Plan::fair(chance);
        match self {
            Self::Mixed => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(CUTS).acts(RESHARDS);
                plan.acts(&[(Act::Trim, 1), (Act::Forget, 1)])
            }
            Self::Crashes => fair.acts(CRASHES),
            Self::Partitions => fair.bad_weather(chance).acts(CUTS),
            Self::Reshards => {
                let pause = Duration::from_millis(chance.between(800, 8_000));
                let plan = Plan { pause, ..fair.bad_weather(chance) };
                plan.acts(RESHARDS).acts(&[(Act::Crash, 1), (Act::Trim, 1), (Act::Forget, 1)])
            }
            Self::Rolling => fair.bad_weather(chance).acts(&[(Act::Stop, 1)]),
            Self::Drift => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(CUTS);
                Plan { drift: 50, ..plan }
            }
            Self::WildDrift => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(CUTS).acts(RESHARDS);
                Plan { drift: 200, ..plan }
            }
            Self::Bootstrap => {
                let pause = Duration::from_millis(chance.between(100, 2_000));
                let initial = InitialPosition::Latest;
                let plan = Plan { pause, initial, ..fair.bad_weather(chance) };
                plan.acts(CRASHES).acts(RESHARDS)
            }
            Self::Manual
            | Self::Poison
            | Self::PerKey
            | Self::Acks
            | Self::Aggregates
            | Self::TwoPhase => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(RESHARDS);
                self.plan_of_records(plan, chance)
            }
            Self::Recreated => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(RESHARDS);
                Plan { ends_recreated: true, ..plan }
            }
            Self::DeletedRows => {
                fair.bad_weather(chance).acts(CRASHES).acts(&[(Act::DeleteRow, 2), (Act::Split, 1)])
            }
        }
    }

    /// What is special in how records are processed.
    fn plan_of_records(self, mut plan: Plan, chance: &mut Chance) -> Plan {
        let may_be_poisoned = matches!(self, Self::PerKey | Self::Aggregates);
        if self == Self::Poison || may_be_poisoned && chance.hits(0.3) {
            plan = plan.poisoned(chance);
        }
        if matches!(self, Self::Manual | Self::TwoPhase) {
            plan.checkpoints = CheckpointPolicy::Manual;
        }
        if self == Self::TwoPhase {
            plan.style = Style::TwoPhase;
        }
        if self == Self::PerKey {
            plan = plan.by_record(Style::Handlers);
            plan.load.more_keys = chance.between(0, 30);
        }
        if self == Self::Acks {
            plan = plan.by_record(Style::Acks);
            plan.temper.loses = 0.003;
        }
        if self == Self::Aggregates {
            plan = plan.stored_often(chance);
            plan.load.aggregated = if chance.hits(0.5) { 1.0 } else { 0.5 };
            plan.load.more_keys = 4;
            // A reply comes in several batches.
            plan.records_max = *chance.pick(&[5, 20, 10_000]).unwrap_or(&5);
        }
        plan
    }

    /// Runs the world of that seed.
    #[must_use]
    pub fn run(self, seed: u64) -> Outcome {
        self.run_world(seed, false)
    }

    /// Runs the world of that seed, and keeps a line for everything that happens.
    #[must_use]
    pub fn run_traced(self, seed: u64) -> Outcome {
        self.run_world(seed, true)
    }

    fn run_world(self, seed: u64, is_traced: bool) -> Outcome {
        let mut outcome = Outcome {
            scenario: self,
            seed,
            simulated: Duration::ZERO,
            healed_in: Duration::ZERO,
            tally: Tally::default(),
            trace: Vec::new(),
            error: None,
        };
        let mut chance = Chance::of(seed, 0);
        let plan = self.plan(&mut chance);
        match Storm::new(seed, plan, chance) {
            Ok(mut storm) => {
                if is_traced {
                    storm.world.keep_trace();
                }
                match storm.run() {
                    Ok(healed_in) => outcome.healed_in = healed_in,
                    Err(error) => outcome.error = Some(error),
                }
                storm.world.count_all(&storm.ways.tally());
                outcome.simulated = storm.world.now() - Time::default();
                outcome.tally = storm.world.tally().clone();
                outcome.trace = storm.world.trace().to_vec();
            }
            Err(error) => outcome.error = Some(error),
        }
        outcome
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|scenario| scenario.name()).collect();
            format!("no scenario {text:?}: there are {}", names.join(", "))
        })
    }
}

/// What became of a world.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Its kind.
    pub scenario: Scenario,
    /// Its seed.
    pub seed: u64,
    /// How much time passed in it.
    pub simulated: Duration,
    /// How long the fleet took to heal.
    pub healed_in: Duration,
    /// How often each fault came to pass.
    pub tally: Tally,
    /// What happened, if that was kept.
    pub trace: Vec<String>,
    /// What was wrong.
    pub error: Option<SimError>,
}

/// How many workers a fleet grows to at most.
const WORKERS_MAX: usize = 8;

/// How many open shards a stream grows to at most.
const SHARDS_MAX: usize = 16;

/// A world on its way through its plan.
struct Storm {
    world: World,
    plan: Plan,
    chance: Chance,
    ways: Ways,
    /// Who starts again when.
    starts: BTreeSet<(Time, String)>,
    expiry: Duration,
    joined: usize,
}

impl Storm {
    fn new(seed: u64, plan: Plan, chance: Chance) -> Result<Self, SimError> {
        let mut world = World::new(seed, plan.shards)?;
        world.set_page_rows(plan.page_rows);
        let ways = Ways::new(seed, plan.temper);
        let (expiry, joined) = (plan.expiry, plan.workers);
        let mut storm = Self { world, plan, chance, ways, starts: BTreeSet::new(), expiry, joined };
        for nth in 0..joined {
            let most = if storm.plan.starts_together { 1_000 } else { 40_000 };
            let at = Time::from_millis(storm.chance.between(0, most));
            storm.starts.insert((at, format!("w{nth}")));
        }
        Ok(storm)
    }

    fn run(&mut self) -> Result<Duration, SimError> {
        self.world.set_weather(self.plan.weather);
        self.world.set_load(self.plan.load);
        self.world.processors_are_known();
        self.world.send_every(self.plan.traffic);
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
        let mean = super::time::millis(self.plan.pause);
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
                self.start_later(worker, 60_000);
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
            Act::Join if self.joined < WORKERS_MAX => {
                let name = format!("w{}", self.joined);
                self.joined += 1;
                self.start_later(name, 1_000);
                Ok(())
            }
            Act::Split | Act::Join => Ok(()),
        });
    }

    /// Half of the stops are for a release with another expiry.
    fn change_expiry(&mut self) {
        if self.chance.hits(0.5) {
            let expiry = *self.chance.pick(&[3, 10, 30]).unwrap_or(&10);
            self.expiry = Duration::from_secs(expiry);
            self.world.count(Fault::ChangedExpiry);
        }
    }
}
