//! A stream of many shards, with a record now and then or none at all.

use std::time::Duration;

use async_trait::async_trait;
use kcl_core::backend::{
    Clock as _, Fetched, ReadFrom, RecordSource, ShardFilter, ShardReader, SourceError, SystemClock,
};
use kcl_core::model::{
    HashKeyRange, Moment, Position, Record, SequenceNumber, Shard, ShardId, StreamArn,
    StreamDescription, StreamName, Timestamp,
};
use tokio::time::sleep;

/// How long a read takes.
const READ_TIME: Duration = Duration::from_millis(20);

/// A stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) shards: u32,
    /// The time between two records of a shard, or `None` if there are none.
    pub(crate) trickle: Option<Duration>,
}

#[async_trait]
impl RecordSource for Stream {
    async fn describe(&self) -> Result<StreamDescription, SourceError> {
        let (name, arn) = (StreamName::new("large"), StreamArn::new("arn:aws:kinesis:large"));
        let (created, now) =
            (Timestamp::from_epoch_millis(1_000), Timestamp::from_epoch_millis(1_700_000_000_000));
        Ok(StreamDescription::new(name, arn, created, now))
    }

    async fn list_shards(&self, _: ShardFilter) -> Result<Vec<Shard>, SourceError> {
        sleep(READ_TIME * self.shards.div_ceil(1_000)).await;
        let width = u128::MAX / u128::from(self.shards);
        let shard = |number: u32| {
            let start = u128::from(number) * width;
            let end = if number + 1 == self.shards { u128::MAX } else { start + width - 1 };
            let id = ShardId::new(format!("shardId-{number:012}"));
            Shard::new(id, HashKeyRange { start, end }, u128::from(number + 1).into())
        };
        Ok((0..self.shards).map(shard).collect())
    }

    async fn open(&self, _: &ShardId, _: ReadFrom) -> Result<Box<dyn ShardReader>, SourceError> {
        sleep(READ_TIME).await;
        Ok(Box::new(Shallow { trickle: self.trickle, put: SystemClock.now() }))
    }
}

/// A reader of a shard.
#[derive(Debug)]
struct Shallow {
    trickle: Option<Duration>,
    /// When the last record came, or the reader.
    put: Moment,
}

#[async_trait]
impl ShardReader for Shallow {
    async fn read(&mut self, _: usize) -> Result<Fetched, SourceError> {
        sleep(READ_TIME).await;
        let now = SystemClock.now();
        let is_due = self.trickle.is_some_and(|pause| now.since(self.put) >= pause);
        let mut records = Vec::new();
        if is_due {
            self.put = now;
            let arrived = SystemClock.time_of_day();
            let number = SequenceNumber::from(u128::from(arrived.epoch_millis().unsigned_abs()));
            records.push(Record::new(Position::of(number), "key", "data", Some(arrived)));
        }
        Ok(Fetched::new(records, Some(Duration::ZERO), None))
    }
}
