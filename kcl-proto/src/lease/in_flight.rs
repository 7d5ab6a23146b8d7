//! A write whose outcome is unknown so far: when it was first sent, and when to send it again.

use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::model::Moment;

/// The shortest pause before a throttled write is sent again.
const THROTTLED_PAUSE_MIN: Duration = Duration::from_millis(100);

/// A write whose outcome is unknown so far. Only the identical write is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InFlight<W> {
    pub(crate) write: W,
    /// When the first copy was sent. Deadlines count from here.
    pub(crate) first_sent: Moment,
    /// When to send it again, or `None` while it awaits an answer.
    resend_at: Option<Moment>,
    resend_pause: Duration,
}

impl<W: Clone> InFlight<W> {
    pub(crate) fn new(write: W, now: Moment) -> Self {
        Self { write, first_sent: now, resend_at: None, resend_pause: Backoff::RESEND.pause(1) }
    }

    /// Records that the last copy failed.
    pub(crate) fn unanswered(&mut self, now: Moment) {
        self.resend_at = Some(now + self.resend_pause);
        self.resend_pause = Backoff::RESEND.after(self.resend_pause);
    }

    /// Records that the table had no capacity for the last copy, `left` before the deadline.
    ///
    /// The less time is left, the more often the write is sent, `usual` apart at most: a table that
    /// lets only a part of the calls through then serves those first that would expire first.
    pub(crate) fn throttled(&mut self, usual: Duration, left: Duration, now: Moment) {
        self.resend_at = Some(now + usual.min((left / 8).max(THROTTLED_PAUSE_MIN)));
    }

    /// Returns when to send the write again, or `None` while it awaits an answer.
    pub(crate) const fn resend_at(&self) -> Option<Moment> {
        self.resend_at
    }

    /// Returns the write if it is to be sent again at `now`.
    pub(crate) fn resend(&mut self, now: Moment) -> Option<W> {
        self.resend_at.take_if(|at| now >= *at).map(|_| self.write.clone())
    }
}
