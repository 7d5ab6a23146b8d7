//! One function for each row.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_tests::audit::Audit;
use kcl_tests::fleet::{Fleet, until};
use rand::RngExt as _;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::sleep;

use crate::{Args, Row};

const SHARDS: i32 = 12;
const PER_SECOND: u32 = 120;
const LIMIT: Duration = Duration::from_mins(1);
const MINUTE: Duration = Duration::from_mins(1);

pub(crate) fn now() -> i64 {
    SystemClock.time_of_day().epoch_millis()
}

fn seconds(millis: i64) -> f64 {
    f64::from(i32::try_from(millis).unwrap_or(i32::MAX)) / 1_000.0
}

/// Waits for a random part of the period of renewals and scans.
#[expect(clippy::disallowed_methods, reason = "a strike must not lock onto the fleet's timers")]
async fn any_moment() {
    let millis = rand::rng().random_range(500..4_000);
    sleep(Duration::from_millis(millis)).await;
}

async fn start_fleet(args: &Args, shards: i32) -> anyhow::Result<Fleet> {
    let of_workers = args.of_workers();
    Fleet::start(&args.worker, shards, &of_workers.each_ref().map(String::as_str)).await
}

async fn fleet(args: &Args, workers: &[&str]) -> anyhow::Result<Fleet> {
    let mut fleet = start_fleet(args, SHARDS).await?;
    for worker in workers {
        fleet.spawn(worker)?;
    }
    let each = usize::try_from(SHARDS)? / workers.len();
    fleet.balanced(workers, each, LIMIT).await?;
    Ok(fleet)
}

pub(crate) async fn start(args: &Args) -> anyhow::Result<Row> {
    let mut all = Vec::new();
    for _ in 0..args.trials {
        let mut fleet = start_fleet(args, 4).await?;
        let producer = fleet.produce(PER_SECOND);
        until("there are records", LIMIT, async || Ok(producer.count() > 50)).await?;
        let started = now();
        fleet.spawn("a")?;
        let first = async || Ok(!fleet.audit()?.deliveries.is_empty());
        until("the first record", LIMIT, first).await?;
        let at = fleet.audit()?.deliveries.first().context("a delivery")?.at;
        all.push(seconds(at - started));
        let produced = producer.stop().await?;
        fleet.delivered(&produced, LIMIT).await?;
    }
    Ok(Row { worst: worst(&all), more: json!({ "all": all }) })
}

/// Returns how long it takes until a worker other than `victim` delivered from each of `shards`.
pub(crate) async fn elsewhere(
    fleet: &Fleet,
    victim: &str,
    struck_at: i64,
    shards: &[String],
) -> anyhow::Result<f64> {
    let mut slowest = 0;
    until("every shard is delivered elsewhere", LIMIT, async || {
        let audit = fleet.audit()?;
        let next = audit.next_elsewhere(victim, struck_at);
        let times: Option<Vec<i64>> =
            shards.iter().map(|shard| next.get(shard.as_str()).copied()).collect();
        slowest = times.as_ref().and_then(|times| times.iter().max().copied()).unwrap_or(0);
        Ok(times.is_some())
    })
    .await?;
    Ok(seconds(slowest - struck_at))
}

pub(crate) async fn shards_of(fleet: &Fleet, worker: &str) -> anyhow::Result<Vec<String>> {
    let leases = fleet.leases().await?;
    let owned = leases
        .iter()
        .filter(|lease| !lease.is_ended())
        .filter(|lease| lease.owner.as_ref().is_some_and(|owner| owner.name() == worker));
    Ok(owned.map(|lease| lease.key.to_string()).collect())
}

pub(crate) async fn crash(args: &Args) -> anyhow::Result<Row> {
    let mut fleet = fleet(args, &["a", "b", "c0"]).await?;
    let producer = fleet.produce(PER_SECOND);
    let mut all = Vec::new();
    let mut struck = BTreeMap::new();
    for trial in 0..args.trials {
        any_moment().await;
        let (victim, next) = (format!("c{trial}"), format!("c{}", trial + 1));
        let shards = shards_of(&fleet, &victim).await?;
        let at = fleet.signal(&victim, Signal::KILL)?;
        fleet.gone(&victim, LIMIT).await?;
        all.push(elsewhere(&fleet, &victim, at, &shards).await?);
        struck.insert(victim, at);
        fleet.spawn(&next)?;
        fleet.balanced(&["a", "b", &next], 4, LIMIT).await?;
    }
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let oldest = oldest_repeat(&audit, &struck)?;
    // Deliveries since the last sign of life was sent, and the batch in hand.
    let allowed = args.expiry().as_secs_f64() / 3.0 + 1.5;
    ensure!(oldest <= allowed, "a record was delivered again {oldest} s after its first delivery");
    let more = json!({
        "all": all, "repeated": audit.repeated(), "produced": produced.len(),
        "oldest_repeat_before_the_kill_s": oldest,
    });
    Ok(Row { worst: worst(&all), more })
}

/// One worker whose shards get ten records a second each: from the put to the delivery, the median
/// of half a minute.
pub(crate) async fn latency(args: &Args) -> anyhow::Result<Row> {
    let fleet = fleet(args, &["a"]).await?;
    let producer = fleet.produce(PER_SECOND);
    until("there are records", LIMIT, async || Ok(producer.count() > 200)).await?;
    let from = now();
    sleep(MINUTE / 2).await;
    let put = producer.times();
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let deliveries = audit.deliveries.iter().filter_map(|it| Some(it.at - put.get(&it.id)?));
    let mut waits: Vec<_> = deliveries.collect();
    waits.sort_unstable();
    let part = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or(0);
    let rate = waits.len() / usize::try_from((now() - from) / 1_000)?.max(1);
    let more = json!({ "p99_s": seconds(part(99)), "records": waits.len(), "a second": rate });
    Ok(Row { worst: seconds(part(50)), more })
}

/// Returns how long before the kill the oldest repeated record was first delivered.
fn oldest_repeat(audit: &Audit, struck: &BTreeMap<String, i64>) -> anyhow::Result<f64> {
    let mut first = BTreeMap::new();
    let mut oldest = 0;
    for delivery in &audit.deliveries {
        if let Some((worker, at)) = first.get(delivery.id.as_str()) {
            let struck_at = struck.get::<String>(worker).context("repeated without a kill")?;
            oldest = oldest.max(struck_at - at);
        } else {
            first.insert(delivery.id.as_str(), (delivery.worker.clone(), delivery.at));
        }
    }
    Ok(seconds(oldest))
}

/// The stop of one of three workers, and the longest gap of any shard meanwhile.
pub(crate) async fn stop(args: &Args) -> anyhow::Result<(Row, Row)> {
    let mut fleet = fleet(args, &["a", "b", "c0"]).await?;
    let producer = fleet.produce(PER_SECOND);
    any_moment().await;
    let from = now();
    let (mut all, mut gone) = (Vec::new(), Vec::new());
    for trial in 0..args.trials {
        any_moment().await;
        let (victim, next) = (format!("c{trial}"), format!("c{}", trial + 1));
        let shards = shards_of(&fleet, &victim).await?;
        let at = fleet.signal(&victim, Signal::TERM)?;
        ensure!(fleet.gone(&victim, LIMIT).await?, "{}", fleet.errors(&victim));
        gone.push(seconds(now() - at));
        all.push(elsewhere(&fleet, &victim, at, &shards).await?);
        fleet.spawn(&next)?;
        fleet.balanced(&["a", "b", &next], 4, LIMIT).await?;
    }
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let silence = Row { worst: longest_gap(&audit, from), more: json!({ "stops": args.trials }) };
    let more = json!({ "all": all, "process_gone_s": gone, "repeated": audit.repeated() });
    Ok((Row { worst: worst(&all), more }, silence))
}

/// The longest time since `from` in which a shard delivered nothing, in seconds.
fn longest_gap(audit: &Audit, from: i64) -> f64 {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut longest = 0;
    for delivery in audit.deliveries.iter().filter(|delivery| delivery.at >= from) {
        let before = last.insert(&delivery.shard, delivery.at).unwrap_or(delivery.at);
        longest = longest.max(delivery.at - before);
    }
    seconds(longest)
}

pub(crate) async fn roll(args: &Args) -> anyhow::Result<Row> {
    let mut fleet = fleet(args, &["a", "b", "c"]).await?;
    let producer = fleet.produce(PER_SECOND);
    any_moment().await;
    let from = now();
    for (old, new) in [("a", "d"), ("b", "e"), ("c", "f")] {
        fleet.spawn(new)?;
        any_moment().await;
        fleet.signal(old, Signal::TERM)?;
        ensure!(fleet.gone(old, LIMIT).await?, "{}", fleet.errors(old));
    }
    fleet.balanced(&["d", "e", "f"], 4, LIMIT).await?;
    any_moment().await;
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let more = json!({ "repeated": audit.repeated(), "produced": produced.len() });
    Ok(Row { worst: longest_gap(&audit, from), more })
}

pub(crate) async fn scale(args: &Args) -> anyhow::Result<Row> {
    let mut all = Vec::new();
    let mut repeated = 0;
    for _ in 0..args.trials {
        let mut fleet = fleet(args, &["a", "b"]).await?;
        let producer = fleet.produce(PER_SECOND);
        any_moment().await;
        let at = now();
        fleet.spawn("c")?;
        fleet.spawn("d")?;
        fleet.balanced(&["a", "b", "c", "d"], 3, LIMIT).await?;
        all.push(seconds(now() - at));
        let produced = producer.stop().await?;
        repeated += fleet.delivered(&produced, LIMIT).await?.repeated();
    }
    Ok(Row { worst: worst(&all), more: json!({ "all": all, "repeated": repeated }) })
}

pub(crate) async fn reshard(args: &Args) -> anyhow::Result<Row> {
    let mut all = Vec::new();
    for _ in 0..args.trials.min(3) {
        let fleet = fleet(args, &["a", "b", "c"]).await?;
        let producer = fleet.produce(PER_SECOND);
        let client = fleet.kinesis();
        any_moment().await;
        let parents = ["shardId-000000000000", "shardId-000000000001", "shardId-000000000002"];
        fleet.split(&client, parents[0]).await?;
        fleet.merge(&client, parents[1], parents[2]).await?;
        let children = ["shardId-000000000012", "shardId-000000000013", "shardId-000000000014"];
        until("the children are delivered", LIMIT, async || {
            let audit = fleet.audit()?;
            let next = audit.next_elsewhere("", 0);
            Ok(children.iter().all(|child| next.contains_key(child)))
        })
        .await?;
        let produced = producer.stop().await?;
        let audit = fleet.delivered(&produced, LIMIT).await?;
        let last_of = |shard: &str| {
            let of = audit.deliveries.iter().filter(|delivery| delivery.shard == shard);
            of.map(|delivery| delivery.at).max().unwrap_or(0)
        };
        let first = audit.next_elsewhere("", 0);
        for (child, parents) in [
            (children[0], &parents[..1]),
            (children[1], &parents[..1]),
            (children[2], &parents[1..]),
        ] {
            let last = parents.iter().map(|parent| last_of(parent)).max().unwrap_or(0);
            let first = first.get(child).context("a delivered child")?;
            all.push(seconds(first - last));
        }
    }
    Ok(Row { worst: worst(&all), more: json!({ "all": all }) })
}

/// Returns the number of calls of each DynamoDB operation during `wait`.
async fn calls_during(fleet: &Fleet, wait: Duration) -> BTreeMap<String, u64> {
    let before = fleet.stack().calls();
    sleep(wait).await;
    let mut calls = fleet.stack().calls();
    for (name, count) in &mut calls {
        *count -= before.get(name).copied().unwrap_or(0);
    }
    calls.retain(|name, count| name.starts_with("DynamoDB") && *count > 0);
    calls
}

pub(crate) async fn steady(args: &Args) -> anyhow::Result<Row> {
    let fleet = fleet(args, &["a", "b", "c"]).await?;
    let producer = fleet.produce(PER_SECOND);
    any_moment().await;
    let calls = calls_during(&fleet, MINUTE).await;
    let writes: u64 =
        ["UpdateItem", "PutItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"]
            .iter()
            .filter_map(|name| calls.get(&format!("DynamoDB.{name}")))
            .sum();
    let produced = producer.stop().await?;
    fleet.delivered(&produced, LIMIT).await?;
    let worst = f64::from(u32::try_from(writes)?);
    Ok(Row { worst, more: json!({ "calls": calls }) })
}

pub(crate) async fn idle(args: &Args) -> anyhow::Result<Row> {
    let fleet = fleet(args, &["a"]).await?;
    any_moment().await;
    let before = fleet.cpu("a")?;
    let calls = calls_during(&fleet, MINUTE).await;
    let cpu = fleet.cpu("a")?.saturating_sub(before);
    let resident = fleet.resident_bytes("a")?;
    let megabytes = f64::from(u32::try_from(resident / 1_000)?) / 1_000.0;
    let percent = cpu.as_secs_f64() / MINUTE.as_secs_f64() * 100.0;
    Ok(Row { worst: megabytes, more: json!({ "cpu_percent_of_a_core": percent, "calls": calls }) })
}

fn worst(all: &[f64]) -> f64 {
    all.iter().copied().fold(0.0, f64::max)
}
