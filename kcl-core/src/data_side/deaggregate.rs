//! Expands the aggregated records of one shard, and counts what could not be.

use std::mem;
use std::vec::IntoIter;

use kcl_proto::kpl::{Deaggregator, Expansion};
use kcl_proto::model::{Lease, Record};

use crate::config::{Aggregation, RetrievalConfig};
use crate::report::event::Event;
use crate::report::log::Events;

/// Expands what is read from one shard.
#[derive(Debug)]
pub(super) struct Expander {
    /// None if aggregates are delivered as they are.
    deaggregator: Option<Deaggregator>,
    malformed: Tally,
    out_of_range: Tally,
}

/// How many there were, and how many when that was last told.
#[derive(Debug)]
struct Tally {
    count: u64,
    told: u64,
}

impl Expander {
    pub(super) const fn new(config: &RetrievalConfig, lease: &Lease) -> Self {
        let deaggregator = match config.aggregation {
            Aggregation::Expand => Some(Deaggregator::new(config.hash_range, lease.hash_range)),
            Aggregation::Raw => None,
        };
        let (malformed, out_of_range) = (Tally::new(), Tally::new());
        Self { deaggregator, malformed, out_of_range }
    }

    /// The next records of those that were `read`, each aggregate replaced by its user records: as many
    /// aggregates as bring at least `enough`, or all.
    pub(super) fn expand(
        &mut self,
        read: &mut IntoIter<Record>,
        enough: usize,
        lease: &Lease,
        events: &Events,
    ) -> Vec<Record> {
        let Some(deaggregator) = self.deaggregator else { return mem::take(read).collect() };
        let mut records = Vec::with_capacity(read.len());
        let (mut malformed, mut dropped) = (None, None);
        while records.len() < enough {
            let Some(record) = read.next() else { break };
            let before = records.len();
            let sequence = record.position.sequence;
            match deaggregator.expand(record, &mut records) {
                Expansion::Plain | Expansion::Aggregate { out_of_range: 0, .. } => {}
                Expansion::Aggregate { out_of_range, .. } => {
                    self.out_of_range.add(out_of_range);
                    dropped = Some(sequence);
                }
                Expansion::Malformed(reason) => {
                    self.malformed.add(1);
                    malformed = Some((sequence, reason));
                }
            }
            // The others may be like this one. Growing step by step copies what is there each time.
            let each = records.len() - before;
            let wanted = enough.saturating_sub(records.len()).saturating_add(each);
            records.reserve(each.saturating_mul(read.len()).min(wanted));
        }
        let shard = || lease.key.shard();
        if let Some((last, reason)) = malformed.filter(|_| self.malformed.is_due()) {
            let count = self.malformed.tell();
            events.emit(&Event::MalformedAggregates { shard: shard(), count, last, reason });
        }
        if let Some(last) = dropped.filter(|_| self.out_of_range.is_due()) {
            let count = self.out_of_range.tell();
            events.emit(&Event::OutOfRangeDropped { shard: shard(), count, last });
        }
        records
    }
}

impl Tally {
    const fn new() -> Self {
        Self { count: 0, told: 0 }
    }

    fn add(&mut self, more: usize) {
        self.count = self.count.saturating_add(more as u64);
    }

    /// Whether it is time to tell: of the first, then each time that there are twice as many.
    const fn is_due(&self) -> bool {
        self.count >= self.told.saturating_mul(2) && self.count > self.told
    }

    const fn tell(&mut self) -> u64 {
        self.told = self.count;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_each_doubling() {
        let mut tally = Tally::new();
        assert!(!tally.is_due());
        let mut told = Vec::new();
        for _ in 0..1_000 {
            tally.add(1);
            if tally.is_due() {
                told.push(tally.tell());
            }
        }
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }
}
