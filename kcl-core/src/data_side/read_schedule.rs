//! When a shard is read next: its pace, and the pauses after failed reads.

use std::time::Duration;

use kcl_proto::consumer::backoff::{self, Backoff};
use kcl_proto::consumer::read_pace::{Pace, ReadDone};
use kcl_proto::model::Moment;

use crate::backend::SourceError;
use crate::config::RetrievalConfig;

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
    /// Since when every read has been refused, or `None` if the last failure may pass. A refusal
    /// after an outage says nothing about the time before it.
    refused_since: Option<Moment>,
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
    /// A shard that is read from `now` on, as `config` says.
    pub(super) fn new(config: &RetrievalConfig, now: Moment) -> Self {
        let pace = Pace::new(config.poll_every, config.reads_per_second);
        Self { pace, next: now, failing: None, throttled: 0 }
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
        self.failing = None; // Kinesis answered, and accepted the request.
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
        let is_retryable = error.is_retryable();
        let first = Failing { since: now, count: 0, refused_since: None };
        let failing = self.failing.get_or_insert(first);
        failing.count = failing.count.saturating_add(1);
        let refused_since = failing.refused_since.unwrap_or(now);
        failing.refused_since = (!is_retryable).then_some(refused_since);
        let Failing { since, count, refused_since } = *failing;
        if count == 1 && matches!(error, SourceError::Expired) {
            // An iterator expires while a consumer is busy: a new one is opened at once.
            return ReadFailure { retry_in: None, is_unreadable: false };
        }
        let backoff = if is_retryable { Backoff::READ } else { Backoff::READ_REFUSED };
        let retry_in = backoff.jittered(count, chance());
        self.next = self.next.max(now + retry_in);
        let is_unreadable =
            backoff::is_unreadable(now - since, refused_since.map(|since| now - since));
        ReadFailure { retry_in: Some(retry_in), is_unreadable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at(seconds: u64) -> ReadDone {
        let (is_full, is_pushed) = (false, false);
        ReadDone { started: at(seconds), bytes: 0, behind_latest: None, is_full, is_pushed }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn schedule() -> ReadSchedule {
        ReadSchedule::new(&RetrievalConfig::default(), at(0))
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
        schedule.succeeded(read_at(3_000), at(3_000));
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

    fn unavailable() -> SourceError {
        SourceError::Unavailable { stream: "stream".into(), source: "no route".into() }
    }

    /// Checks after which of these failed reads, at seconds, the shard is unreadable.
    #[track_caller]
    fn check(reads: impl IntoIterator<Item = (u64, SourceError)>, expected: Option<u64>) {
        let mut schedule = schedule();
        let found = reads.into_iter().find_map(|(second, error)| {
            let failure = schedule.failed(&error, || 1.0, at(second));
            failure.is_unreadable.then_some(second)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn refusal_after_an_outage_gets_its_own_time() {
        let outage = || (0..240).map(|second| (second, unavailable()));
        let refused = |seconds: std::ops::Range<u64>| seconds.map(|second| (second, denied()));
        check(outage().chain(refused(240..299)), None);
        check(outage().chain(refused(240..400)), Some(300));
        check(refused(0..400), Some(60));
        check(refused(0..59).chain([(59, unavailable())]).chain(refused(60..400)), Some(120));
    }

    #[test]
    fn throttled_read_ends_an_outage() {
        let mut schedule = schedule();
        schedule.failed(&unavailable(), || 1.0, at(0));
        schedule.throttled(1.0, at(299));
        assert!(!schedule.failed(&unavailable(), || 1.0, at(301)).is_unreadable);
    }

    #[test]
    fn restarted_schedule_counts_a_read_in_flight() {
        let mut schedule = schedule();
        schedule.succeeded(read_at(10), at(10));
        assert_eq!(schedule.restarted(false, at(10)).next(), at(10));
        assert_eq!(schedule.restarted(true, at(10)).next(), at(11), "two reads in a second");
    }
}
