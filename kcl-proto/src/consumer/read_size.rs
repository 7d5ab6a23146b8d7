//! How many records one read of a shard asks for, and what memory it may need.

use super::read_pace::BYTES_PER_SECOND;

/// The most bytes that one reply brings.
///
/// Source: Kinesis API reference, `GetRecords`.
const REPLY_MAX: u64 = 10 * MIB;

/// What a record of a shard is taken for before any was seen: the most that a stream allows unless
/// it is set to larger ones.
const SIZE_UNKNOWN: u64 = MIB;

/// How many times a reply is there at the most while it is read: its text, which is a third longer
/// than the data, what is made of it, and for a moment a part of the text twice. And so often is the
/// list of its records there while it grows and is packed.
const COPIES: u64 = 3;

const MIB: u64 = 1024 * 1024;

/// How large the records of a shard are: rises at once, falls slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSize {
    /// What one brings, and what it needs once it is expanded.
    means: Option<(u64, u64)>,
    /// Whether the last read brought about as much as the shard lets out in a second, or more.
    is_full: bool,
}

impl RecordSize {
    /// Takes in a read of so many records, before they were expanded, that brought so many bytes and
    /// needs so many.
    pub fn observe(&mut self, records: usize, brought: u64, needed: u64) {
        self.is_full = brought >= BYTES_PER_SECOND / 2;
        let mean = |bytes: u64| bytes.checked_div(count(records));
        let (Some(brings), Some(needs)) = (mean(brought), mean(needed)) else { return };
        let (brings_before, needs_before) = self.means.unwrap_or_default();
        self.means = Some((follow(brings_before, brings), follow(needs_before, needs)));
    }

    /// What the next read of at most `records_max` records would like.
    ///
    /// After a read that brought much it is no more than the shard lets out in a second: larger replies
    /// would be followed by longer pauses, take memory from other shards, and cost more to take apart.
    #[must_use]
    pub fn want(self, records_max: usize) -> Want {
        let (brings, needs) = self.means.unwrap_or((SIZE_UNKNOWN, SIZE_UNKNOWN));
        let (brings, each) = (brings.max(1), needs.max(1));
        let of_a_second = usize::try_from(BYTES_PER_SECOND / brings).unwrap_or(usize::MAX).max(1);
        let records_max = if self.is_full { records_max.min(of_a_second) } else { records_max };
        Want { records_max, each, whole_max: REPLY_MAX.saturating_mul(each) / brings }
    }
}

/// The mean that follows from the one before.
const fn follow(before: u64, mean: u64) -> u64 {
    if mean < before { before - (before - mean).div_ceil(4) } else { mean }
}

/// What a read would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the input of a decision")]
pub struct Want {
    /// The most records.
    pub records_max: usize,
    /// What each needs, about.
    pub each: u64,
    /// What the records of the largest reply need.
    pub whole_max: u64,
}

/// What a read may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the output of a decision")]
pub struct Grant {
    /// Ask for at most so many records.
    pub records: usize,
    /// So much memory is reserved for them.
    pub bytes: u64,
}

impl Grant {
    /// One record, without any memory reserved for it.
    pub const TURN: Self = Self { records: 1, bytes: 0 };
}

impl Want {
    /// All of it, whatever room there is.
    #[must_use]
    pub fn whole(self) -> Grant {
        let bytes = self.each.saturating_mul(count(self.records_max)).min(self.whole_max);
        Grant { records: self.records_max, bytes: bytes.saturating_mul(COPIES) }
    }

    /// As much of it as there is room for; none if that is not even one record.
    #[must_use]
    pub fn within(self, room: u64) -> Option<Grant> {
        let whole = self.whole();
        if whole.bytes <= room {
            return Some(whole);
        }
        let each = self.each.saturating_mul(COPIES);
        let fitting = room.checked_div(each).filter(|fitting| *fitting > 0)?;
        let records =
            usize::try_from(fitting).map_or(self.records_max, |it| it.min(self.records_max));
        Some(Grant { records, bytes: count(records) * each })
    }
}

fn count(records: usize) -> u64 {
    u64::try_from(records).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[track_caller]
    fn check(each: u64, records_max: usize, room: u64, expected: Option<(usize, u64)>) {
        let grant = Want { records_max, each, whole_max: REPLY_MAX }.within(room);
        assert_eq!(grant.map(|grant| (grant.records, grant.bytes)), expected);
    }

    #[test]
    fn a_read_asks_for_all_that_it_wants_where_there_is_room() {
        check(KIB, 100, 300 * KIB, Some((100, 300 * KIB)));
        check(MIB, 10_000, 30 * MIB, Some((10_000, 30 * MIB)));
        check(MIB, 10_000, u64::MAX, Some((10_000, 30 * MIB)));
    }

    #[test]
    fn a_read_asks_for_what_there_is_room_for() {
        check(KIB, 100, 300 * KIB - 1, Some((99, 297 * KIB)));
        check(MIB, 10_000, 30 * MIB - 1, Some((9, 27 * MIB)));
        check(MIB, 10_000, 3 * MIB, Some((1, 3 * MIB)));
        check(MIB, 10_000, 3 * MIB - 1, None);
        check(u64::MAX, 10_000, 3 * MIB, None);
        check(1, 10_000, 0, None);
    }

    #[test]
    fn the_size_of_records_rises_at_once_and_falls_slowly() {
        let mut size = RecordSize::default();
        let mut seen = |records, bytes| {
            size.observe(records, bytes, bytes);
            size.want(1).each
        };
        assert_eq!(seen(0, 0), MIB);
        assert_eq!(seen(10, 1_000), 100);
        assert_eq!(seen(1, 900), 900);
        assert_eq!(seen(10, 1_000), 700);
        assert_eq!(seen(0, 0), 700);
        assert_eq!((0..40).map(|_| seen(10, 1_000)).last(), Some(100));
        assert_eq!(seen(10, 0), 75);
    }

    #[test]
    fn a_reply_of_aggregates_needs_more_than_it_brings() {
        let mut size = RecordSize::default();
        size.observe(10, 500 * KIB, 2_000 * KIB);
        let want = size.want(10_000);
        assert_eq!((want.each, want.whole_max), (200 * KIB, 40 * MIB));
        assert_eq!(want.whole().bytes, 120 * MIB);
        assert_eq!(size.want(10).whole().bytes, 6_000 * KIB);
    }

    #[test]
    fn a_shard_that_is_full_of_records_is_read_by_the_second() {
        let mut size = RecordSize::default();
        let mut wanted = |records, bytes| {
            size.observe(records, bytes, bytes);
            size.want(10_000).records_max
        };
        assert_eq!(wanted(10_000, 10_000 * KIB), 2_048);
        assert_eq!(wanted(2_048, 2_048 * KIB), 2_048);
        assert_eq!(wanted(1_000, 1_000 * KIB), 10_000); // it is nearly caught up
        assert_eq!(wanted(1, MIB), 2);
        assert_eq!(wanted(2, 2 * KIB), 10_000);
        assert_eq!(wanted(1, 3 * MIB), 1);
        assert_eq!(wanted(0, 0), 10_000);
    }
}
