//! Scenarios: kinds of worlds, and the plans that are drawn for them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kcl_core::config::CheckpointPolicy;
use kcl_core::model::InitialPosition;

use crate::chance::Chance;
use crate::course::Course;
use crate::course_plan::CoursePlan;
use crate::error::SimError;
use crate::fault::Tally;
use crate::fleet_mode::FleetMode;
use crate::oracle::Oracle;
use crate::plan::{Act, Plan};
use crate::processor::ProcessorKind;
use crate::run::Run;
use crate::time::Time;
use crate::trace::Trace;

/// How long a record may wait at most while nothing fails. The longest wait of 2,000 worlds was 3.7
/// s, in a fleet whose workers came and went all the time.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A kind of world. With a seed it is one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scenario {
    /// Every failure of calls, workers and shards, with processors that work batch by batch.
    Mixed,
    /// Crashes, stops, freezes and suspended machines.
    Crashes,
    /// Workers that cannot reach the table, the stream, or both.
    Partitions,
    /// Splits and merges in quick succession, with stale and torn shard lists.
    Reshards,
    /// Rolling updates: workers are replaced one by one, with other settings.
    Rolling,
    /// Workers join and stop, and shards are split and merged, while nothing fails.
    Scaling,
    /// As [`Scaling`](Self::Scaling); now and then a worker crashes, stands still, or cannot reach
    /// the table.
    Failover,
    /// Clocks that run up to 5 % too fast or too slow.
    Drift,
    /// Clocks that run up to 20 % too fast or too slow: deliveries of two owners may overlap,
    /// stored progress may not.
    WildDrift,
    /// A first start at LATEST, with crashes and splits in the first seconds.
    Bootstrap,
    /// Processors that checkpoint by themselves.
    Manual,
    /// Records that no processor can process: these are abandoned, and no others.
    Poison,
    /// Records of many keys, processed concurrently.
    PerKey,
    /// Records acknowledged one by one, in any order; some acknowledgements are lost.
    Acks,
    /// Aggregated records, and frequent checkpoints.
    Aggregates,
    /// Processors that checkpoint in two phases.
    TwoPhase,
    /// Lease rows that an operator deletes.
    DeletedRows,
    /// A stream that is deleted and created again under its name: workers end with an error.
    Recreated,
    /// As [`Mixed`](Self::Mixed), with workers that hold few leases at most.
    Capped,
    /// As [`Crashes`](Self::Crashes) in bad weather; now and then the task of a single lease stands
    /// still.
    FrozenHolders,
    /// As [`Mixed`](Self::Mixed) on a stream that pushes: subscriptions end, are lost, late, torn and
    /// refused.
    Pushed,
    /// Up to 60 workers or 3,000 shards, and a table that queues calls: they start, rest, and a
    /// worker crashes, joins and stops.
    Large,
    /// The same with up to 10 workers and 800 shards, on a table that throttles.
    Throttled,
    /// The same with up to 6 workers, whose credentials expire, and take long.
    Credentials,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 24] = [
        Self::Mixed,
        Self::Crashes,
        Self::Partitions,
        Self::Reshards,
        Self::Rolling,
        Self::Scaling,
        Self::Failover,
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
        Self::Capped,
        Self::FrozenHolders,
        Self::Pushed,
        Self::Large,
        Self::Throttled,
        Self::Credentials,
    ];

    /// How many of the first scenarios seeds take in turn.
    const TURNS: usize = 18;

    /// Returns the scenario of a seed when seeds take the scenarios in turn: all but those under
    /// load, [`Capped`](Self::Capped), [`FrozenHolders`](Self::FrozenHolders) and
    /// [`Pushed`](Self::Pushed).
    #[must_use]
    pub fn of_turn(seed: u64) -> Self {
        let turns = u64::try_from(Self::TURNS).unwrap_or(1);
        let place = usize::try_from(seed % turns).unwrap_or(0);
        Self::ALL.get(place).copied().unwrap_or(Self::Mixed)
    }

    /// Returns the mode of a seed when seeds take the scenarios in turn, and the modes, too.
    #[must_use]
    pub fn mode_of_turn(seed: u64) -> FleetMode {
        let turns = u64::try_from(Self::TURNS).unwrap_or(1);
        match seed / turns % 4 {
            0 => FleetMode::Counters,
            1 => FleetMode::Sessions,
            2 => FleetMode::Mixed,
            _ => FleetMode::Lookouts,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::Reshards => "reshards",
            Self::Rolling => "rolling",
            Self::Scaling => "scaling",
            Self::Failover => "failover",
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
            Self::Capped => "capped",
            Self::FrozenHolders => "frozen-holders",
            Self::Pushed => "pushed",
            Self::Large => "large",
            Self::Throttled => "throttled",
            Self::Credentials => "credentials",
        }
    }

    fn plan(self, mode: FleetMode, chance: &mut Chance) -> Plan {
        const CRASHES: &[(Act, u64)] =
            &[(Act::Crash, 4), (Act::Stop, 3), (Act::Freeze, 3), (Act::Suspend, 1), (Act::Join, 1)];
        const CUTS: &[(Act, u64)] =
            &[(Act::CutLeases, 3), (Act::CutRecords, 2), (Act::CutBoth, 2), (Act::Throttle, 2)];
        const RESHARDS: &[(Act, u64)] = &[(Act::Split, 3), (Act::Merge, 3), (Act::StaleLists, 1)];
        const FAILURES: &[(Act, u64)] = &[
            (Act::Crash, 2),
            (Act::Freeze, 2),
            (Act::Suspend, 1),
            (Act::CutLeases, 2),
            (Act::CutBoth, 1),
        ];
        const SCALES: &[(Act, u64)] =
            &[(Act::Join, 2), (Act::Stop, 6), (Act::Split, 1), (Act::Merge, 1)];
        let fair = Plan::fair(chance);
        match self {
            Self::Mixed | Self::Capped | Self::Pushed => {
                let plan = fair.bad_weather(chance).acts(CRASHES).acts(CUTS).acts(RESHARDS);
                let leases_max = (self == Self::Capped).then(|| chance.between(1, 5));
                let plan = Plan { leases_max, ..plan }.acts(&[(Act::Trim, 1), (Act::Forget, 1)]);
                if self == Self::Pushed { plan.pushed(chance) } else { plan }
            }
            Self::Crashes => fair.acts(CRASHES),
            Self::Partitions => fair.bad_weather(chance).acts(CUTS),
            Self::Reshards => {
                let pause = Duration::from_millis(chance.between(800, 8_000));
                let plan = Plan { pause, ..fair.bad_weather(chance) };
                plan.acts(RESHARDS).acts(&[(Act::Crash, 1), (Act::Trim, 1), (Act::Forget, 1)])
            }
            Self::Rolling => fair.bad_weather(chance).acts(&[(Act::Stop, 1)]),
            Self::Scaling => {
                let pause = Duration::from_millis(chance.between(300, 5_000));
                // A record that waits for an expiry waits too long.
                let expiry = Duration::from_secs(30);
                Plan { pause, expiry, ..fair.prompt(WAIT_MAX, chance) }.acts(SCALES)
            }
            Self::Failover => {
                let wait_max = fair.expiry + WAIT_MAX;
                fair.prompt(wait_max, chance).acts(SCALES).acts(FAILURES)
            }
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
            Self::DeletedRows => fair.bad_weather(chance).acts(CRASHES).deleted_rows(mode),
            Self::FrozenHolders => fair.bad_weather(chance).acts(CRASHES).frozen_holders(),
            Self::Large | Self::Throttled | Self::Credentials => fair,
        }
    }

    /// The plan of a large fleet under load. `None` for a storm.
    fn course_plan(self, chance: &mut Chance) -> Option<CoursePlan> {
        if self == Self::Large {
            return Some(CoursePlan::large(chance));
        }
        if self == Self::Throttled {
            return Some(CoursePlan::throttled(chance));
        }
        (self == Self::Credentials).then(|| CoursePlan::credentials(chance))
    }

    /// Adds how the scenario processes records.
    fn plan_of_records(self, mut plan: Plan, chance: &mut Chance) -> Plan {
        let may_be_poisoned = matches!(self, Self::PerKey | Self::Aggregates);
        if self == Self::Poison || may_be_poisoned && chance.hits(0.3) {
            plan = plan.poisoned(chance);
        }
        if matches!(self, Self::Manual | Self::TwoPhase) {
            plan.checkpoints = CheckpointPolicy::Manual;
        }
        if self == Self::TwoPhase {
            plan.processors = ProcessorKind::TwoPhase;
        }
        if self == Self::PerKey {
            plan = plan.by_record(ProcessorKind::PerKey);
            plan.load.more_keys = chance.between(0, 30);
        }
        if self == Self::Acks {
            plan = plan.by_record(ProcessorKind::Acks);
            plan.failure_rates.loses = 0.003;
        }
        if self == Self::Aggregates {
            plan = plan.stored_often(chance);
            plan.load.aggregated = if chance.hits(0.5) { 1.0 } else { 0.5 };
            plan.load.more_keys = 4;
            // One reply fills several batches.
            plan.records_max = *chance.pick(&[5, 20, 10_000]).unwrap_or(&5);
        }
        plan
    }

    /// Runs the world of a seed.
    #[must_use]
    pub fn run(self, mode: FleetMode, seed: u64) -> Outcome {
        self.run_world(mode, seed, false, &[])
    }

    /// Runs the world of a seed, and does not check some of the [promises about
    /// load](Oracle::OF_LOAD): those behind the first one that is broken come to light.
    #[must_use]
    pub fn run_ignoring(self, mode: FleetMode, seed: u64, ignored: &[Oracle]) -> Outcome {
        self.run_world(mode, seed, false, ignored)
    }

    /// Runs the world of a seed, and keeps a line for everything that happens.
    #[must_use]
    pub fn run_traced(self, mode: FleetMode, seed: u64) -> Outcome {
        self.run_world(mode, seed, true, &[])
    }

    fn run_world(self, mode: FleetMode, seed: u64, is_traced: bool, ignored: &[Oracle]) -> Outcome {
        let mut outcome = Outcome {
            scenario: self,
            mode,
            seed,
            simulated: Duration::ZERO,
            healed_in: Duration::ZERO,
            tally: Tally::default(),
            trace: Vec::new(),
            error: None,
        };
        let mut chance = Chance::of(seed, 0);
        let trace = if is_traced { Trace::on() } else { Trace::default() };
        let (sim, behavior, end) = if let Some(plan) = self.course_plan(&mut chance) {
            let mut course = Course::new(seed, plan, chance, mode);
            course.sim.observed.trace = trace;
            course.sim.observed.facts.ignored.extend(ignored);
            let end = course.finish();
            (course.sim, course.behavior, end)
        } else {
            let plan = self.plan(mode, &mut chance);
            let mut run = Run::new(seed, plan, chance, mode);
            run.sim.observed.trace = trace;
            run.sim.observed.facts.ignored.extend(ignored);
            let end = run.finish();
            (run.sim, run.behavior, end)
        };
        match end {
            Ok(healed_in) => outcome.healed_in = healed_in,
            Err(error) => outcome.error = Some(error),
        }
        outcome.simulated = sim.now() - Time::default();
        outcome.tally = sim.observed.tally.clone();
        outcome.tally.add(&behavior.tally());
        outcome.tally.count_pushes(sim.stream.memory().push_counts());
        outcome.trace = sim.observed.trace.lines().to_vec();
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

/// The outcome of one world.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// What the leases of its workers lived by.
    pub mode: FleetMode,
    /// The seed.
    pub seed: u64,
    /// How much time passed in the world.
    pub simulated: Duration,
    /// How long the fleet took to heal.
    pub healed_in: Duration,
    /// How often each fault occurred.
    pub tally: Tally,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
    /// Why the world ended early, such as a broken promise.
    pub error: Option<SimError>,
}
