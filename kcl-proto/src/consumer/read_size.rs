//! How many records to request in one read of a shard, and how much memory to reserve for it.

use std::time::Duration;

use super::read_pace::BYTES_PER_SECOND;

/// The largest reply.
///
/// Source: Kinesis API reference, `GetRecords`.
const REPLY_MAX: u64 = 10 * MIB;

/// The assumed size of a record before the first read: the default limit of a stream.
const SIZE_UNKNOWN: u64 = MIB;

/// How many copies of a reply in JSON exist at once while it is read: its text, which is a third
/// longer than the data, the decoded records, and for a moment a part of the text again.
pub const COPIES_DEFAULT: u64 = 3;

/// A reply that takes longer than this makes the line the bottleneck: longer replies gain nothing.
const QUICK: Duration = Duration::from_secs(1);

const MIB: u64 = 1024 * 1024;

/// The size of a shard's records: a mean that rises at once and falls slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSize {
    /// The size of one record, and of its expanded form in memory.
    means: Option<(u64, u64)>,
    /// Whether the last reply reached half of the shard's throughput of a second.
    is_full: bool,
    /// The most records to ask for since a reply did not arrive in full, or `None` for no limit.
    limit: Option<usize>,
}

impl RecordSize {
    /// Records a reply of `records` records and `bytes` bytes, which need `expanded` bytes once
    /// they are expanded.
    pub fn observe(&mut self, records: usize, bytes: u64, expanded: u64) {
        self.is_full = bytes >= BYTES_PER_SECOND / 2;
        let mean = |bytes: u64| bytes.checked_div(count(records));
        let (Some(size), Some(expanded)) = (mean(bytes), mean(expanded)) else { return };
        let (size_before, expanded_before) = self.means.unwrap_or_default();
        self.means = Some((follow(size_before, size), follow(expanded_before, expanded)));
    }

    /// Records a reply of at most `asked` records that did not arrive in full: the line is slow, or
    /// shared. The next request asks for half of it.
    pub fn cut_off(&mut self, asked: usize) {
        let (size, _) = self.means.unwrap_or((SIZE_UNKNOWN, SIZE_UNKNOWN));
        let sent = usize::try_from(REPLY_MAX / size.max(1)).unwrap_or(usize::MAX).min(asked);
        self.limit = Some((sent / 2).max(1));
    }

    /// Records a reply of `records` records that took `taken`. After one that is as long as the
    /// limit allows and came quickly, the next one may be twice as long.
    pub fn arrived(&mut self, records: usize, taken: Duration) {
        let grows = taken < QUICK && self.limit.is_some_and(|limit| limit <= records);
        if grows {
            self.limit = self.limit.map(|limit| limit.saturating_mul(2));
        }
    }

    /// The request of the next read, of at most `records_max` records, by a reader that holds
    /// `copies` copies of a reply while it reads, at least one.
    ///
    /// After a large reply it asks for at most one second of the shard's throughput: larger replies
    /// are followed by longer pauses, and take memory from other shards.
    #[must_use]
    pub fn request(self, records_max: usize, copies: u64) -> ReadRequest {
        let (size, expanded) = self.means.unwrap_or((SIZE_UNKNOWN, SIZE_UNKNOWN));
        let (size, record) = (size.max(1), expanded.max(1));
        let of_a_second = usize::try_from(BYTES_PER_SECOND / size).unwrap_or(usize::MAX).max(1);
        let records_max = if self.is_full { records_max.min(of_a_second) } else { records_max };
        let records_max = records_max.min(self.limit.unwrap_or(usize::MAX));
        let reply_max = REPLY_MAX.saturating_mul(record) / size;
        ReadRequest { records_max, record, reply_max, copies: copies.max(1) }
    }
}

/// The next mean.
const fn follow(before: u64, mean: u64) -> u64 {
    if mean < before { before - (before - mean).div_ceil(4) } else { mean }
}

/// A request of memory for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The most records.
    pub records_max: usize,
    /// The memory of one record, about.
    pub record: u64,
    /// The memory of the largest reply.
    pub reply_max: u64,
    /// How many copies of the reply exist at once while it is read.
    pub copies: u64,
}

/// A granted read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// The most records to read.
    pub records: usize,
    /// The bytes reserved for them.
    pub bytes: u64,
}

impl ReadGrant {
    /// One record, without a reservation.
    pub const TURN: Self = Self { records: 1, bytes: 0 };
}

impl ReadRequest {
    /// A request for what was pushed, which comes whole: `bytes`, by a reader that holds `copies`
    /// copies of it while it reads.
    #[must_use]
    pub fn pushed(bytes: u64, copies: u64) -> Self {
        Self { records_max: 1, record: bytes, reply_max: bytes, copies: copies.max(1) }
    }

    /// Grants the whole request.
    #[must_use]
    pub fn whole(self) -> ReadGrant {
        let bytes = self.record.saturating_mul(count(self.records_max)).min(self.reply_max);
        ReadGrant { records: self.records_max, bytes: bytes.saturating_mul(self.copies) }
    }

    /// Grants as much as fits into `room` bytes, or returns `None` if not even one record fits.
    #[must_use]
    pub fn within(self, room: u64) -> Option<ReadGrant> {
        let whole = self.whole();
        if whole.bytes <= room {
            return Some(whole);
        }
        let record = self.record.saturating_mul(self.copies);
        let fitting = room.checked_div(record).filter(|fitting| *fitting > 0)?;
        let records =
            usize::try_from(fitting).map_or(self.records_max, |it| it.min(self.records_max));
        Some(ReadGrant { records, bytes: count(records) * record })
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
        let request = ReadRequest { records_max, record: each, reply_max: REPLY_MAX, copies: 3 };
        let grant = request.within(room);
        assert_eq!(grant.map(|grant| (grant.records, grant.bytes)), expected);
    }

    #[test]
    fn read_is_granted_in_full_where_it_fits() {
        check(KIB, 100, 300 * KIB, Some((100, 300 * KIB)));
        check(MIB, 10_000, 30 * MIB, Some((10_000, 30 * MIB)));
        check(MIB, 10_000, u64::MAX, Some((10_000, 30 * MIB)));
    }

    #[test]
    fn read_is_granted_what_fits() {
        check(KIB, 100, 300 * KIB - 1, Some((99, 297 * KIB)));
        check(MIB, 10_000, 30 * MIB - 1, Some((9, 27 * MIB)));
        check(MIB, 10_000, 3 * MIB, Some((1, 3 * MIB)));
        check(MIB, 10_000, 3 * MIB - 1, None);
        check(u64::MAX, 10_000, 3 * MIB, None);
        check(1, 10_000, 0, None);
    }

    #[test]
    fn size_rises_at_once_and_falls_slowly() {
        let mut size = RecordSize::default();
        let mut seen = |records, bytes| {
            size.observe(records, bytes, bytes);
            size.request(1, 3).record
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
    fn aggregates_need_memory_for_their_expansion() {
        let mut size = RecordSize::default();
        size.observe(10, 500 * KIB, 2_000 * KIB);
        let request = size.request(10_000, 3);
        assert_eq!((request.record, request.reply_max), (200 * KIB, 40 * MIB));
        assert_eq!(request.whole().bytes, 120 * MIB);
        assert_eq!(size.request(10, 3).whole().bytes, 6_000 * KIB);
    }

    #[test]
    fn reader_of_one_copy_needs_a_third() {
        let mut size = RecordSize::default();
        size.observe(2_048, 2_048 * KIB, 2_048 * KIB);
        let bytes = |copies| size.request(10_000, copies).whole().bytes;
        assert_eq!((bytes(3), bytes(1), bytes(0)), (6 * MIB, 2 * MIB, 2 * MIB));
    }

    #[test]
    fn full_shard_is_read_by_the_second() {
        let mut size = RecordSize::default();
        let mut requested = |records, bytes| {
            size.observe(records, bytes, bytes);
            size.request(10_000, 3).records_max
        };
        assert_eq!(requested(10_000, 10_000 * KIB), 2_048);
        assert_eq!(requested(2_048, 2_048 * KIB), 2_048);
        assert_eq!(requested(1_000, 1_000 * KIB), 10_000); // it is nearly caught up
        assert_eq!(requested(1, MIB), 2);
        assert_eq!(requested(2, 2 * KIB), 10_000);
        assert_eq!(requested(1, 3 * MIB), 1);
        assert_eq!(requested(0, 0), 10_000);
    }

    #[test]
    fn reply_that_is_cut_off_is_halved() {
        let mut size = RecordSize::default();
        size.cut_off(10_000);
        assert_eq!(size.request(10_000, 3).records_max, 5, "ten records of 1 MiB fill a reply");
        size.cut_off(5);
        assert_eq!(size.request(10_000, 3).records_max, 2);
        size.observe(2, 200 * KIB, 200 * KIB);
        size.cut_off(10_000);
        assert_eq!(size.request(10_000, 3).records_max, 51);
        size.cut_off(1);
        assert_eq!(size.request(10_000, 3).records_max, 1);
    }

    #[test]
    fn quick_and_full_replies_lift_the_limit() {
        let mut size = RecordSize::default();
        size.cut_off(10_000);
        let mut requested = |records, millis| {
            size.arrived(records, Duration::from_millis(millis));
            size.request(10_000, 3).records_max
        };
        assert_eq!(requested(5, 1_000), 5, "the line is the bottleneck");
        assert_eq!(requested(4, 10), 5, "no more were there");
        assert_eq!(requested(5, 10), 10);
        for _ in 0..10 {
            requested(10_000, 10);
        }
        assert_eq!(requested(10_000, 10), 10_000);
    }
}
