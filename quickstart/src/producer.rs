//! Puts records at a steady rate, and reports each put.

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_kinesis::primitives::Blob;
use kcl_core::backend::{Clock as _, SystemClock};
use kcl_core::model::{Moment, SequenceNumber, ShardId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::stream::Stream;

/// The rate of puts.
pub(crate) const RECORDS_PER_SECOND: u32 = 100;

/// The number of concurrent calls. A key has one lane, so that its records are put in order.
const LANES: u32 = 4;

/// The most puts that wait to be read; the producer waits when it reaches them.
const REPORTED_MAX: usize = 4_096;

/// The put of a record.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// When the service confirmed it.
    pub(crate) at: Moment,
    /// The record's number.
    pub(crate) number: u64,
    /// The record's shard.
    pub(crate) shard: ShardId,
    /// The record's position in the shard.
    pub(crate) sequence: SequenceNumber,
}

/// A running producer. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Producer {
    lanes: JoinSet<anyhow::Result<()>>,
    reported: mpsc::Receiver<Put>,
    stop: watch::Sender<bool>,
}

impl Producer {
    /// Starts putting records, with `keys` keys for each lane.
    pub(crate) fn start(stream: &Stream, keys: u32) -> Self {
        let (report, reported) = mpsc::channel(REPORTED_MAX);
        let stop = watch::Sender::new(false);
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let lane = Lane { number: lane, keys, stream: stream.clone(), report: report.clone() };
            lanes.spawn(lane.run(stop.subscribe()));
        }
        Self { lanes, reported, stop }
    }

    /// Returns the puts since the last call.
    pub(crate) fn reported(&mut self) -> Vec<Put> {
        std::iter::from_fn(|| self.reported.try_recv().ok()).collect()
    }

    /// Asks the producer to stop. Pending calls complete.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns whether the producer has stopped and every put is read.
    ///
    /// # Errors
    /// If a record could not be put.
    pub(crate) fn is_done(&mut self) -> anyhow::Result<bool> {
        while let Some(ended) = self.lanes.try_join_next() {
            ended.context("the producer panicked")??;
        }
        Ok(self.lanes.is_empty() && self.reported.is_empty())
    }
}

/// Puts every [`LANES`]th record.
struct Lane {
    number: u32,
    keys: u32,
    stream: Stream,
    report: mpsc::Sender<Put>,
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
            if self.report.send(put).await.is_err() {
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
        let reply = put.send().await.context("cannot put a record")?;
        Ok(Put {
            at: SystemClock.now(),
            number,
            shard: ShardId::new(reply.shard_id()),
            sequence: reply.sequence_number().parse()?,
        })
    }
}
