//! One function for each kind of row.

use std::fs;
use std::time::Duration;

use kcl_core::BoxError;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::config::{Liveness, WorkerConfig};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::fleet::Fleet;
use crate::table::Speed;

/// How long a fleet at rest is watched.
const REST: Duration = Duration::from_mins(2);

/// How many workers are killed, one after the other.
const CRASHES: usize = 5;

/// How long a fleet is left in peace before the next worker is killed.
const SETTLED: Duration = Duration::from_secs(5);

/// The figure of a row, and details. `None` if it took too long.
pub(crate) struct Row {
    pub(crate) figure: Option<f64>,
    pub(crate) more: Value,
}

fn config() -> WorkerConfig {
    WorkerConfig::default()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// One worker: until it holds all leases, then two minutes at rest.
pub(crate) async fn hold(shards: u32) -> Result<(Row, Row, Row), BoxError> {
    let mut fleet = Fleet::new(shards, Speed::default(), config());
    fleet.start(1)?;
    let held = fleet.all_held(fleet.began).await;
    let in_flight = fleet.table.seen(|seen| seen.in_flight_max);
    fleet.table.start_counting();
    let cpu = lease_thread_seconds()?;
    sleep(REST).await;
    let cpu = (lease_thread_seconds()? - cpu) / REST.as_secs_f64();
    let (gap, in_flight_at_rest) = fleet.table.seen(|seen| (seen.gap_max, seen.in_flight_max));
    let expired = fleet.events.of("expired");
    let more = json!({ "cpu of the lease thread at rest": cpu, "expired": expired });
    let gap = Row { figure: Some(gap.as_secs_f64()), more: json!({ "expired": expired }) };
    let calls = Row {
        figure: Some(count(in_flight.max(in_flight_at_rest))),
        more: json!({ "at rest": in_flight_at_rest }),
    };
    Ok((Row { figure: held, more }, gap, calls))
}

/// Several workers: until their shares are fair.
pub(crate) async fn balance(shards: u32, workers: usize) -> Result<Row, BoxError> {
    let mut fleet = Fleet::new(shards, Speed::default(), config());
    fleet.start(workers)?;
    let figure = fleet.balanced(fleet.began).await;
    let more = json!({ "expired": fleet.events.of("expired"), "held": fleet.held() });
    Ok(Row { figure, more })
}

/// Twenty workers, of which one is killed: until its leases are held by others.
pub(crate) async fn crash(shards: u32, scan_units: usize) -> Result<Row, BoxError> {
    let mut config = config();
    config.lease.scan_units = scan_units;
    let mut fleet = Fleet::new(shards, Speed::default(), config);
    fleet.start(20)?;
    let balanced = fleet.balanced(fleet.began).await;
    sleep(Duration::from_secs(20)).await;
    fleet.table.start_counting();
    let (at, lost) = (SystemClock.now(), fleet.kill_last());
    let figure = fleet.all_held(at).await;
    let live = fleet.table.seen(|seen| seen.takes_of_live);
    let expired = fleet.events.of("expired");
    let more = json!({ "leases of the killed one": lost, "takes of live leases": live,
        "balanced at first, s": balanced, "expired": expired });
    Ok(Row { figure, more })
}

/// Twenty workers with the default budget at rest: lost takes a second, and read units a second;
/// then read units a second while a third of the pages is throttled.
pub(crate) async fn rest(shards: u32) -> Result<(Row, Row, Row), BoxError> {
    let budget = config().lease.scan_units;
    let mut fleet = Fleet::new(shards, Speed::default(), config());
    fleet.start(20)?;
    let balanced = fleet.balanced(fleet.began).await;
    let seconds = (REST * 2).as_secs_f64();
    fleet.table.start_counting();
    sleep(REST * 2).await;
    let (lost, units) = fleet.table.seen(|seen| (count(seen.takes_lost), seen.read_units));
    fleet.table.throttle_pages(true);
    fleet.table.start_counting();
    sleep(REST * 2).await;
    let throttled = fleet.table.seen(|seen| seen.read_units);
    let more = json!({ "budget": budget, "scans_rare": fleet.events.of("scans_rare"),
        "expired": fleet.events.of("expired"), "balanced after, s": balanced });
    let row = |figure: f64| Row { figure: Some(figure / seconds), more: more.clone() };
    Ok((row(lost), row(units), row(throttled)))
}

/// Nineteen workers whose scans are half an expiry apart, and one that joins: read units a second
/// meanwhile.
pub(crate) async fn join(shards: u32, scan_units: usize) -> Result<Row, BoxError> {
    let time = Duration::from_secs(20);
    let mut config = config();
    config.lease.scan_units = scan_units;
    let mut fleet = Fleet::new(shards, Speed::default(), config);
    fleet.start(19)?;
    fleet.balanced(fleet.began).await;
    sleep(time).await;
    fleet.table.start_counting();
    let at = SystemClock.now();
    fleet.start(1)?;
    let fair = fleet.balanced(at).await;
    sleep(time.saturating_sub(SystemClock.now().since(at))).await;
    let passed = SystemClock.now().since(at).as_secs_f64();
    let units = fleet.table.seen(|seen| seen.read_units);
    let more = json!({ "fair after, s": fair, "expired": fleet.events.of("expired") });
    Ok(Row { figure: Some(units / passed), more })
}

/// A fleet, and whether records come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) shards: u32,
    pub(crate) workers: usize,
    pub(crate) liveness: Liveness,
    /// The time between two records of a shard.
    pub(crate) trickle: Option<Duration>,
}

/// A fleet at rest: write and read units a second. Then workers are killed, one after the other,
/// each once the one before is replaced and the shares are fair: until its leases are held by
/// others, the slowest of these times.
pub(crate) async fn signs_of_life(kind: Kind) -> Result<(Row, Row, Row), BoxError> {
    let mut config = config();
    config.lease.liveness = kind.liveness;
    config.lease.lookouts = kind.liveness == Liveness::Session;
    let mut fleet = Fleet::new(kind.shards, Speed::default(), config);
    fleet.trickle(kind.trickle);
    fleet.start(kind.workers)?;
    let balanced = fleet.balanced(fleet.began).await;
    sleep(Duration::from_secs(20)).await;
    fleet.table.start_counting();
    sleep(REST).await;
    let (writes, reads) = fleet.table.seen(|seen| (seen.write_units, seen.read_units));
    let seconds = REST.as_secs_f64();
    let expired = fleet.events.of("expired");
    let mut crashes = Vec::new();
    for trial in 0..CRASHES {
        let at = SystemClock.now();
        // The first in line looks for the others where there are lookouts.
        let lost = if trial % 2 == 0 { fleet.kill_last() } else { fleet.kill_first() };
        crashes.push((fleet.all_held(at).await, lost));
        fleet.start(1)?;
        fleet.balanced(SystemClock.now()).await;
        sleep(SETTLED).await;
    }
    let slowest =
        crashes.iter().try_fold(0.0, |most: f64, (time, _)| Some(time.as_ref()?.max(most)));
    let more = json!({ "balanced at first, s": balanced, "expired": expired });
    let writes = Row { figure: Some(writes / seconds), more };
    let reads = Row { figure: Some(reads / seconds), more: json!({}) };
    let more = json!({ "each time, and the leases of the killed one": crashes });
    Ok((writes, reads, Row { figure: slowest, more }))
}

/// One worker that may hold few leases of many: the most that it ever holds.
pub(crate) async fn maximum(shards: u32, leases_max: usize) -> Result<Row, BoxError> {
    let mut config = config();
    config.lease.leases_max = Some(leases_max);
    let mut fleet = Fleet::new(shards, Speed::default(), config);
    fleet.start(1)?;
    let reached =
        fleet.until(fleet.began, |held, _| held.iter().sum::<usize>() >= leases_max).await;
    sleep(Duration::from_secs(20)).await;
    let most = count(fleet.table.seen(|seen| seen.held_max));
    Ok(Row { figure: Some(most), more: json!({ "reached after, s": reached }) })
}

/// One worker that holds some leases of many: the CPU of its lease thread at rest, in percent.
pub(crate) async fn cpu(shards: u32, leases_max: usize) -> Result<Row, BoxError> {
    let mut config = config();
    config.lease.leases_max = Some(leases_max);
    config.lease.scan_units = 1_000;
    let mut fleet = Fleet::new(shards, Speed::default(), config);
    fleet.start(1)?;
    let reached =
        fleet.until(fleet.began, |held, _| held.iter().sum::<usize>() >= leases_max).await;
    sleep(Duration::from_secs(5)).await;
    let before = lease_thread_seconds()?;
    sleep(REST).await;
    let share = (lease_thread_seconds()? - before) / REST.as_secs_f64() * 100.0;
    Ok(Row {
        figure: Some(share),
        more: json!({ "reached after, s": reached, "scan every, s": 1 }),
    })
}

/// The memory of each lease in KB, from two fleets of one worker. `leases_max` is how many of its
/// leases the worker holds.
pub(crate) async fn memory(leases_max: Option<usize>) -> Result<Row, BoxError> {
    let mut used = Vec::new();
    for shards in [1_000, 5_000] {
        let before = resident_kb()?;
        let mut config = config();
        config.lease.leases_max = leases_max;
        config.lease.scan_units = 10_000;
        let mut fleet = Fleet::new(shards, Speed::default(), config);
        fleet.start(1)?;
        let held = leases_max.unwrap_or(usize::MAX);
        let shards = usize::try_from(shards)?;
        fleet
            .until(fleet.began, |counts, _| counts.iter().sum::<usize>() >= held.min(shards))
            .await;
        sleep(Duration::from_secs(10)).await;
        used.push((count(shards), resident_kb()? - before));
    }
    let figure = match used.as_slice() {
        [(few, small), (many, large)] => Some((large - small) / (many - few)),
        _ => None,
    };
    Ok(Row { figure, more: json!({ "shards and KB": used, "includes": "the table in memory" }) })
}

/// The first start: until all leases exist.
pub(crate) async fn first_start(shards: u32, speed: Speed) -> Result<Row, BoxError> {
    let mut config = config();
    config.lease.leases_max = Some(1);
    let mut fleet = Fleet::new(shards, speed, config);
    fleet.start(1)?;
    let exist = usize::try_from(shards)?;
    let figure = fleet.until(fleet.began, |held, _| held.iter().any(|it| *it > 0)).await;
    let leases = fleet.table.len();
    let figure = figure.filter(|_| leases == exist);
    Ok(Row { figure, more: json!({ "leases": leases }) })
}

/// The CPU seconds of all lease threads of this process.
fn lease_thread_seconds() -> Result<f64, BoxError> {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() != "kcl-leases" {
            continue;
        }
        let stat = fs::read_to_string(task.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        for field in [12, 13] {
            ticks += fields.get(field).and_then(|it| it.parse::<u32>().ok()).unwrap_or(0);
        }
    }
    Ok(f64::from(ticks) / 100.0)
}

/// The resident memory of this process in KB.
fn resident_kb() -> Result<f64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).unwrap_or("0").parse()?)
}
