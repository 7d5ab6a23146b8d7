//! The memory of a worker of 64 shards full of records of 1 MiB, some of which are slow.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl_tests::fleet::{Fleet, until};
use serde_json::json;

use crate::{Args, Row, print};

const SHARDS: i32 = 64;
const RECORDS: usize = 12;
const RECORD_SIZE: usize = 1024 * 1024 - 64;

/// How many records one `PutRecords` call takes: it may bring 5 MiB.
const PUT_MAX: usize = 4;

const BUDGET_MIB: u32 = 128;

/// Every eighth shard takes 5 s for each record.
const EXTRA: [&str; 7] =
    ["--memory-mib", "128", "--slow-every", "8", "--work-us", "5000000", "--count-only"];

const LIMIT: Duration = Duration::from_mins(5);

pub(crate) async fn measure(args: &Args) -> anyhow::Result<()> {
    let what = "resident MB, 64 shards of 1 MiB records, some slow, budget 128 MiB";
    let floor = f64::from(BUDGET_MIB) * 1.048_576 + 100.0;
    print("memory", what, floor, row(args).await?);
    Ok(())
}

async fn row(args: &Args) -> anyhow::Result<Row> {
    let mut fleet = Fleet::start(&args.worker, SHARDS, &EXTRA).await?;
    fill(&fleet.kinesis(), fleet.stream()).await?;
    fleet.spawn("a")?;
    let is_fast = |shard: usize| !shard.is_multiple_of(8);
    let (mut most, mut shards) = (0, BTreeMap::new());
    until("every shard moves, and the fast ones are done", LIMIT, async || {
        most = most.max(fleet.resident_bytes("a")?);
        shards = delivered(&fleet)?;
        let at = |shard: usize| shards.get(&shard).copied().unwrap_or(0);
        Ok((0..64).all(|shard| at(shard) >= if is_fast(shard) { RECORDS } else { 1 }))
    })
    .await?;
    ensure!(shards.len() == 64, "every shard was delivered");
    let worst = f64::from(u32::try_from(most / 1_000)?) / 1_000.0;
    let slow = (0..64).filter(|shard| !is_fast(*shard)).map(|shard| shards.get(&shard));
    let slow: Vec<_> = slow.flatten().copied().collect();
    Ok(Row { worst, more: json!({ "records of fast shards": RECORDS, "of slow ones": slow }) })
}

/// Puts as many records into each shard.
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

/// How many records of each shard were delivered.
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
