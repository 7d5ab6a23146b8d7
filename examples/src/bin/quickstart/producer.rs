//! Puts records at a steady pace, and tells of each of them.

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::model::{Moment, SequenceNumber, ShardId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::stream::Stream;

/// How many records are put each second.
pub(crate) const RECORDS_PER_SECOND: u32 = 100;

/// How many calls are under way at once. A key has one lane: its records are put one after another.
const LANES: u32 = 4;

/// How many records wait to be written down at most; then the producer waits.
const TOLD_MAX: usize = 4_096;

/// A record that was put.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// When the service said so.
    pub(crate) at: Moment,
    /// Which record it is.
    pub(crate) number: u64,
    /// Where the service put it.
    pub(crate) shard: ShardId,
    /// Where in the shard.
    pub(crate) sequence: SequenceNumber,
}

/// A running producer. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Producer {
    lanes: JoinSet<anyhow::Result<()>>,
    told: mpsc::Receiver<Put>,
    stop: watch::Sender<bool>,
}

impl Producer {
    /// Starts to put records under `keys` keys for each lane.
    pub(crate) fn start(stream: &Stream, keys: u32) -> Self {
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let stop = watch::Sender::new(false);
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let lane = Lane { number: lane, keys, stream: stream.clone(), tell: tell.clone() };
            lanes.spawn(lane.run(stop.subscribe()));
        }
        Self { lanes, told, stop }
    }

    /// The records that were put since the last call.
    pub(crate) fn news(&mut self) -> Vec<Put> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    /// Asks it to stop: what is under way is put to its end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether it has stopped, and all is told; an error if it could not put a record.
    pub(crate) fn is_done(&mut self) -> anyhow::Result<bool> {
        while let Some(ended) = self.lanes.try_join_next() {
            ended.context("the producer broke")??;
        }
        Ok(self.lanes.is_empty() && self.told.is_empty())
    }
}

/// Puts every fourth record.
struct Lane {
    number: u32,
    keys: u32,
    stream: Stream,
    tell: mpsc::Sender<Put>,
}

impl Lane {
    async fn run(self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut ticks = interval(Duration::from_secs(1) * LANES / RECORDS_PER_SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0_u64.. {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => {}
            }
            let put = self.put(round).await?;
            if self.tell.send(put).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn put(&self, round: u64) -> anyhow::Result<Put> {
        let (lanes, keys) = (u64::from(LANES), u64::from(self.keys.max(1)));
        let number = round.saturating_mul(lanes).saturating_add(self.number.into());
        let key = format!("sensor-{}-{}", self.number, round % keys);
        let put = self.stream.kinesis().put_record().stream_name(self.stream.name());
        let put = put.partition_key(key).data(Blob::new(number.to_string()));
        let reply = put.send().await.context("a record could not be put")?;
        Ok(Put {
            at: SystemClock.now(),
            number,
            shard: ShardId::new(reply.shard_id()),
            sequence: reply.sequence_number().parse()?,
        })
    }
}
