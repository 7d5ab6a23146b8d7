//! The stream of a world, and who puts records into it.

use std::sync::Arc;
use std::time::Duration;

use kcl_core::model::{Shard, ShardId};

use super::clock::ServiceClock;
use super::producer::{Produced, Producer};
use crate::error::SimError;
use crate::memory::{LatePage, MemoryStream};

/// The stream's name.
pub(crate) const STREAM: &str = "simulated";

const NOT_OPEN: &str = "it is not an open shard: open_shards() has those";

/// The stream and its producer.
#[derive(Debug)]
pub(crate) struct Stream {
    memory: MemoryStream,
    producer: Option<Producer>,
    /// Whether the producer's next record is on the agenda.
    is_put_due: bool,
    is_recreated: bool,
}

impl Stream {
    pub(crate) fn new(shards: usize, clock: ServiceClock) -> Self {
        let memory = MemoryStream::new(STREAM, shards, Arc::new(clock));
        Self { memory, producer: None, is_put_due: false, is_recreated: false }
    }

    /// Replaces the producer. Returns whether its first record must be put on the agenda.
    pub(crate) fn produce(&mut self, producer: Producer) -> bool {
        self.producer = Some(producer);
        !std::mem::replace(&mut self.is_put_due, true)
    }

    pub(crate) fn stop_producing(&mut self) {
        self.producer = None;
    }

    /// Returns what the producer puts now, and after which pause it puts the next record.
    pub(crate) fn next_put(&mut self) -> Option<(Produced, Duration)> {
        let next = self.producer.as_mut().map(Producer::draw);
        self.is_put_due = next.is_some();
        next
    }

    /// Makes shard lists stale or torn; see [`MemoryStream::set_page_shards`].
    pub(crate) fn set_list_lag(&self, lag: Duration, page_shards: usize, late: LatePage) {
        self.memory.set_list_lag(lag);
        self.memory.set_page_shards(page_shards, late);
    }

    /// Makes shard lists whole and up to date, and subscriptions last.
    pub(crate) fn calm(&self) {
        self.memory.lose_pushes(0);
        self.memory.tear_pushes(0);
        self.set_list_lag(Duration::ZERO, usize::MAX, LatePage::First);
    }

    /// Deletes the stream and creates another one of the same name, with records of its own.
    pub(crate) fn recreate(&mut self, shards: usize) {
        self.stop_producing();
        self.is_recreated = true;
        self.memory.recreate(shards);
        for high in 0..16_u128 {
            drop(self.memory.put_at(high << 124, "key", "of another stream"));
        }
    }

    /// Deletes the stream.
    pub(crate) fn delete(&mut self) {
        self.stop_producing();
        self.is_recreated = true;
        self.memory.delete();
    }

    /// Splits a shard in the middle of its hash keys.
    pub(crate) fn split(&self, shard: &ShardId) -> Result<(), SimError> {
        let not = |why| SimError::Shard { shard: shard.clone(), why };
        let shards = self.open_shards();
        let open = shards.iter().find(|open| open.id == *shard).ok_or_else(|| not(NOT_OPEN))?;
        let range = open.hash_range;
        let middle = range.start + (range.end - range.start) / 2;
        if self.memory.split(shard, middle).is_err() {
            return Err(not("it has too few hash keys: split another one"));
        }
        Ok(())
    }

    /// Merges a shard with its neighbour above, and returns that neighbour.
    pub(crate) fn merge(&self, shard: &ShardId) -> Result<ShardId, SimError> {
        let not = |why| SimError::Shard { shard: shard.clone(), why };
        let shards = self.open_shards();
        let open = shards.iter().find(|open| open.id == *shard).ok_or_else(|| not(NOT_OPEN))?;
        let next = open.hash_range.end.checked_add(1);
        let next = shards.iter().find(|other| Some(other.hash_range.start) == next);
        let next = next.ok_or_else(|| not("no open shard lies above it: merge another one"))?;
        if self.memory.merge(shard, &next.id).is_err() {
            return Err(not(NOT_OPEN));
        }
        Ok(next.id.clone())
    }

    pub(crate) const fn is_recreated(&self) -> bool {
        self.is_recreated
    }

    pub(crate) const fn memory(&self) -> &MemoryStream {
        &self.memory
    }

    pub(crate) fn shards(&self) -> Vec<Shard> {
        self.memory.shards()
    }

    pub(crate) fn open_shards(&self) -> Vec<Shard> {
        let shards = self.memory.shards().into_iter();
        shards.filter(|shard| !shard.is_closed()).collect()
    }
}
