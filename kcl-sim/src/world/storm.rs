//! A storm: bad weather, and one random strike after the other.

use std::time::Duration;

use super::simulation::Simulation;
use super::weather::Weather;
use crate::chance::Chance;
use crate::error::SimError;
use crate::memory::LatePage;
use crate::time::Time;

/// The most open shards to which splits lead.
const SHARDS_MAX: usize = 16;

/// How long a worker stalls, or cannot reach the services, at most, in milliseconds.
const STALL_MAX: u64 = 40_000;

/// The most shards on a page of a shard list.
const PAGE_MAX: usize = 6;

/// How long a worker that crashed or was stopped stays away at most, in milliseconds.
const AWAY_MAX: u64 = 20_000;

/// Lets time pass in a storm.
pub(crate) fn storm(sim: &mut Simulation, time: Duration) -> Result<(), SimError> {
    let mut chance = Chance::of(sim.seed, u64::MAX - 1 - sim.now().millis());
    let (end, fair) = (sim.now() + time, sim.net.weather());
    let mut away: Vec<(Time, String)> = Vec::new();
    sim.net.set_weather(Weather::bad());
    while sim.now() < end {
        let next = sim.now() + Duration::from_millis(chance.between(500, 10_000));
        sim.run_until(next.min(end))?;
        let now = sim.now();
        let is_due =
            |(until, name): &mut (Time, String)| *until <= now && !sim.members.is_stopping(name);
        let due: Vec<_> = away.extract_if(.., is_due).collect();
        due.into_iter().try_for_each(|(_, name)| sim.restart(&name))?;
        if let Some(name) = strike(sim, &mut chance) {
            away.push((now + Duration::from_millis(chance.between(0, AWAY_MAX)), name));
        }
    }
    sim.net.set_weather(fair);
    sim.stream.memory().set_list_lag(Duration::ZERO);
    away.into_iter().try_for_each(|(_, name)| sim.restart(&name))
}

/// Strikes a worker or the stream. Returns the worker that is away because of it.
fn strike(sim: &mut Simulation, chance: &mut Chance) -> Option<String> {
    let workers = sim.members.names().into_iter();
    let here: Vec<_> = workers.filter(|name| !sim.members.is_stopping(name)).collect();
    let name = chance.pick(&here)?.clone();
    let shards = sim.stream.open_shards();
    let shard = chance.pick(&shards)?.id.clone();
    let (stall, none) = (Duration::from_millis(chance.between(100, STALL_MAX)), Duration::ZERO);
    let act = chance.between(0, 11);
    // The worker may stand still, and the shard may have no neighbour: then nothing happens.
    let done = match act {
        0 | 1 => sim.crash(&name),
        2 => sim.stop(&name),
        3 => sim.freeze(&name, stall),
        4 => sim.suspend(&name, stall),
        5 => sim.cut(&name, stall, none),
        6 => sim.cut(&name, none, stall),
        7 => sim.cut(&name, stall, stall),
        8 => {
            sim.throttle(stall / 4);
            Ok(())
        }
        9 => {
            let late = chance.pick(&[LatePage::First, LatePage::Others]).copied();
            let page = chance.place(PAGE_MAX).unwrap_or(0) + 1;
            sim.list_late(stall / 2, page, late.unwrap_or(LatePage::First));
            Ok(())
        }
        10 if shards.len() < SHARDS_MAX => sim.split(&shard),
        _ => sim.merge(&shard),
    };
    (act <= 2 && done.is_ok()).then_some(name)
}
