//! Compares the delivery logs of workers with the produced records.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, ensure};
use kcl_core::model::SequenceNumber;

/// One delivery of one record to one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// The worker.
    pub worker: String,
    /// The record's shard.
    pub shard: String,
    /// The record's sequence number.
    pub sequence: SequenceNumber,
    /// The record's id: `key.number`.
    pub id: String,
}

/// All deliveries of a fleet so far, by time.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

impl Audit {
    /// Reads the logs in `folder`. Ignores a line without a line break, which is still being
    /// written.
    ///
    /// # Errors
    /// If a log is unreadable or has an invalid line.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut deliveries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or(""));
            for line in whole.lines() {
                let delivery = parse(line);
                deliveries.push(delivery.with_context(|| format!("{line:?} is not a delivery"))?);
            }
        }
        deliveries.sort_by_key(|delivery| delivery.at);
        Ok(Self { deliveries })
    }

    /// Returns the ids of all delivered records.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<&str> {
        self.deliveries.iter().map(|delivery| delivery.id.as_str()).collect()
    }

    /// Returns the number of repeated deliveries.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.deliveries.len() - self.ids().len()
    }

    /// Returns the first delivery of each repeated record.
    #[must_use]
    pub fn first_of_repeated(&self) -> Vec<&Delivery> {
        let (mut first, mut again) = (BTreeMap::new(), BTreeMap::new());
        for delivery in &self.deliveries {
            let id = delivery.id.as_str();
            let known = *first.entry(id).or_insert(delivery);
            if known != delivery {
                again.insert(id, known);
            }
        }
        again.into_values().collect()
    }

    /// Returns the deliveries to `worker`.
    pub fn by<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a Delivery> {
        self.deliveries.iter().filter(move |delivery| delivery.worker == worker)
    }

    /// Returns a delivery to `worker` after it stood still during `stall`, of a record that another
    /// worker received in between, or `None` if there is none: it delivered only from newly taken
    /// leases.
    #[must_use]
    pub fn stale(&self, worker: &str, stall: &Range<i64>) -> Option<&Delivery> {
        let during = self.deliveries.iter().filter(|delivery| stall.contains(&delivery.at));
        let elsewhere = during.filter(|delivery| delivery.worker != worker);
        let elsewhere: BTreeSet<_> = elsewhere.map(|delivery| delivery.id.as_str()).collect();
        let mut after = self
            .deliveries
            .iter()
            .filter(|delivery| delivery.worker == worker && delivery.at >= stall.end);
        after.find(|delivery| elsewhere.contains(delivery.id.as_str()))
    }

    /// Returns, for each shard, when a worker other than `worker` first received a record after
    /// `at`.
    #[must_use]
    pub fn next_elsewhere(&self, worker: &str, at: i64) -> BTreeMap<&str, i64> {
        let mut next = BTreeMap::new();
        for delivery in &self.deliveries {
            if delivery.at >= at && delivery.worker != worker {
                next.entry(delivery.shard.as_str()).or_insert(delivery.at);
            }
        }
        next
    }

    /// Checks that no record of `produced` is missing, and that order held: positions ascend while
    /// a worker owns a shard, and the first deliveries of a key's records are in order.
    ///
    /// # Errors
    /// Names the first missing or misordered records.
    pub fn check(&self, produced: &BTreeSet<String>) -> anyhow::Result<()> {
        let delivered = self.ids();
        let missing: Vec<_> =
            produced.iter().filter(|id| !delivered.contains(id.as_str())).take(5).collect();
        ensure!(missing.is_empty(), "missing: {missing:?}, perhaps more");
        self.check_order()
    }

    fn check_order(&self) -> anyhow::Result<()> {
        let mut last: BTreeMap<(&str, &str), &Delivery> = BTreeMap::new();
        let mut keys: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for delivery in &self.deliveries {
            let whose = (delivery.worker.as_str(), delivery.shard.as_str());
            let is_first = seen.insert(delivery.id.as_str());
            if let Some(before) = last.insert(whose, delivery) {
                // A worker that takes a shard again may start earlier, with repeats.
                ensure!(
                    before.sequence < delivery.sequence || !is_first,
                    "{before:?} came before {delivery:?}"
                );
            }
            let (key, number) = delivery.id.split_once('.').context("an id is key.number")?;
            let number: u64 = number.parse()?;
            if is_first {
                let before = keys.insert(key, number);
                ensure!(
                    before.is_none_or(|before| before < number),
                    "record {before:?} of key {key} came before {number}"
                );
            }
        }
        Ok(())
    }
}

fn parse(line: &str) -> Option<Delivery> {
    let mut words = line.split(' ');
    let delivery = Delivery {
        at: words.next()?.parse().ok()?,
        worker: words.next()?.to_owned(),
        shard: words.next()?.to_owned(),
        sequence: words.next()?.parse().ok()?,
        id: words.next()?.to_owned(),
    };
    words.next().is_none().then_some(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(lines: &[&str]) -> Audit {
        Audit { deliveries: lines.iter().map(|line| parse(line).unwrap()).collect() }
    }

    fn produced(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn check_finds_missing_records() {
        let audit = audit(&["1 a s 10 k.1", "2 a s 11 k.2"]);
        audit.check(&produced(&["k.1", "k.2"])).unwrap();
        assert!(audit.check(&produced(&["k.1", "k.3"])).is_err());
    }

    #[test]
    fn check_rejects_misorder_and_allows_repeats() {
        audit(&["1 a s 10 k.1", "2 b s 10 k.1", "3 b s 11 k.2"]).check_order().unwrap();
        assert!(audit(&["1 a s 11 k.2", "2 b s 10 k.1"]).check_order().is_err());
        assert!(audit(&["1 a s 11 k.2", "2 a s 10 l.1"]).check_order().is_err());
    }

    #[test]
    fn repeats_are_counted() {
        let audit = audit(&["1 a s 10 k.1", "2 b s 10 k.1", "3 b s 11 k.2", "4 c s 10 k.1"]);
        assert_eq!(audit.repeated(), 2);
        assert_eq!(audit.first_of_repeated(), [&audit.deliveries[0]]);
    }
}
