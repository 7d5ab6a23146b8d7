//! Puts records at a steady rate, and records their ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::backend::{Clock as _, SystemClock};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The number of partition keys. Their hash keys are spread evenly, so that each of up to as many
/// shards has one.
const KEYS: u64 = 600;

/// How many hash keys apart two keys in a row are, so that every shard gets records all the time.
const STRIDE: u64 = 263;

/// A running producer.
#[derive(Debug)]
pub struct Producer {
    put: Arc<Mutex<BTreeMap<String, i64>>>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Producer {
    /// Starts putting `per_second` records a second into `stream`. The records of a key are
    /// numbered and put in order.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test's own task, stopped and joined")]
    pub fn start(client: Client, stream: &str, per_second: u32) -> Self {
        let put = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = CancellationToken::new();
        let work = produce(client, stream.to_owned(), per_second, Arc::clone(&put), stop.clone());
        Self { put, stop, task: tokio::spawn(work) }
    }

    /// Returns the number of puts so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns when each record was put, in milliseconds since the epoch.
    #[must_use]
    pub fn times(&self) -> BTreeMap<String, i64> {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the producer. Returns the ids of all records.
    ///
    /// # Errors
    /// If a record could not be put.
    pub async fn stop(self) -> anyhow::Result<BTreeSet<String>> {
        self.stop.cancel();
        self.task.await??;
        let put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(put.keys().cloned().collect())
    }
}

async fn produce(
    client: Client,
    stream: String,
    per_second: u32,
    put: Arc<Mutex<BTreeMap<String, i64>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0_u64;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        number += 1;
        let nth = number % KEYS;
        let key = format!("key-{nth}");
        let id = format!("{key}.{number}");
        let width = u128::MAX / u128::from(KEYS);
        let hash_key = width * u128::from(nth * STRIDE % KEYS) + width / 2;
        let at = SystemClock.time_of_day().epoch_millis();
        client
            .put_record()
            .stream_name(&stream)
            .partition_key(&key)
            .explicit_hash_key(hash_key.to_string())
            .data(Blob::new(format!("{id}|some payload")))
            .send()
            .await?;
        put.lock().unwrap_or_else(PoisonError::into_inner).insert(id, at);
    }
}
