//! When to read a shard again: the limits of Kinesis, and the polling interval of a caught-up
//! shard.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// The number of reads of one shard that Kinesis allows in any second.
///
/// Source: Kinesis Developer Guide, "Quotas and limits", shard read throughput.
const READS_PER_SECOND: usize = 5;

/// The read throughput of one shard per second. A reply of 10 MiB is followed by 5 s in which every
/// read is throttled.
///
/// Source: Kinesis API reference, `GetRecords`.
pub(super) const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// When one shard may be read again.
///
/// All readers of a shard share its limits, so a reader that keeps within them may still be
/// throttled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    poll_every: Duration,
    /// When the last reads ended, latest last. Kinesis counted each of them before that.
    ended: [Option<Moment>; READS_PER_SECOND],
    /// Until when the bytes read so far use up the shard's throughput.
    paid_until: Moment,
    /// The number of throttled reads in a row.
    throttled: u32,
}

/// A read that succeeded, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDone {
    /// When it started.
    pub started: Moment,
    /// The bytes of data and partition keys in its reply.
    pub bytes: u64,
    /// Whether it reached the end of the shard.
    pub is_caught_up: bool,
}

impl Pace {
    /// The pace of a shard that is read every `poll_every` while its consumer is caught up.
    #[must_use]
    pub const fn new(poll_every: Duration) -> Self {
        Self {
            poll_every,
            ended: [None; READS_PER_SECOND],
            paid_until: Moment::from_origin(Duration::ZERO),
            throttled: 0,
        }
    }

    /// Records a read that ended `now`. Returns when the next may start, which may be in the past.
    pub fn after_read(&mut self, read: ReadDone, now: Moment) -> Moment {
        self.throttled = 0;
        self.count(now);
        self.paid_until = self.paid_until.max(read.started) + time_to_pay(read.bytes);
        let next = if read.is_caught_up { read.started + self.poll_every } else { read.started };
        next.max(self.allowed())
    }

    /// Records a read that was cancelled or failed `now`, perhaps after it was sent. Returns when
    /// the next may start.
    pub fn after_lost(&mut self, now: Moment) -> Moment {
        self.count(now);
        self.allowed()
    }

    /// Records a read that was throttled `now`. Returns when the next may start.
    ///
    /// `chance`, from 0 to 1, spreads readers that were throttled together.
    pub fn after_throttled(&mut self, chance: f64, now: Moment) -> Moment {
        self.throttled = self.throttled.saturating_add(1);
        self.count(now);
        let pause = Backoff::READ_THROTTLED.jittered(self.throttled, chance);
        (now + pause).max(self.allowed())
    }

    fn count(&mut self, now: Moment) {
        self.ended.rotate_left(1);
        if let Some(last) = self.ended.last_mut() {
            *last = Some(now);
        }
    }

    /// When the limits allow another read.
    fn allowed(&self) -> Moment {
        let oldest = self.ended.first().copied().flatten();
        let counted = oldest.map(|oldest| oldest + Duration::from_secs(1));
        counted.map_or(self.paid_until, |counted| counted.max(self.paid_until))
    }
}

/// How long `bytes` use up the shard's throughput.
fn time_to_pay(bytes: u64) -> Duration {
    let micros = u128::from(bytes) * 1_000_000 / u128::from(BYTES_PER_SECOND);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const POLL_EVERY: u64 = 1_000;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    /// A read: when it started and ended in ms, its bytes, whether it caught up, and when the next
    /// may start.
    type Row = (u64, u64, u64, bool, u64);

    #[track_caller]
    fn check(rows: &[Row]) {
        let mut pace = Pace::new(Duration::from_millis(POLL_EVERY));
        for &(started, ended, bytes, is_caught_up, next) in rows {
            let read = ReadDone { started: at(started), bytes, is_caught_up };
            assert_eq!(pace.after_read(read, at(ended)), at(next), "read at {started} ms");
        }
    }

    #[test]
    fn caught_up_shard_is_polled_at_its_interval() {
        check(&[(0, 30, 0, true, 1_000)]);
        check(&[(0, 30, 100, true, 1_000), (1_000, 1_040, 0, true, 2_000)]);
    }

    #[test]
    fn slow_read_is_followed_at_once() {
        check(&[(0, 1_700, 0, true, 1_000)]);
    }

    #[test]
    fn shard_that_is_behind_is_read_five_times_a_second() {
        check(&[
            (0, 10, 0, false, 0),
            (10, 20, 0, false, 10),
            (20, 30, 0, false, 20),
            (30, 40, 0, false, 30),
            (40, 50, 0, false, 1_010),
            (1_010, 1_030, 0, false, 1_020),
            (1_030, 1_040, 0, false, 1_030),
            (1_040, 1_050, 0, false, 1_040),
            (1_050, 1_060, 0, false, 1_050),
            (1_060, 1_070, 0, false, 2_030),
        ]);
    }

    #[test]
    fn reads_keep_within_two_mebibytes_a_second() {
        check(&[(0, 300, 10 * MIB, false, 5_000), (5_000, 5_100, 2 * MIB, false, 6_000)]);
        check(&[(0, 300, 10 * MIB, true, 5_000)]);
        check(&[(0, 50, MIB, true, 1_000)]);
    }

    #[test]
    fn early_read_adds_to_the_wait() {
        check(&[(0, 100, 10 * MIB, false, 5_000), (1_000, 1_100, 2 * MIB, false, 6_000)]);
    }

    #[test]
    fn late_reads_earn_no_credit() {
        check(&[(0, 10, 2 * MIB, false, 1_000), (60_000, 60_010, 2 * MIB, false, 61_000)]);
    }

    #[test]
    fn throttled_reads_back_off() {
        let waits = |chance| {
            let mut pace = Pace::new(Duration::from_millis(POLL_EVERY));
            [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000, 6_000_000]
                .map(|now| pace.after_throttled(chance, at(now)).since(at(now)).as_millis())
        };
        assert_eq!(waits(1.0), [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(waits(0.0), [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(waits(f64::NAN), waits(1.0));
        assert_eq!(waits(7.0), waits(1.0));
    }

    #[test]
    fn successful_read_ends_the_backoff() {
        let mut pace = Pace::new(Duration::from_millis(POLL_EVERY));
        pace.after_throttled(0.5, at(0));
        pace.after_throttled(0.5, at(1_000));
        let read = ReadDone { started: at(3_000), bytes: 0, is_caught_up: true };
        assert_eq!(pace.after_read(read, at(3_010)), at(4_000));
        assert_eq!(pace.after_throttled(1.0, at(10_000)), at(10_500));
    }

    #[test]
    fn throttled_read_keeps_the_wait_for_bytes() {
        let mut pace = Pace::new(Duration::from_millis(POLL_EVERY));
        let read = ReadDone { started: at(0), bytes: 10 * MIB, is_caught_up: false };
        pace.after_read(read, at(100));
        assert_eq!(pace.after_throttled(0.0, at(200)), at(5_000));
    }

    #[test]
    fn no_sequence_of_reads_exceeds_the_limits() {
        let mut pace = Pace::new(Duration::from_millis(200));
        let (mut next, mut seen) = (at(0), Vec::new());
        for turn in 0..200_u64 {
            let (bytes, latency) = (turn * 7_919 % (3 * MIB), turn * 31 % 90);
            let started = next;
            let ended = started + Duration::from_millis(latency);
            seen.push((started, bytes));
            let read = ReadDone { started, bytes, is_caught_up: turn % 3 == 0 };
            next = pace.after_read(read, ended).max(ended);
        }
        let spent = next.since(at(0)).as_millis();
        let bytes: u64 = seen.iter().map(|(_, bytes)| bytes).sum();
        assert!(u128::from(bytes) <= spent * u128::from(2 * MIB) / 1_000 + u128::from(2 * MIB));
        for window in seen.windows(6) {
            assert!(window[5].0.since(window[0].0) >= Duration::from_secs(1));
        }
    }
}
