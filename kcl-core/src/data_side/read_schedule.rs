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
