//! The plan of a world, drawn from its seed before it begins.

use std::time::Duration;

use kcl_core::config::{
    CheckpointPolicy, FailurePolicy, OnExhausted, RetrievalConfig, WorkerConfig,
};
use kcl_core::model::InitialPosition;

use crate::chance::Chance;
use crate::fleet_mode::FleetMode;
use crate::memory::Pushes;
use crate::processor::{FailureRates, ProcessorKind};
use crate::world::{Load, Weather};

/// The rows of a page of a scan in fair weather: all of them.
const PAGE_ROWS: usize = 3_000;

/// The plan of a world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// The most workers to which the fleet grows.
    pub(crate) workers_max: usize,
    pub(crate) shards: usize,
    pub(crate) expiry: Duration,
    pub(crate) initial: InitialPosition,
    pub(crate) checkpoints: CheckpointPolicy,
    /// The mean pause between two records.
    pub(crate) traffic: Duration,
    /// How long faults occur.
    pub(crate) storm: Duration,
    pub(crate) weather: Weather,
    /// The rows of a page of a scan.
    pub(crate) page_rows: usize,
    pub(crate) failure_rates: FailureRates,
    pub(crate) processors: ProcessorKind,
    pub(crate) load: Load,
    /// The most records of a batch.
    pub(crate) records_max: usize,
    pub(crate) failure: FailurePolicy,
    /// The mean pause between two acts.
    pub(crate) pause: Duration,
    /// The acts, with their weights.
    pub(crate) acts: Vec<(Act, u64)>,
    /// How far clocks drift at most, in thousandths.
    pub(crate) drift: u64,
    /// How long a stopped worker stays away at most, in milliseconds.
    pub(crate) away_max: u64,
    /// How long a record may wait at most. `None` for no limit.
    pub(crate) wait_max: Option<Duration>,
    /// Whether the stream is re-created at the end.
    pub(crate) ends_recreated: bool,
    /// Whether all workers start within a second.
    pub(crate) starts_together: bool,
    /// The greatest `leases_max` of a worker. `None` if no worker has one.
    pub(crate) leases_max: Option<u64>,
    /// How the stream pushes records. `None` if workers poll.
    pub(crate) pushes: Option<Pushes>,
}

/// Something that happens to the fleet or the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Crash,
    Stop,
    Freeze,
    FreezeHolder,
    Suspend,
    CutLeases,
    CutRecords,
    CutBoth,
    Throttle,
    Split,
    Merge,
    Trim,
    Forget,
    DeleteRow,
    DeleteSession,
    StaleLists,
    Join,
    BreakPushes(PushFault),
}

/// Something that happens to subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushFault {
    /// The next ones bring nothing.
    Lose,
    /// The next events do not arrive in full.
    Tear,
    /// Events are late, or in time again.
    Delay,
    /// There are none until events are late or in time again.
    Refuse,
}

impl Plan {
    /// A fleet in fair weather.
    pub(crate) fn fair(chance: &mut Chance) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(1);
        Self {
            workers: count(chance.between(1, 5)),
            workers_max: 8,
            shards: count(chance.between(1, 8)),
            expiry: Duration::from_secs(*chance.pick(&[3, 10, 10, 30]).unwrap_or(&10)),
            initial: InitialPosition::TrimHorizon,
            checkpoints: CheckpointPolicy::Automatic,
            traffic: Duration::from_millis(chance.between(50, 1_000)),
            storm: Duration::from_secs(chance.between(240, 330)),
            weather: Weather::default(),
            page_rows: PAGE_ROWS,
            failure_rates: FailureRates::default(),
            processors: ProcessorKind::Batches,
            load: Load::default(),
            records_max: RetrievalConfig::default().records_max,
            failure: FailurePolicy::default(),
            pause: Duration::from_millis(chance.between(3_000, 25_000)),
            acts: Vec::new(),
            drift: 0,
            away_max: 60_000,
            wait_max: None,
            ends_recreated: false,
            starts_together: chance.hits(0.5),
            leases_max: None,
            pushes: None,
        }
    }

    /// A fleet in which no record waits longer than `wait_max`, however often workers come and go.
    pub(crate) fn prompt(self, wait_max: Duration, chance: &mut Chance) -> Self {
        let (workers, workers_max) = *chance.pick(&[(1, 2), (2, 3), (3, 8)]).unwrap_or(&(1, 2));
        let (away_max, wait_max) = (10_000, Some(wait_max));
        Self { workers, workers_max, away_max, wait_max, starts_together: true, ..self }
    }

    /// Bad weather: each kind of failure never, rarely or often.
    pub(crate) fn bad_weather(mut self, chance: &mut Chance) -> Self {
        let mut rate = |most: u64| match chance.between(0, 2) {
            0 => 0.0,
            // A few in a thousand, or up to `most`.
            1 => f64::from(u32::try_from(chance.between(1, 5)).unwrap_or(1)) / 1_000.0,
            _ => f64::from(u32::try_from(chance.between(1, most)).unwrap_or(1)) / 1_000.0,
        };
        self.weather = Weather {
            slow: rate(150),
            lost_request: rate(60),
            lost_reply: rate(60),
            late: rate(60),
            duplicate: rate(100),
            throttled: rate(100),
            stale_scan: rate(500),
            expired: rate(30),
            not_found: 0.0,
        };
        self.failure_rates = FailureRates {
            slow: rate(60),
            fails: rate(60),
            panics: rate(30),
            hangs: rate(15),
            loses: 0.0,
        };
        if chance.hits(0.3) {
            self.page_rows = usize::try_from(chance.between(1, 8)).unwrap_or(1);
        }
        self
    }

    /// Records that no processor can process: they are abandoned after some attempts.
    pub(crate) fn poisoned(mut self, chance: &mut Chance) -> Self {
        let then = *chance
            .pick(&[OnExhausted::DeadLetter, OnExhausted::Skip])
            .unwrap_or(&OnExhausted::DeadLetter);
        let attempts = usize::try_from(chance.between(1, 3)).unwrap_or(1);
        self.failure = FailurePolicy::attempts(attempts, then);
        self.load.poison = f64::from(u32::try_from(chance.between(1, 20)).unwrap_or(1)) / 1_000.0;
        // Nothing else may fail, or it would be abandoned as well.
        self.failure_rates =
            FailureRates { fails: 0.0, panics: 0.0, loses: 0.3, ..self.failure_rates };
        self
    }

    /// Processors that work on single records: each fails less often than a batch, since there are
    /// more of them.
    pub(crate) fn by_record(mut self, processors: ProcessorKind) -> Self {
        let FailureRates { slow, fails, panics, hangs, loses } = self.failure_rates;
        let [slow, fails, panics, hangs] = [slow, fails, panics, hangs].map(|rate| rate / 10.0);
        self.failure_rates = FailureRates { slow, fails, panics, hangs, loses };
        Self { processors, ..self }
    }

    /// Checkpoints between renewals.
    pub(crate) fn stored_often(mut self, chance: &mut Chance) -> Self {
        let records = usize::try_from(chance.between(1, 50)).unwrap_or(1);
        let time = Duration::from_millis(chance.between(100, 3_000));
        self.checkpoints = CheckpointPolicy::Every { records, time };
        self
    }

    /// Adds acts.
    pub(crate) fn acts(mut self, acts: &[(Act, u64)]) -> Self {
        self.acts.extend_from_slice(acts);
        self
    }

    /// A stream that pushes, by subscriptions of all kinds.
    pub(crate) fn pushed(self, chance: &mut Chance) -> Self {
        let mut seconds = |least, most| Duration::from_secs(chance.between(least, most));
        let pushes = Pushes {
            lifetime: seconds(6, 60),
            heartbeat_every: seconds(1, 5),
            silence_max: seconds(5, 35),
            ..Pushes::KINESIS
        };
        Self { pushes: Some(pushes), ..self }.acts(&[
            (Act::BreakPushes(PushFault::Lose), 3),
            (Act::BreakPushes(PushFault::Tear), 4),
            (Act::BreakPushes(PushFault::Delay), 3),
            (Act::BreakPushes(PushFault::Refuse), 2),
        ])
    }

    /// Tasks of single leases that stand still.
    pub(crate) fn frozen_holders(self) -> Self {
        self.acts(&[(Act::FreezeHolder, 8)])
    }

    /// Rows that are deleted by hand: those of leases and, if workers may have any, of sessions.
    pub(crate) fn deleted_rows(self, mode: FleetMode) -> Self {
        let plan = self.acts(&[(Act::DeleteRow, 2), (Act::Split, 1)]);
        if mode == FleetMode::Counters { plan } else { plan.acts(&[(Act::DeleteSession, 1)]) }
    }

    /// The settings of a worker.
    pub(crate) fn config(&self, expiry: Duration) -> WorkerConfig {
        let mut config = WorkerConfig::default();
        config.lease.expiry = expiry;
        config.retrieval.initial_position = self.initial;
        config.retrieval.records_max = self.records_max;
        config.delivery.checkpoints = self.checkpoints;
        config.delivery.failure = self.failure.clone();
        config
    }

    /// Draws an act by weight.
    pub(crate) fn draw(&self, chance: &mut Chance) -> Option<Act> {
        let all: u64 = self.acts.iter().map(|(_, weight)| weight).sum();
        let mut drawn = chance.between(1, all);
        self.acts.iter().find_map(|(act, weight)| {
            let is_it = drawn <= *weight;
            drawn = drawn.saturating_sub(*weight);
            is_it.then_some(*act)
        })
    }
}
