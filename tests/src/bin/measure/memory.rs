//! Measures the memory of a worker of 64 shards full of records of 1 MiB. Some shards are slow.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl_tests::fleet::{Fleet, until};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::{Args, Row, print};

const SHARDS: i32 = 64;
const RECORDS: usize = 8;
const RECORD_SIZE: usize = 1024 * 1024 - 64;

/// The number of records of one `PutRecords` call, which may hold 5 MiB.
const PUT_MAX: usize = 4;

const BUDGET_MIB: u32 = 128;

/// A slow shard takes 2 s for each record.
const EXTRA: [&str; 5] = ["--memory-mib", "128", "--work-us", "2000000", "--count-only"];

/// How long putting, and delivering, all records may take.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    let what = "resident MB, 64 shards of 1 MiB records, some slow, budget 128 MiB";
    let floor = f64::from(BUDGET_MIB) * 1.048_576 + 100.0;
    print("memory", what, floor, row(args).await?);
    Ok(())
}

async fn row(args: &Args) -> anyhow::Result<Row> {
    let slow_every = args.slow_every.to_string();
    let extra = [&EXTRA[..], &["--slow-every", &slow_every]].concat();
    let mut fleet = Fleet::start(&args.worker, SHARDS, &extra).await?;
    let filled = timeout(LIMIT, fill(&fleet.kinesis(), fleet.stream())).await;
    filled.context("the shards were not filled in time")??;
    fleet.spawn("a")?;
    let begun = Instant::now();
    let is_fast = |shard: usize| !shard.is_multiple_of(args.slow_every);
    let mut shards = BTreeMap::new();
    let moved = until("every shard moves, and the fast ones are done", LIMIT, async || {
        shards = delivered(&fleet)?;
        let at = |shard: usize| shards.get(&shard).copied().unwrap_or(0);
        Ok((0..64).all(|shard| at(shard) >= if is_fast(shard) { RECORDS } else { 1 }))
    });
    moved.await.with_context(|| format!("records of each shard: {shards:?}"))?;
    // The kernel records the peak, so that none falls between two samples.
    let most = fleet.peak_resident_bytes("a")?;
    let worst = f64::from(u32::try_from(most / 1_000)?) / 1_000.0;
    let slow: Vec<_> =
        shards.iter().filter(|(shard, _)| !is_fast(**shard)).map(|it| it.1).collect();
    let seconds = begun.elapsed().as_secs();
    let more = json!({ "records of fast shards": RECORDS, "of slow ones": slow, "s": seconds });
    Ok(Row { worst, more })
}

/// Puts the same number of records into each shard.
async fn fill(client: &Client, stream: &str) -> anyhow::Result<()> {
    let width = u128::MAX / 64;
    for shard in 0..64 {
        let entry = || {
            PutRecordsRequestEntry::builder()
                .partition_key("key")
                .explicit_hash_key((width * shard + width / 2).to_string())
                .data(Blob::new(vec![b'x'; RECORD_SIZE]))
                .build()
        };
        for _ in 0..RECORDS / PUT_MAX {
            let entries = (0..PUT_MAX).map(|_| entry()).collect::<Result<Vec<_>, _>>()?;
            let put = client.put_records().stream_name(stream).set_records(Some(entries));
            let put = put.send().await?;
            ensure!(put.failed_record_count().unwrap_or(0) == 0, "a record was refused");
        }
    }
    Ok(())
}

/// Returns the number of delivered records of each shard.
fn delivered(fleet: &Fleet) -> anyhow::Result<BTreeMap<usize, usize>> {
    let mut shards = BTreeMap::new();
    for line in fleet.log("a").lines() {
        let mut words = line.split(' ').skip(2);
        let (Some(shard), Some(count)) = (words.next(), words.next()) else { continue };
        let number: usize = shard.rsplit('-').next().unwrap_or_default().parse()?;
        *shards.entry(number).or_default() += count.parse::<usize>()?;
    }
    Ok(shards)
}
