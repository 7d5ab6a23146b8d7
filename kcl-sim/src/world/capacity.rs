//! The capacity of a table: how many units a second it and each of its partitions let through.

use std::time::Duration;

use crate::time::Time;

/// The writes a second of a partition.
///
/// Source: DynamoDB Developer Guide, "Partitions and data distribution".
const PARTITION_WRITES: f64 = 1_000.0;

/// The read units a second of a partition.
const PARTITION_READS: f64 = 3_000.0;

/// How much unused capacity a partition keeps.
const PARTITION_BURST: Duration = Duration::from_secs(1);

/// Units a second, of writes and of reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Units {
    pub(crate) writes: f64,
    pub(crate) reads: f64,
}

/// What a table lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CapacityPlan {
    /// The units a second of the whole table.
    pub(crate) units: Units,
    /// How much unused capacity the table keeps.
    pub(crate) burst: Duration,
    pub(crate) partitions: u64,
}

/// Units that are left. They refill with time.
///
/// A bucket lets a call through while any units are left, and may owe some afterwards: DynamoDB
/// knows what a page of a scan costs only when it has read it.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Units a second.
    rate: f64,
    most: f64,
    left: f64,
    at: Time,
}

impl Bucket {
    fn new(rate: f64, burst: Duration) -> Self {
        let most = rate * burst.as_secs_f64();
        Self { rate, most, left: most, at: Time::default() }
    }

    fn refill(&mut self, now: Time) {
        let gone = (now - self.at).as_secs_f64();
        self.left = gone.mul_add(self.rate, self.left).min(self.most);
        self.at = self.at.max(now);
    }

    fn lets_through(&self, units: f64) -> bool {
        units <= 0.0 || self.left > 0.0
    }
}

/// The buckets of a table, or of one partition.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    writes: Bucket,
    reads: Bucket,
}

impl Buckets {
    fn new(units: Units, burst: Duration) -> Self {
        let Units { writes, reads } = units;
        Self { writes: Bucket::new(writes, burst), reads: Bucket::new(reads, burst) }
    }

    fn lets_through(&mut self, units: Units, now: Time) -> bool {
        self.writes.refill(now);
        self.reads.refill(now);
        self.writes.lets_through(units.writes) && self.reads.lets_through(units.reads)
    }

    fn charge(&mut self, units: Units) {
        self.writes.left -= units.writes;
        self.reads.left -= units.reads;
    }
}

/// What is left of a table's capacity.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    table: Buckets,
    partitions: Vec<Buckets>,
}

impl Capacity {
    pub(crate) fn new(plan: &CapacityPlan) -> Self {
        let partition = Units { writes: PARTITION_WRITES, reads: PARTITION_READS };
        let partitions =
            (0..plan.partitions.max(1)).map(|_| Buckets::new(partition, PARTITION_BURST)).collect();
        Self { table: Buckets::new(plan.units, plan.burst), partitions }
    }

    /// Sets the units a second of the whole table from now on.
    pub(crate) fn set_units(&mut self, units: Units, now: Time) {
        for (bucket, rate) in
            [(&mut self.table.writes, units.writes), (&mut self.table.reads, units.reads)]
        {
            bucket.refill(now);
            // A second's worth at most is kept.
            (bucket.rate, bucket.most, bucket.left) = (rate, rate, bucket.left.min(rate));
        }
    }

    /// Returns whether a call on this row gets through, and charges for it if so.
    pub(crate) fn admits(&mut self, row: &str, units: Units, now: Time) -> bool {
        let count = u64::try_from(self.partitions.len()).unwrap_or(1).max(1);
        let nth = usize::try_from(hash(row) % count).unwrap_or(0);
        let Some(partition) = self.partitions.get_mut(nth) else { return true };
        let admits = self.table.lets_through(units, now) && partition.lets_through(units, now);
        if admits {
            self.table.charge(units);
            partition.charge(units);
        }
        admits
    }
}

/// A number for a row's key: FNV-1a.
fn hash(row: &str) -> u64 {
    let hash = row.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Units = Units { writes: 1.0, reads: 0.0 };

    fn capacity(writes: f64, reads: f64, partitions: u64) -> Capacity {
        let units = Units { writes, reads };
        Capacity::new(&CapacityPlan { units, burst: Duration::from_secs(1), partitions })
    }

    fn admitted(capacity: &mut Capacity, rows: u64, units: Units, at: u64) -> usize {
        let now = Time::from_millis(at);
        (0..rows).filter(|row| capacity.admits(&format!("row {row}"), units, now)).count()
    }

    #[test]
    fn bucket_refills_with_time() {
        let mut table = capacity(100.0, 100.0, 1);
        assert_eq!(admitted(&mut table, 500, WRITE, 0), 100);
        assert_eq!(admitted(&mut table, 500, WRITE, 100), 10);
        assert_eq!(admitted(&mut table, 500, WRITE, 60_000), 100, "no more than the burst");
    }

    #[test]
    fn partition_lets_a_thousand_writes_through() {
        let mut table = capacity(40_000.0, 40_000.0, 1);
        assert_eq!(admitted(&mut table, 5_000, WRITE, 0), 1_000);
        let mut table = capacity(40_000.0, 40_000.0, 4);
        let admitted = admitted(&mut table, 20_000, WRITE, 0);
        assert_eq!(admitted, 4_000);
    }

    #[test]
    fn page_that_costs_more_than_is_left_is_owed() {
        let mut table = capacity(100.0, 100.0, 1);
        let page = Units { writes: 0.0, reads: 130.0 };
        assert_eq!(admitted(&mut table, 2, page, 0), 1);
        assert_eq!(admitted(&mut table, 1, page, 200), 0, "30 units are owed");
        assert_eq!(admitted(&mut table, 1, page, 400), 1);
        assert_eq!(admitted(&mut table, 5, WRITE, 400), 5, "writes have units of their own");
    }

    #[test]
    fn capacity_may_shrink() {
        let mut table = capacity(100.0, 100.0, 1);
        table.set_units(Units { writes: 10.0, reads: 10.0 }, Time::default());
        assert_eq!(admitted(&mut table, 500, WRITE, 0), 10);
        assert_eq!(admitted(&mut table, 500, WRITE, 1_000), 10);
    }
}
