//! Failed calls as events: the first of a kind at once, the others as a count every few seconds.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kcl_proto::model::{Moment, ShardId};
use kcl_proto::worker::repeated_failures::{FailureReport, RepeatedFailures};

use crate::report::event::Event;
use crate::report::log::chain;

/// The failed calls of one worker that no event reports yet.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<RepeatedFailures<FailedCall>>);

/// A call that failed.
#[derive(Debug)]
pub(super) struct FailedCall {
    doing: &'static str,
    shard: Option<ShardId>,
    error: String,
    retry_in: Option<Duration>,
}

impl FailedCall {
    /// A pause of zero says nothing, and counts as none.
    pub(super) fn new(
        doing: &'static str,
        shard: Option<ShardId>,
        error: &dyn Error,
        retry_in: Option<Duration>,
    ) -> Self {
        let retry_in = retry_in.filter(|pause| !pause.is_zero());
        Self { doing, shard, error: chain(error), retry_in }
    }
}

impl Failures {
    /// Notes a call that failed with an error of this text. Returns its event if it is to be
    /// emitted at once.
    pub(super) fn failed(&self, call: FailedCall, text: String, now: Moment) -> Option<Event> {
        let last = self.lock().failed(call.doing, text, call, now)?;
        Some(FailureReport { last, count: 1 }.into())
    }

    /// Returns the events that are due.
    pub(super) fn due(&self, now: Moment) -> Vec<Event> {
        let reports = self.lock().due(now);
        reports.into_iter().map(Event::from).collect()
    }

    /// When the next event is due; `None` while nothing fails.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.lock().next_due()
    }

    /// Returns the events of all calls that are not reported yet.
    pub(super) fn take_all(&self) -> Vec<Event> {
        let reports = self.lock().take_all();
        reports.into_iter().map(Event::from).collect()
    }

    fn lock(&self) -> MutexGuard<'_, RepeatedFailures<FailedCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<FailureReport<FailedCall>> for Event {
    fn from(report: FailureReport<FailedCall>) -> Self {
        let FailureReport { last: FailedCall { doing, shard, error, retry_in }, count } = report;
        Self::CallFailed { doing, shard, error, retry_in, count }
    }
}
