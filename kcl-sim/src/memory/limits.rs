//! The read limits of a shard, counted over the last second as Kinesis does.

use std::collections::VecDeque;
use std::time::Duration;

use kcl_core::model::Moment;

const SECOND: Duration = Duration::from_secs(1);

/// The read limits of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written out in tests")]
pub struct Limits {
    /// How many readers may be opened in any second. `None` for no limit.
    pub opens_per_second: Option<usize>,
    /// How many reads may be made in any second. `None` for no limit.
    pub reads_per_second: Option<usize>,
    /// How many bytes may be read in a second. `None` for no limit. One reply may have more; then
    /// reads are throttled until the average is down to this.
    pub bytes_per_second: Option<u64>,
}

impl Limits {
    /// No limits.
    pub const NONE: Self =
        Self { opens_per_second: None, reads_per_second: None, bytes_per_second: None };

    /// The limits of Kinesis.
    ///
    /// Source: Kinesis Developer Guide, "Quotas and limits"; API reference, `GetRecords`.
    pub const KINESIS: Self = Self {
        opens_per_second: Some(5),
        reads_per_second: Some(5),
        bytes_per_second: Some(2 * 1024 * 1024),
    };
}

/// The recent calls to one shard.
#[derive(Debug, Default)]
pub(super) struct Meter {
    opens: VecDeque<Moment>,
    reads: VecDeque<(Moment, u64)>,
    busy_until: Moment,
}

impl Meter {
    /// Counts an open, and returns whether it is within the limit.
    pub(super) fn admits_open(&mut self, limits: &Limits, now: Moment) -> bool {
        while self.opens.front().is_some_and(|&at| now.since(at) >= SECOND) {
            self.opens.pop_front();
        }
        let admitted = limits.opens_per_second.is_none_or(|max| self.opens.len() < max);
        if admitted {
            self.opens.push_back(now);
        }
        admitted
    }

    /// Returns whether a read is within the limits. Throttled reads do not count.
    pub(super) fn admits_read(&mut self, limits: &Limits, now: Moment) -> bool {
        while self.reads.front().is_some_and(|&(at, _)| now.since(at) >= SECOND) {
            self.reads.pop_front();
        }
        let bytes: u64 = self.reads.iter().map(|(_, bytes)| bytes).sum();
        limits.reads_per_second.is_none_or(|max| self.reads.len() < max)
            && limits.bytes_per_second.is_none_or(|max| bytes < max && now >= self.busy_until)
    }

    /// Counts a read.
    pub(super) fn count_read(&mut self, limits: &Limits, bytes: u64, now: Moment) {
        self.reads.push_back((now, bytes));
        if let Some(max) = limits.bytes_per_second.filter(|&max| bytes > max) {
            let millis = bytes.saturating_mul(1_000) / max.max(1);
            self.busy_until = now + Duration::from_millis(millis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Reads: when in ms, of how many bytes, whether it is answered.
    #[track_caller]
    fn check(rows: &[(u64, u64, bool)]) {
        let mut meter = Meter::default();
        for &(millis, bytes, answered) in rows {
            let now = Moment::from_origin(Duration::from_millis(millis));
            assert_eq!(meter.admits_read(&Limits::KINESIS, now), answered, "read at {millis} ms");
            if answered {
                meter.count_read(&Limits::KINESIS, bytes, now);
            }
        }
    }

    #[test]
    fn five_reads_a_second() {
        check(&[(0, 0, true), (10, 0, true), (20, 0, true), (30, 0, true), (999, 0, true)]);
        check(&[
            (0, 0, true),
            (0, 0, true),
            (0, 0, true),
            (0, 0, true),
            (0, 0, true),
            (999, 0, false),
            (1_000, 0, true),
        ]);
    }

    #[test]
    fn two_mebibytes_a_second() {
        check(&[(0, MIB, true), (200, MIB, true), (400, 0, false), (1_000, 0, true)]);
    }

    #[test]
    fn reply_of_ten_mebibytes_throttles_for_five_seconds() {
        check(&[(0, 10 * MIB, true), (4_999, 0, false), (5_000, 0, true)]);
    }

    #[test]
    fn five_opens_a_second() {
        let mut meter = Meter::default();
        let mut open = |millis| {
            meter.admits_open(&Limits::KINESIS, Moment::from_origin(Duration::from_millis(millis)))
        };
        assert_eq!([0, 1, 2, 3, 4, 999, 1_000].map(&mut open).map(u8::from), [1, 1, 1, 1, 1, 0, 1]);
    }
}
