//! What was put and what was delivered, record by record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kcl_core::model::{Checkpoint, Moment, SequenceNumber, ShardId};

use crate::producer::Put;

/// The file in `folder` in which a worker writes down what it delivers.
pub(crate) fn book(folder: &Path, worker: &str) -> PathBuf {
    folder.join(format!("{worker}.delivered"))
}

/// One delivery of one record: a line of a worker's book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// When.
    pub(crate) at: Moment,
    /// By whom.
    pub(crate) worker: Arc<str>,
    /// In which ownership of the shard: later ones have greater tokens.
    pub(crate) token: u64,
    /// From which shard.
    pub(crate) shard: ShardId,
    /// Where in the shard.
    pub(crate) sequence: SequenceNumber,
    /// Which record.
    pub(crate) number: u64,
    /// Under which key it was put.
    pub(crate) key: String,
}

impl Delivery {
    /// The line.
    pub(crate) fn line(&self) -> String {
        let Self { at, worker, token, shard, sequence, number, key } = self;
        let micros = at.since(Moment::default()).as_micros();
        format!("{micros} {worker} {token} {shard} {sequence} {number} {key}\n")
    }

    /// Reads a line.
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

/// What is known of a shard's records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    put: BTreeSet<SequenceNumber>,
    delivered: BTreeSet<SequenceNumber>,
    waiting: BTreeMap<SequenceNumber, Moment>,
}

impl Tally {
    /// How many records were delivered, each counted once.
    pub(crate) fn delivered(&self) -> usize {
        self.delivered.len()
    }

    /// For how many records it is stored that they are done.
    pub(crate) fn saved(&self, checkpoint: Checkpoint) -> usize {
        match checkpoint.position() {
            Some(position) => self.put.range(..=position.sequence).count(),
            None if checkpoint.is_shard_end() => self.put.len(),
            None => 0,
        }
    }

    /// How old the oldest record is that was not delivered yet.
    pub(crate) fn lag(&self, now: Moment) -> Duration {
        self.waiting.values().next().map_or(Duration::ZERO, |put| now.since(*put))
    }
}

/// Everything that was put and delivered.
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
    /// An empty ledger of the workers that write into `folder`.
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

    /// Enters a record that was put.
    pub(crate) fn enter_put(&mut self, put: Put) {
        self.put.insert(put.number);
        let tally = self.shards.entry(put.shard).or_default();
        tally.put.insert(put.sequence);
        if !tally.delivered.contains(&put.sequence) {
            tally.waiting.insert(put.sequence, put.at);
        }
    }

    /// Enters a delivery.
    pub(crate) fn enter_delivery(&mut self, delivery: Delivery) {
        let tally = self.shards.entry(delivery.shard.clone()).or_default();
        tally.delivered.insert(delivery.sequence);
        tally.waiting.remove(&delivery.sequence);
        *self.by_worker.entry(Arc::clone(&delivery.worker)).or_insert(0) += 1;
        self.deliveries.push(delivery);
    }

    /// Enters what a worker wrote down since the last time.
    pub(crate) fn read(&mut self, worker: &'static str) -> anyhow::Result<()> {
        let mut file = match File::open(book(&self.folder, worker)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let start = self.read.get(worker).copied().unwrap_or(0);
        file.seek(SeekFrom::Start(start))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without its end is still being written.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.get(..whole).unwrap_or_default().lines() {
            let delivery = Delivery::parse(line);
            self.enter_delivery(delivery.with_context(|| format!("what is {line:?}?"))?);
        }
        self.read.insert(worker, start + u64::try_from(whole)?);
        Ok(())
    }

    /// What is known of a shard's records.
    pub(crate) fn shard(&self, shard: &ShardId) -> Option<&Tally> {
        self.shards.get(shard)
    }

    /// How many deliveries a worker made.
    pub(crate) fn by_worker(&self, worker: &str) -> usize {
        self.by_worker.get(worker).copied().unwrap_or(0)
    }

    /// The numbers of all records that were put.
    pub(crate) const fn put(&self) -> &BTreeSet<u64> {
        &self.put
    }

    /// How many deliveries there were.
    pub(crate) const fn count(&self) -> usize {
        self.deliveries.len()
    }

    /// All deliveries, in the order of their times.
    pub(crate) fn deliveries(&self) -> Vec<&Delivery> {
        let mut deliveries: Vec<_> = self.deliveries.iter().collect();
        deliveries.sort_by_key(|delivery| delivery.at);
        deliveries
    }

    /// Whether everything that was put was delivered.
    pub(crate) fn is_complete(&self) -> bool {
        self.shards.values().all(|tally| tally.waiting.is_empty())
    }

    /// When somebody else than `worker` first delivered from a shard after `after`.
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

    /// When `worker` first delivered from a shard.
    pub(crate) fn first_by(&self, shard: &ShardId, worker: &str) -> Option<Moment> {
        let theirs = |delivery: &&Delivery| delivery.shard == *shard && *delivery.worker == *worker;
        self.deliveries.iter().filter(theirs).map(|delivery| delivery.at).min()
    }

    /// When anything was first delivered from a shard.
    pub(crate) fn first(&self, shard: &ShardId) -> Option<Moment> {
        let of = self.deliveries.iter().filter(|delivery| delivery.shard == *shard);
        of.map(|delivery| delivery.at).min()
    }

    /// When anything was last delivered from a shard before `before`.
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
    fn a_delivery_reads_back_what_it_writes() {
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
