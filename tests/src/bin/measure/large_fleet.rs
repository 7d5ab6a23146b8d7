//! Measures three real processes that read 600 shards, with the stack on the same processors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl_tests::fleet::Fleet;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rows::{elsewhere, now, shards_of};
use crate::{Args, Row, print};

const SHARDS: i32 = 600;

/// 0.2 records a second for each shard.
const PER_SECOND: u32 = 120;

/// How often the table is read: often enough for these figures, and seldom enough to leave the
/// processors to the fleet.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const LIMIT: Duration = Duration::from_mins(2);

/// The rows, which one fleet yields in this order.
const ROWS: [&str; 4] = ["fleet-600-start", "fleet-600-read", "fleet-600-crash", "fleet-600-join"];

/// Prints all rows if one of them is selected.
pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    if !ROWS.iter().any(|row| row.contains(&args.only)) {
        return Ok(());
    }
    let mut fleet = Fleet::start(&args.worker, SHARDS, &[]).await?;
    let producer = fleet.produce(PER_SECOND);
    let begun = Instant::now();
    for name in ["a", "b", "c"] {
        fleet.spawn(name)?;
    }
    let figure = fair(&fleet, &["a", "b", "c"], begun).await?;
    let row = Row { worst: figure, more: json!({}) };
    print("fleet-600-start", "600 shards, 3 processes: fair shares, s", 10.0, row);

    sleep(Duration::from_secs(20)).await; // The fleet at rest, with a record for each shard.
    let audit = fleet.audit()?;
    let read: BTreeSet<_> = audit.deliveries.iter().map(|it| it.shard.as_str()).collect();
    let unread = u32::try_from(600_usize.saturating_sub(read.len()))?;
    let more = json!({ "read": read.len(), "repeated": audit.repeated() });
    let worst = f64::from(unread) + f64::from(u32::try_from(audit.repeated())?);
    print("fleet-600-read", "shards not read and records repeated", 0.0, Row { worst, more });

    let shards = shards_of(&fleet, "c").await?;
    let at = fleet.signal("c", Signal::KILL)?;
    fleet.gone("c", LIMIT).await?;
    let worst = elsewhere(&fleet, "c", at, &shards).await?;
    let more = json!({ "shards of the killed one": shards.len() });
    print(
        "fleet-600-crash",
        "SIGKILL to the slowest shard delivered, s",
        17.0,
        Row { worst, more },
    );

    let (begun, joined) = (Instant::now(), now());
    fleet.spawn("d")?;
    let worst = fair(&fleet, &["a", "b", "d"], begun).await?;
    let produced = producer.stop().await?;
    let audit = fleet.delivered(&produced, LIMIT).await?;
    let again = audit.deliveries.iter().filter(|it| it.at >= joined).count();
    let more = json!({ "repeated in all": audit.repeated(), "delivered since": again });
    print(
        "fleet-600-join",
        "a newcomer after the crash has its share, s",
        4.0,
        Row { worst, more },
    );
    Ok(())
}

/// Waits until the shares of these workers are fair. Returns the seconds since `begun`.
async fn fair(fleet: &Fleet, workers: &[&str], begun: Instant) -> anyhow::Result<f64> {
    let each = usize::try_from(SHARDS)? / workers.len();
    let fair: BTreeMap<String, usize> =
        workers.iter().map(|worker| ((*worker).to_owned(), each)).collect();
    while fleet.held().await?.as_ref() != Some(&fair) {
        anyhow::ensure!(begun.elapsed() < LIMIT, "not fair: {:?}", fleet.held().await?);
        sleep(LOOK_EVERY).await;
    }
    Ok(begun.elapsed().as_secs_f64())
}
