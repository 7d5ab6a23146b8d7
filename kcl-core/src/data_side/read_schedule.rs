//! When a shard is read next: its pace, and the pauses after failed reads.

use std::time::Duration;

use kcl_proto::consumer::backoff::{self, Backoff};
use kcl_proto::consumer::read_pace::{Pace, ReadDone};
use kcl_proto::model::Moment;

use crate::backend::SourceError;

/// Every how many throttled reads in a row a failure is reported. Fewer are normal operation.
const THROTTLED_REPORT_EVERY: u32 = 10;

/// When the next read of a shard may start.
#[derive(Clone, Debug)]
pub(super) struct ReadSchedule {
    pace: Pace,
    next: Moment,
    failing: Option<Failing>,
    /// The number of throttled reads in a row.
    throttled: u32,
}

/// Failed reads in a row.
#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Moment,
    count: u32,
}

/// What a failed read means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadFailure {
    /// The pause to report, or `None` if the failure is not reported.
    pub(super) retry_in: Option<Duration>,
    /// Whether the shard counts as unreadable by this worker.
    pub(super) is_unreadable: bool,
}

impl ReadSchedule {
    /// A shard that is read from `now` on, every `poll_every` while its consumer is caught up.
    pub(super) const fn new(poll_every: Duration, now: Moment) -> Self {
        Self { pace: Pace::new(poll_every), next: now, failing: None, throttled: 0 }
    }

    /// The schedule of a reader that takes over. `is_reading` says whether a read is in flight: it
    /// may have been sent, and Kinesis counts it.
    pub(super) fn restarted(&mut self, is_reading: bool, now: Moment) -> Self {
        if is_reading {
            self.next = self.pace.after_lost(now);
        }
        let pace = self.pace.clone();
        Self { pace, next: self.next, failing: None, throttled: 0 }
    }

    /// When the next read may start.
    pub(super) const fn next(&self) -> Moment {
        self.next
    }

    /// Records a read that succeeded.
    pub(super) fn succeeded(&mut self, read: ReadDone, now: Moment) {
        (self.failing, self.throttled) = (None, 0);
        self.next = self.pace.after_read(read, now);
    }

    /// Records a throttled read.
    pub(super) fn throttled(&mut self, chance: f64, now: Moment) -> ReadFailure {
        self.throttled = self.throttled.saturating_add(1);
        self.next = self.pace.after_throttled(chance, now);
        let is_reported = self.throttled.is_multiple_of(THROTTLED_REPORT_EVERY);
        let retry_in = is_reported.then(|| self.next - now);
        ReadFailure { retry_in, is_unreadable: false }
    }

    /// Records a read that failed for another reason. Draws `chance` if the next read has to wait.
    pub(super) fn failed(
        &mut self,
        error: &SourceError,
        chance: impl FnOnce() -> f64,
        now: Moment,
    ) -> ReadFailure {
        // The request may have reached Kinesis, which counts it.
        self.next = self.next.max(self.pace.after_lost(now));
        let failing = self.failing.get_or_insert(Failing { since: now, count: 0 });
        failing.count = failing.count.saturating_add(1);
        let Failing { since, count } = *failing;
        if count == 1 && matches!(error, SourceError::Expired) {
            // An iterator expires while a consumer is busy: a new one is opened at once.
            return ReadFailure { retry_in: None, is_unreadable: false };
        }
        let is_retryable = error.is_retryable();
        let backoff = if is_retryable { Backoff::READ } else { Backoff::READ_REFUSED };
        let retry_in = backoff.jittered(count, chance());
        self.next = self.next.max(now + retry_in);
        let is_unreadable = backoff::is_unreadable(now - since, is_retryable);
        ReadFailure { retry_in: Some(retry_in), is_unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn schedule() -> ReadSchedule {
        ReadSchedule::new(SECOND, at(0))
    }

    fn denied() -> SourceError {
        let (stream, action) = ("stream".into(), "kinesis:GetRecords");
        SourceError::AccessDenied { stream, action, source: "no".into() }
    }

    #[test]
    fn first_expired_iterator_is_not_reported() {
        let mut schedule = schedule();
        let failure = schedule.failed(&SourceError::Expired, || unreachable!(), at(60));
        assert_eq!(failure, ReadFailure { retry_in: None, is_unreadable: false });
        assert!(schedule.next() <= at(60), "a new one is opened at once");
        let failure = schedule.failed(&SourceError::Expired, || 1.0, at(60));
        assert_eq!(failure.retry_in, Some(Duration::from_millis(400)));
    }

    #[test]
    fn every_tenth_throttled_read_is_reported() {
        let mut schedule = schedule();
        let reported: Vec<_> = (1..=30)
            .filter(|read| schedule.throttled(1.0, at(60 * read)).retry_in.is_some())
            .collect();
        assert_eq!(reported, [10, 20, 30]);
        let read = ReadDone { started: at(3_000), bytes: 0, is_caught_up: true };
        schedule.succeeded(read, at(3_000));
        assert_eq!(schedule.throttled(1.0, at(3_060)).retry_in, None);
    }

    #[test]
    fn refused_reads_make_the_shard_unreadable() {
        let mut schedule = schedule();
        for (seconds, is_unreadable) in [(100, false), (159, false), (160, true)] {
            let failure = schedule.failed(&denied(), || 1.0, at(seconds));
            assert_eq!(failure.is_unreadable, is_unreadable, "at {seconds}");
            assert_eq!(schedule.next(), at(seconds) + failure.retry_in.unwrap());
        }
    }

    #[test]
    fn restarted_schedule_counts_a_read_in_flight() {
        let mut schedule = schedule();
        for _ in 0..4 {
            let read = ReadDone { started: at(10), bytes: 0, is_caught_up: false };
            schedule.succeeded(read, at(10));
        }
        assert_eq!(schedule.restarted(false, at(10)).next(), at(10));
        assert_eq!(schedule.restarted(true, at(10)).next(), at(11), "five reads in a second");
    }
}
