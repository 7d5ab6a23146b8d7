//! When to read a shard again: the limits of Kinesis, and the polling interval of a caught-up
//! shard.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// The number of reads of one shard that Kinesis allows in any second, for all that read it.
///
/// Source: Kinesis Developer Guide, "Quotas and limits", shard read throughput.
pub const READS_PER_SECOND_MAX: usize = 5;

/// A shard that is behind by less than this counts as caught up: the next poll reads the rest. A
/// shard that is written to is never at its end for long.
const CAUGHT_UP_BELOW: Duration = Duration::from_millis(100);

/// The read throughput of one shard per second. A reply of 10 MiB is followed by 5 s in which every
/// read is throttled.
///
/// Source: Kinesis API reference, `GetRecords`.
pub(super) const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// When one shard may be read again.
///
/// All readers of a shard share its limits, so a reader that keeps within them may still be
/// throttled, and leaves reads to the others unless it needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    poll_every: Duration,
    /// The most reads in any second, unless replies are full.
    reads_per_second: usize,
    /// When the last reads ended, latest last. Kinesis counted each of them before that.
    ended: [Option<Moment>; READS_PER_SECOND_MAX],
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
    /// How far it was behind the end of the shard, or `None` if that is not known.
    pub behind_latest: Option<Duration>,
    /// Whether its reply held as many records as it asked for.
    pub is_full: bool,
    /// Whether its records were pushed: it was no call.
    pub is_pushed: bool,
}

impl Pace {
    /// The pace of a shard that is read every `poll_every` while it brings nothing, and
    /// `reads_per_second` times a second or as often as `poll_every` asks for while its consumer is
    /// behind, or the last read brought records.
    #[must_use]
    pub fn new(poll_every: Duration, reads_per_second: usize) -> Self {
        let polls = 1_000_u128.div_ceil(poll_every.as_millis().max(1));
        let polls = usize::try_from(polls).unwrap_or(READS_PER_SECOND_MAX);
        Self {
            poll_every,
            reads_per_second: reads_per_second.max(polls).clamp(1, READS_PER_SECOND_MAX),
            ended: [None; READS_PER_SECOND_MAX],
            paid_until: Moment::from_origin(Duration::ZERO),
            throttled: 0,
        }
    }

    /// Records a read that ended `now`. Returns when the next may start, which may be in the past.
    ///
    /// After a full reply all reads of the shard may be used: with small replies it could not catch
    /// up otherwise. What was pushed is followed by the next read at once, and uses up nothing of
    /// what polls may.
    pub fn after_read(&mut self, read: ReadDone, now: Moment) -> Moment {
        let ReadDone { started, bytes, behind_latest, is_full, is_pushed } = read;
        self.throttled = 0;
        if is_pushed {
            return started;
        }
        self.count(now);
        self.paid_until = self.paid_until.max(started) + time_to_pay(bytes);
        let is_caught_up = behind_latest.is_some_and(|behind| behind < CAUGHT_UP_BELOW);
        let pause = if bytes == 0 { self.poll_every } else { self.poll_every.min(self.pause()) };
        let next = if is_caught_up { started + pause } else { started };
        next.max(self.allowed(if is_full { READS_PER_SECOND_MAX } else { self.reads_per_second }))
    }

    /// The pause between reads that keep to `reads_per_second` evenly: what just brought records is
    /// likely to have more soon, which should not wait for the next poll.
    fn pause(&self) -> Duration {
        let reads = u32::try_from(self.reads_per_second).unwrap_or(u32::MAX);
        Duration::from_secs(1) / reads.max(1)
    }

    /// Records a read that was cancelled or failed `now`, perhaps after it was sent. Returns when
    /// the next may start.
    pub fn after_lost(&mut self, now: Moment) -> Moment {
        self.count(now);
        self.allowed(self.reads_per_second)
    }

    /// Records a read that was throttled `now`. Returns when the next may start.
    ///
    /// `chance`, from 0 to 1, spreads readers that were throttled together.
    pub fn after_throttled(&mut self, chance: f64, now: Moment) -> Moment {
        self.throttled = self.throttled.saturating_add(1);
        self.count(now);
        let pause = Backoff::READ_THROTTLED.jittered(self.throttled, chance);
        (now + pause).max(self.allowed(self.reads_per_second))
    }

    fn count(&mut self, now: Moment) {
        self.ended.rotate_left(1);
        if let Some(last) = self.ended.last_mut() {
            *last = Some(now);
        }
    }

    /// When the limits allow another read, with this many reads in any second.
    fn allowed(&self, reads_per_second: usize) -> Moment {
        let oldest = self.ended.iter().rev().nth(reads_per_second.saturating_sub(1));
        let counted = oldest.copied().flatten().map(|oldest| oldest + Duration::from_secs(1));
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

    fn pace() -> Pace {
        Pace::new(Duration::from_millis(POLL_EVERY), 2)
    }

    /// A read that is caught up, or a second behind.
    fn done(started: u64, bytes: u64, is_caught_up: bool) -> ReadDone {
        let behind_latest = Some(Duration::from_secs(u64::from(!is_caught_up)));
        let (is_full, is_pushed) = (false, false);
        ReadDone { started: at(started), bytes, behind_latest, is_full, is_pushed }
    }

    /// A read: when it started and ended in ms, its bytes, whether it caught up, and when the next
    /// may start.
    type Row = (u64, u64, u64, bool, u64);

    #[track_caller]
    fn check(rows: &[Row]) {
        let mut pace = pace();
        for &(started, ended, bytes, is_caught_up, next) in rows {
            let read = done(started, bytes, is_caught_up);
            assert_eq!(pace.after_read(read, at(ended)), at(next), "read at {started} ms");
        }
    }

    #[test]
    fn caught_up_shard_is_polled_at_its_interval() {
        check(&[(0, 30, 0, true, 1_000)]);
    }

    #[test]
    fn shard_that_brought_records_is_read_again_sooner() {
        check(&[
            (0, 30, 100, true, 500),
            (500, 540, 100, true, 1_030),
            (1_030, 1_060, 0, true, 2_030),
        ]);
        let next = |poll_every, reads| {
            let mut pace = Pace::new(Duration::from_millis(poll_every), reads);
            pace.after_read(done(0, 100, true), at(10))
        };
        assert_eq!([next(1_000, 1), next(1_000, 4), next(60_000, 2)], [1_010, 250, 500].map(at));
        assert_eq!(next(300, 2), at(250), "four reads a second");
    }

    #[test]
    fn pushed_read_is_followed_at_once_and_uses_up_nothing() {
        let mut pace = pace();
        let pushed = |started| ReadDone { is_pushed: true, ..done(started, 10 * MIB, true) };
        assert_eq!(pace.after_read(pushed(0), at(30)), at(0));
        assert_eq!(pace.after_read(done(100, 2 * MIB, false), at(110)), at(1_100));
        assert_eq!(pace.after_read(pushed(200), at(210)), at(200));
        let polled = pace.after_read(done(1_100, 0, true), at(1_110));
        assert_eq!(polled, at(2_100), "what polls owe is not forgotten, nor is it more");
    }

    #[test]
    fn slow_read_is_followed_at_once() {
        check(&[(0, 1_700, 0, true, 1_000)]);
    }

    #[test]
    fn shard_that_is_nearly_caught_up_is_polled() {
        let next = |millis| {
            let behind_latest = Some(Duration::from_millis(millis));
            pace().after_read(ReadDone { behind_latest, ..done(0, 0, true) }, at(10))
        };
        assert_eq!((next(99), next(100)), (at(1_000), at(0)));
    }

    #[test]
    fn shard_that_is_behind_is_read_twice_a_second() {
        check(&[
            (0, 10, 0, false, 0),
            (10, 20, 0, false, 1_010),
            (1_010, 1_030, 0, false, 1_020),
            (1_030, 1_040, 0, false, 2_030),
        ]);
    }

    /// Reads that end at once, each as early as it may. Returns when they started.
    fn starts(mut pace: Pace, is_full: bool) -> [u64; 8] {
        let mut next = 0;
        [(); 8].map(|()| {
            let started = next;
            let read = ReadDone { is_full, ..done(started, 0, false) };
            let allowed = pace.after_read(read, at(started)).since(at(0)).as_millis();
            next = u64::try_from(allowed).unwrap();
            started
        })
    }

    #[test]
    fn full_replies_may_use_all_reads_of_a_shard() {
        assert_eq!(starts(pace(), true), [0, 0, 0, 0, 0, 1_000, 1_000, 1_000]);
        assert_eq!(starts(pace(), false), [0, 0, 1_000, 1_000, 2_000, 2_000, 3_000, 3_000]);
    }

    #[test]
    fn reads_a_second_are_a_setting_from_one_to_five() {
        let pace = |poll_every, reads| Pace::new(Duration::from_millis(poll_every), reads);
        let slow = [0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000];
        let fast = [0, 0, 0, 0, 0, 1_000, 1_000, 1_000];
        assert_eq!(starts(pace(1_000, 1), false), slow);
        assert_eq!(starts(pace(1_000, 5), false), fast);
        assert_eq!(starts(pace(200, 1), false), fast, "as often as it is polled");
        assert_eq!((pace(1_000, 0), pace(1_000, 9)), (pace(1_000, 1), pace(1_000, 5)));
    }

    #[test]
    fn reads_keep_within_two_mebibytes_a_second() {
        check(&[(0, 300, 10 * MIB, false, 5_000), (5_000, 5_100, 2 * MIB, false, 6_000)]);
        check(&[(0, 300, 10 * MIB, true, 5_000)]);
        check(&[(0, 50, MIB, true, 500)]);
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
            let mut pace = pace();
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
        let mut pace = pace();
        pace.after_throttled(0.5, at(0));
        pace.after_throttled(0.5, at(1_000));
        let read = done(3_000, 0, true);
        assert_eq!(pace.after_read(read, at(3_010)), at(4_000));
        assert_eq!(pace.after_throttled(1.0, at(10_000)), at(10_500));
    }

    #[test]
    fn throttled_read_keeps_the_wait_for_bytes() {
        let mut pace = pace();
        let read = done(0, 10 * MIB, false);
        pace.after_read(read, at(100));
        assert_eq!(pace.after_throttled(0.0, at(200)), at(5_000));
    }

    #[test]
    fn no_sequence_of_reads_exceeds_the_limits() {
        let mut pace = Pace::new(Duration::from_millis(200), 5);
        let (mut next, mut seen) = (at(0), Vec::new());
        for turn in 0..200_u64 {
            let (bytes, latency) = (turn * 7_919 % (3 * MIB), turn * 31 % 90);
            let started = next;
            let ended = started + Duration::from_millis(latency);
            seen.push((started, bytes));
            let behind_latest = (turn % 3 == 0).then_some(Duration::ZERO);
            let is_full = turn % 2 == 0;
            let read = ReadDone { started, bytes, behind_latest, is_full, is_pushed: false };
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
