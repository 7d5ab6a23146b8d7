//! Expands the aggregated records of one shard, and counts those that cannot be expanded.

use std::mem;
use std::vec::IntoIter;

use kcl_proto::kpl::{Deaggregator, Expansion};
use kcl_proto::model::{Lease, Position, Record};

use crate::config::{Aggregation, RetrievalConfig};
use crate::data_side::parts::ReadParts;
use crate::report::event::Event;

/// Expands the records of one shard.
#[derive(Debug)]
pub(super) struct Expander {
    /// `None` if aggregates are delivered unchanged.
    deaggregator: Option<Deaggregator>,
    malformed: Tally,
    out_of_range: Tally,
}

/// Records after their expansion.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) records: Vec<Record>,
    /// The end of what was expanded: the last of the records, or a later one that left no record.
    /// `None` if there was nothing to expand.
    pub(super) through: Option<Position>,
}

/// A count, and its value at the last report.
#[derive(Debug)]
struct Tally {
    count: u64,
    reported: u64,
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

    /// Returns the first records of `read`, with each aggregate replaced by its user records. Stops
    /// once there are enough for a batch. What is read again up to `done` is not counted again.
    pub(super) fn expand(
        &mut self,
        read: &mut IntoIter<Record>,
        done: Option<Position>,
        parts: &ReadParts,
    ) -> Expanded {
        let Some(deaggregator) = self.deaggregator else { return Expanded::unchanged(read) };
        let enough = parts.config.retrieval.records_max;
        let mut records: Vec<Record> = Vec::with_capacity(read.len());
        let mut through = None;
        let (mut malformed, mut dropped) = (None, None);
        while records.len() < enough {
            let Some(record) = read.next() else { break };
            let before = records.len();
            let sequence = record.position.sequence;
            match deaggregator.expand(record, &mut records) {
                Expansion::Plain | Expansion::Aggregate { out_of_range: 0, .. } => {}
                Expansion::Aggregate { out_of_range, .. } => {
                    let kept = records.get(before..).unwrap_or_default();
                    let count = newly_dropped(out_of_range, kept, Position::of(sequence), done);
                    self.out_of_range.add(count);
                    dropped = Some(sequence);
                }
                Expansion::Malformed(_) if Some(Position::of(sequence)) <= done => {}
                Expansion::Malformed(reason) => {
                    self.malformed.add(1);
                    malformed = Some((sequence, reason));
                }
            }
            let last = records.last().map(|record| record.position);
            through = last.max(Some(Position::of(sequence)));
            // Reserves as if the others were like this one: growing step by step copies every time.
            let each = records.len() - before;
            let missing = enough.saturating_sub(records.len()).saturating_add(each);
            records.reserve(each.saturating_mul(read.len()).min(missing));
        }
        let shard = || parts.lease.key.shard();
        let events = &parts.events;
        if let Some((last, reason)) = malformed.filter(|_| self.malformed.is_due()) {
            let count = self.malformed.report();
            events.emit(&Event::MalformedAggregates { shard: shard(), count, last, reason });
        }
        if let Some(last) = dropped.filter(|_| self.out_of_range.is_due()) {
            let count = self.out_of_range.report();
            events.emit(&Event::OutOfRangeDropped { shard: shard(), count, last });
        }
        Expanded { records, through }
    }
}

impl Expanded {
    fn unchanged(read: &mut IntoIter<Record>) -> Self {
        let records: Vec<_> = mem::take(read).collect();
        let through = records.last().map(|record| record.position);
        Self { records, through }
    }
}

/// How many of the `dropped` user records of the aggregate at `start` were not dropped before: all,
/// unless the aggregate is read again, because `done` lies in it. `kept` are its other user records;
/// once they are done, the whole aggregate is.
fn newly_dropped(
    dropped: usize,
    kept: &[Record],
    start: Position,
    done: Option<Position>,
) -> usize {
    let Some(done) = done.filter(|done| *done >= start) else { return dropped };
    let kept_before = kept.partition_point(|record| record.position <= done);
    if kept_before == kept.len() {
        return 0;
    }
    let before = usize::try_from(done.sub_sequence).unwrap_or(usize::MAX).saturating_add(1);
    dropped.saturating_sub(before - kept_before)
}

impl Tally {
    const fn new() -> Self {
        Self { count: 0, reported: 0 }
    }

    fn add(&mut self, more: usize) {
        self.count = self.count.saturating_add(more as u64);
    }

    /// Whether a report is due: for the first one, then whenever the count doubles.
    const fn is_due(&self) -> bool {
        self.count >= self.reported.saturating_mul(2) && self.count > self.reported
    }

    const fn report(&mut self) -> u64 {
        self.reported = self.count;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_each_doubling_are_reported() {
        let mut tally = Tally::new();
        assert!(!tally.is_due());
        let mut reported = Vec::new();
        for _ in 0..1_000 {
            tally.add(1);
            if tally.is_due() {
                reported.push(tally.report());
            }
        }
        assert_eq!(reported, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    }
}
