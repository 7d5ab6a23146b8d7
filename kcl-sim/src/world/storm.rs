//! Storms for a world of one's own: everything goes wrong, as chance has it.

use std::time::Duration;

use crate::chance::Chance;
use crate::error::SimError;
use crate::memory::LatePage;
use crate::time::Time;
use crate::world::World;
use crate::world::faults::Weather;

/// How many open shards splits may lead to.
const SHARDS_MAX: usize = 16;

/// How long a worker stalls, or finds its way to the services blocked, at most.
const STALL_MAX: u64 = 40_000;

/// How many shards a page of a list has at most.
const PAGE_MAX: usize = 6;

/// How long one that crashed or was stopped stays away, at most.
const AWAY_MAX: u64 = 20_000;

impl World {
    /// Lets so much time pass in a storm: calls go wrong as in [`Weather::bad`], and every few
    /// seconds a worker crashes, stops, stalls, sleeps or does not reach the table, the stream or both,
    /// calls are throttled for a while, shards are split or merged, or lists of shards are late.
    /// Workers that crashed or stopped start again; for the last of them it takes a while longer.
    /// Nothing is lost in it: no records are trimmed, no rows deleted, and the stream stays the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kcl_core::config::WorkerConfig;
    /// # use kcl_core::ShardContext;
    /// # use kcl_core::model::InitialPosition;
    /// # use kcl_core::{BoxError, RecordBatch, RecordProcessor};
    /// # use kcl_sim::{SimError, World};
    /// # struct Mine;
    /// # impl RecordProcessor for Mine {
    /// #     async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// let mut config = WorkerConfig::default();
    /// config.retrieval.initial_position = InitialPosition::TrimHorizon;
    /// for seed in 0..3 {
    ///     let mut world = World::new(seed, 4)?;
    ///     for name in ["ann", "ben", "cid"] {
    ///         world.start(name, config.clone(), |_: &ShardContext| Mine)?;
    ///     }
    ///     world.put_every(Duration::from_millis(200), |number| ("key", format!("{number}")));
    ///     world.storm(Duration::from_mins(5))?;
    ///     world.heal()?;
    ///     assert!(world.deliveries().len() >= world.records().count());
    /// }
    /// # Ok::<(), SimError>(())
    /// ```
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn storm(&mut self, time: Duration) -> Result<(), SimError> {
        let mut chance = Chance::of(self.seed, u64::MAX - 1 - self.now.millis());
        let (end, fair) = (self.now + time, self.weather);
        let mut away: Vec<(Time, String)> = Vec::new();
        self.weather = Weather::bad();
        while self.now < end {
            let next = self.now + Duration::from_millis(chance.between(500, 10_000));
            self.run_until(next.min(end))?;
            let now = self.now;
            let is_due =
                |(until, name): &mut (Time, String)| *until <= now && !self.is_stopping(name);
            let due: Vec<_> = away.extract_if(.., is_due).collect();
            due.into_iter().try_for_each(|(_, name)| self.restart(&name))?;
            if let Some(name) = self.strike(&mut chance) {
                away.push((now + Duration::from_millis(chance.between(0, AWAY_MAX)), name));
            }
        }
        self.weather = fair;
        self.services.stream.set_list_lag(Duration::ZERO);
        away.into_iter().try_for_each(|(_, name)| self.restart(&name))
    }

    /// Does something to a worker or to the stream. Returns who went away.
    fn strike(&mut self, chance: &mut Chance) -> Option<String> {
        let workers = self.workers();
        let here: Vec<_> = workers.into_iter().filter(|name| !self.is_stopping(name)).collect();
        let name = chance.pick(&here)?.clone();
        let shards = self.open_shards();
        let shard = chance.pick(&shards)?.id.clone();
        let (stall, none) = (Duration::from_millis(chance.between(100, STALL_MAX)), Duration::ZERO);
        let act = chance.between(0, 11);
        // Who stands still already, or a shard without a neighbour: then chance strikes nobody.
        let done = match act {
            0 | 1 => self.crash(&name),
            2 => self.stop(&name),
            3 => self.freeze(&name, stall),
            4 => self.suspend(&name, stall),
            5 => self.cut(&name, stall, none),
            6 => self.cut(&name, none, stall),
            7 => self.cut(&name, stall, stall),
            8 => {
                self.throttle(stall / 4);
                Ok(())
            }
            9 => {
                let late = chance.pick(&[LatePage::First, LatePage::Others]).copied();
                let page = chance.place(PAGE_MAX).unwrap_or(0) + 1;
                self.list_late(stall / 2, page, late.unwrap_or(LatePage::First));
                Ok(())
            }
            10 if shards.len() < SHARDS_MAX => self.split(&shard),
            _ => self.merge(&shard),
        };
        (act <= 2 && done.is_ok()).then_some(name)
    }
}
