//! All puts and deliveries, record by record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kcl_core::model::{Checkpoint, Moment, SequenceNumber, ShardId};

use crate::producer::Put;

/// Returns the path of a worker's delivery log.
pub(crate) fn log_path(folder: &Path, worker: &str) -> PathBuf {
    folder.join(format!("{worker}.delivered"))
}

/// One delivery of one record: a line of a worker's delivery log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// When the record was delivered.
    pub(crate) at: Moment,
    /// The worker that received it.
    pub(crate) worker: Arc<str>,
    /// The fencing token, which grows with each new owner of the shard.
    pub(crate) token: u64,
    /// The record's shard.
    pub(crate) shard: ShardId,
    /// The record's position in the shard.
    pub(crate) sequence: SequenceNumber,
    /// The record's number.
    pub(crate) number: u64,
    /// The record's partition key.
    pub(crate) key: String,
}

impl Delivery {
    /// Returns the line.
    pub(crate) fn line(&self) -> String {
        let Self { at, worker, token, shard, sequence, number, key } = self;
        let micros = at.since(Moment::default()).as_micros();
        format!("{micros} {worker} {token} {shard} {sequence} {number} {key}\n")
    }

    /// Parses a line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        Some(Self {
            at: Moment::from_origin(Duration::from_micros(word()?.parse().ok()?)),
            worker: word()?.into(),
            token: word()?.parse().ok()?,
            shard: ShardId::new(word()?),
            sequence: word()?.parse().ok()?,
            number: word()?.parse().ok()?,
            key: word()?.to_owned(),
        })
    }
}

/// The records of a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    put: BTreeSet<SequenceNumber>,
    delivered: BTreeSet<SequenceNumber>,
    waiting: BTreeMap<SequenceNumber, Moment>,
}

impl Tally {
    /// Returns the number of distinct delivered records.
    pub(crate) fn delivered(&self) -> usize {
        self.delivered.len()
    }

    /// Returns the number of records up to a checkpoint.
    pub(crate) fn checkpointed(&self, checkpoint: Checkpoint) -> usize {
        match checkpoint.position() {
            Some(position) => self.put.range(..=position.sequence).count(),
            None if checkpoint.is_shard_end() => self.put.len(),
            None => 0,
        }
    }

    /// Returns the age of the oldest undelivered record.
    pub(crate) fn lag(&self, now: Moment) -> Duration {
        self.waiting.values().next().map_or(Duration::ZERO, |put| now.since(*put))
    }
}

/// All puts and deliveries.
#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
    read: BTreeMap<&'static str, u64>,
    shards: BTreeMap<ShardId, Tally>,
    by_worker: BTreeMap<Arc<str>, usize>,
    deliveries: Vec<Delivery>,
    put: BTreeSet<u64>,
}

impl Ledger {
    /// Creates an empty ledger of the workers that log in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            read: BTreeMap::new(),
            shards: BTreeMap::new(),
            by_worker: BTreeMap::new(),
            deliveries: Vec::new(),
            put: BTreeSet::new(),
        }
    }

    /// Adds a put.
    pub(crate) fn enter_put(&mut self, put: Put) {
        self.put.insert(put.number);
        let tally = self.shards.entry(put.shard).or_default();
        tally.put.insert(put.sequence);
        if !tally.delivered.contains(&put.sequence) {
            tally.waiting.insert(put.sequence, put.at);
        }
    }

    /// Adds a delivery.
    pub(crate) fn enter_delivery(&mut self, delivery: Delivery) {
        let tally = self.shards.entry(delivery.shard.clone()).or_default();
        tally.delivered.insert(delivery.sequence);
        tally.waiting.remove(&delivery.sequence);
        *self.by_worker.entry(Arc::clone(&delivery.worker)).or_insert(0) += 1;
        self.deliveries.push(delivery);
    }

    /// Adds the new deliveries of a worker's log.
    pub(crate) fn read(&mut self, worker: &'static str) -> anyhow::Result<()> {
        let mut file = match File::open(log_path(&self.folder, worker)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let start = self.read.get(worker).copied().unwrap_or(0);
        file.seek(SeekFrom::Start(start))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // The worker is still writing a line without a line break.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.get(..whole).unwrap_or_default().lines() {
            let delivery = Delivery::parse(line);
            self.enter_delivery(delivery.with_context(|| format!("not a delivery: {line:?}"))?);
        }
        self.read.insert(worker, start + u64::try_from(whole)?);
        Ok(())
    }

    /// Returns the records of a shard.
    pub(crate) fn shard(&self, shard: &ShardId) -> Option<&Tally> {
        self.shards.get(shard)
    }

    /// Returns the number of deliveries to a worker.
    pub(crate) fn by_worker(&self, worker: &str) -> usize {
        self.by_worker.get(worker).copied().unwrap_or(0)
    }

    /// Returns the numbers of all puts.
    pub(crate) const fn put(&self) -> &BTreeSet<u64> {
        &self.put
    }

    /// Returns the number of deliveries.
    pub(crate) const fn count(&self) -> usize {
        self.deliveries.len()
    }

    /// Returns all deliveries by time.
    pub(crate) fn deliveries(&self) -> Vec<&Delivery> {
        let mut deliveries: Vec<_> = self.deliveries.iter().collect();
        deliveries.sort_by_key(|delivery| delivery.at);
        deliveries
    }

    /// Returns whether every put was delivered.
    pub(crate) fn is_complete(&self) -> bool {
        self.shards.values().all(|tally| tally.waiting.is_empty())
    }

    /// Returns when another worker than `worker` first received a record of a shard after `after`.
    pub(crate) fn first_by_another(
        &self,
        shard: &ShardId,
        worker: &str,
        after: Moment,
    ) -> Option<Moment> {
        let others = self.deliveries.iter().filter(|delivery| {
            delivery.shard == *shard && *delivery.worker != *worker && delivery.at > after
        });
        others.map(|delivery| delivery.at).min()
    }

    /// Returns when `worker` first received a record of a shard.
    pub(crate) fn first_by(&self, shard: &ShardId, worker: &str) -> Option<Moment> {
        let theirs = |delivery: &&Delivery| delivery.shard == *shard && *delivery.worker == *worker;
        self.deliveries.iter().filter(theirs).map(|delivery| delivery.at).min()
    }

    /// Returns when the first record of a shard was delivered.
    pub(crate) fn first(&self, shard: &ShardId) -> Option<Moment> {
        let of = self.deliveries.iter().filter(|delivery| delivery.shard == *shard);
        of.map(|delivery| delivery.at).min()
    }

    /// Returns when the last record of a shard before `before` was delivered.
    pub(crate) fn last_before(&self, shard: &ShardId, before: Moment) -> Option<Moment> {
        let of = self.deliveries.iter();
        let of = of.filter(|delivery| delivery.shard == *shard && delivery.at < before);
        of.map(|delivery| delivery.at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_round_trips() {
        let delivery = Delivery {
            at: Moment::from_origin(Duration::from_micros(12_345)),
            worker: "anna".into(),
            token: 7,
            shard: "shardId-000000000001".into(),
            sequence: SequenceNumber::from(99),
            number: 3,
            key: "sensor-0-1".into(),
        };
        assert_eq!(Delivery::parse(delivery.line().trim_end()), Some(delivery));
    }
}
