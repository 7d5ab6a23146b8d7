//! Reads what workers wrote down, and holds it against what was produced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use kcl_core::model::SequenceNumber;

/// One record that one worker delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// By which worker.
    pub worker: String,
    /// From which shard.
    pub shard: String,
    /// Where in the shard.
    pub sequence: SequenceNumber,
    /// Which record: `key.number`.
    pub id: String,
}

/// Everything that a fleet delivered so far, in the order of time.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

impl Audit {
    /// Reads the logs in `folder`. A line that is still being written is left for the next time.
    ///
    /// # Errors
    /// If a log cannot be read or has a line that is none.
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
                deliveries.push(delivery.with_context(|| format!("{line:?} is no delivery"))?);
            }
        }
        deliveries.sort_by_key(|delivery| delivery.at);
        Ok(Self { deliveries })
    }

    /// The ids that were delivered.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<&str> {
        self.deliveries.iter().map(|delivery| delivery.id.as_str()).collect()
    }

    /// How often a record was delivered that had been delivered before.
    #[must_use]
    pub fn repeated(&self) -> usize {
        self.deliveries.len() - self.ids().len()
    }

    /// The first delivery of each record that was delivered again.
    #[must_use]
    pub fn came_again(&self) -> Vec<&Delivery> {
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

    /// Deliveries by `worker`.
    pub fn by<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a Delivery> {
        self.deliveries.iter().filter(move |delivery| delivery.worker == worker)
    }

    /// For each shard, when it was first delivered after `at` by anyone but `worker`.
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

    /// Checks that nothing is missing of `produced`, and that order held: within one ownership of a
    /// shard positions rise, and the first deliveries of a key's records come in their order.
    ///
    /// # Errors
    /// Says what is missing or out of order.
    pub fn check(&self, produced: &BTreeSet<String>) -> anyhow::Result<()> {
        let delivered = self.ids();
        let missing: Vec<_> =
            produced.iter().filter(|id| !delivered.contains(id.as_str())).take(5).collect();
        ensure!(missing.is_empty(), "missing: {missing:?} and maybe more");
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
                // A worker that lost a shard and took it again may begin earlier, with repeats.
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
    fn what_is_missing_is_found() {
        let audit = audit(&["1 a s 10 k.1", "2 a s 11 k.2"]);
        audit.check(&produced(&["k.1", "k.2"])).unwrap();
        assert!(audit.check(&produced(&["k.1", "k.3"])).is_err());
    }

    #[test]
    fn a_record_out_of_order_is_found_and_a_repeat_is_none() {
        audit(&["1 a s 10 k.1", "2 b s 10 k.1", "3 b s 11 k.2"]).check_order().unwrap();
        assert!(audit(&["1 a s 11 k.2", "2 b s 10 k.1"]).check_order().is_err());
        assert!(audit(&["1 a s 11 k.2", "2 a s 10 l.1"]).check_order().is_err());
    }

    #[test]
    fn repeats_are_counted_and_their_first_deliveries_known() {
        let audit = audit(&["1 a s 10 k.1", "2 b s 10 k.1", "3 b s 11 k.2", "4 c s 10 k.1"]);
        assert_eq!(audit.repeated(), 2);
        assert_eq!(audit.came_again(), [&audit.deliveries[0]]);
    }
}
