//! What is in store for a world: drawn from its seed before it begins.

use std::time::Duration;

use kcl_core::config::{
    CheckpointPolicy, FailurePolicy, OnExhausted, RetrievalConfig, WorkerConfig,
};
use kcl_core::model::InitialPosition;

use crate::chance::Chance;
use crate::processor::{Style, Temper};
use crate::world::faults::Weather;
use crate::world::load::Load;

/// How many rows a page of a scan has in fine weather: all of them.
const PAGE_ROWS: usize = 3_000;

/// What is in store for a world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    /// How many workers the fleet grows to at most.
    pub(crate) workers_max: usize,
    pub(crate) shards: usize,
    pub(crate) expiry: Duration,
    pub(crate) initial: InitialPosition,
    pub(crate) checkpoints: CheckpointPolicy,
    /// The mean pause between two records.
    pub(crate) traffic: Duration,
    /// For how long there are faults.
    pub(crate) storm: Duration,
    pub(crate) weather: Weather,
    /// How many rows a page of a scan has.
    pub(crate) page_rows: usize,
    pub(crate) temper: Temper,
    pub(crate) style: Style,
    pub(crate) load: Load,
    /// How many records fill a batch.
    pub(crate) records_max: usize,
    pub(crate) failure: FailurePolicy,
    /// The mean pause between two acts.
    pub(crate) pause: Duration,
    /// What acts there are, by weight.
    pub(crate) acts: Vec<(Act, u64)>,
    /// How far clocks drift, in thousandths.
    pub(crate) drift: u64,
    /// How long one that was stopped stays away at most, in milliseconds.
    pub(crate) away_max: u64,
    /// For how long a record may wait at most, where nothing fails but what the acts do.
    pub(crate) patience: Option<Duration>,
    /// Whether the stream is another one in the end.
    pub(crate) ends_recreated: bool,
    /// Whether all workers start within a second, or one after the other.
    pub(crate) starts_together: bool,
}

/// Something that the world does to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Crash,
    Stop,
    Freeze,
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
    StaleLists,
    Join,
}

impl Plan {
    /// A fleet in fine weather.
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
            temper: Temper::default(),
            style: Style::Batches,
            load: Load::default(),
            records_max: RetrievalConfig::default().records_max,
            failure: FailurePolicy::default(),
            pause: Duration::from_millis(chance.between(3_000, 25_000)),
            acts: Vec::new(),
            drift: 0,
            away_max: 60_000,
            patience: None,
            ends_recreated: false,
            starts_together: chance.hits(0.5),
        }
    }

    /// A fleet in which no record waits for longer than that, however often workers come and go.
    pub(crate) fn prompt(self, patience: Duration, chance: &mut Chance) -> Self {
        let (workers, workers_max) = *chance.pick(&[(1, 2), (2, 3), (3, 8)]).unwrap_or(&(1, 2));
        let (away_max, patience) = (10_000, Some(patience));
        Self { workers, workers_max, away_max, patience, starts_together: true, ..self }
    }

    /// Bad weather of some kind.
    pub(crate) fn bad_weather(mut self, chance: &mut Chance) -> Self {
        let mut rate = |most: u64| match chance.between(0, 2) {
            0 => 0.0,
            // A few in a thousand, or up to so many.
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
        };
        self.temper = Temper {
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

    /// Many keys, and records that no processor can process, which are given up in the end.
    pub(crate) fn poisoned(mut self, chance: &mut Chance) -> Self {
        let then = *chance
            .pick(&[OnExhausted::DeadLetter, OnExhausted::Skip])
            .unwrap_or(&OnExhausted::DeadLetter);
        let attempts = usize::try_from(chance.between(1, 3)).unwrap_or(1);
        self.failure = FailurePolicy::attempts(attempts, then);
        self.load.poison = f64::from(u32::try_from(chance.between(1, 20)).unwrap_or(1)) / 1_000.0;
        // Nothing else may fail: it would be given up as well.
        self.temper = Temper { fails: 0.0, panics: 0.0, loses: 0.3, ..self.temper };
        self
    }

    /// Processors misbehave with single records, of which there are more than batches.
    pub(crate) fn by_record(mut self, style: Style) -> Self {
        let Temper { slow, fails, panics, hangs, loses } = self.temper;
        let [slow, fails, panics, hangs] = [slow, fails, panics, hangs].map(|rate| rate / 10.0);
        self.temper = Temper { slow, fails, panics, hangs, loses };
        Self { style, ..self }
    }

    /// Progress is stored sooner than with the next renewal.
    pub(crate) fn stored_often(mut self, chance: &mut Chance) -> Self {
        let records = usize::try_from(chance.between(1, 50)).unwrap_or(1);
        let time = Duration::from_millis(chance.between(100, 3_000));
        self.checkpoints = CheckpointPolicy::Every { records, time };
        self
    }

    pub(crate) fn acts(mut self, acts: &[(Act, u64)]) -> Self {
        self.acts.extend_from_slice(acts);
        self
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
