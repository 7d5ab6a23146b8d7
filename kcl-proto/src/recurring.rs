//! Work that is repeated, and never runs twice at a time.

use crate::model::Moment;

/// When work that is repeated is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurring {
    next: Moment,
    /// Nothing hurries it to a moment before this one.
    not_before: Moment,
    is_running: bool,
}

impl Recurring {
    /// Work that is due at `now`.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { next: now, not_before: now, is_running: false }
    }

    /// Whether to begin now. Marks the work as running if so.
    pub fn begin(&mut self, now: Moment) -> bool {
        let is_due = !self.is_running && now >= self.next;
        self.is_running |= is_due;
        is_due
    }

    /// Notes that the work has ended. It is due again at `next`, or sooner if something
    /// [hurries](Self::hurry) it.
    pub const fn ended(&mut self, next: Moment) {
        self.next = next;
        self.is_running = false;
    }

    /// Has the work not begin before `until`, whatever hurries it.
    pub fn rest(&mut self, until: Moment) {
        self.not_before = until;
        self.next = self.next.max(until);
    }

    /// Has the work begin at `at` unless it is due sooner, or has to rest. Does nothing while it
    /// runs.
    pub fn hurry(&mut self, at: Moment) {
        if !self.is_running {
            self.next = self.next.min(at.max(self.not_before));
        }
    }

    /// Sets when the work is due. Does nothing while it runs.
    pub const fn set(&mut self, next: Moment) {
        if !self.is_running {
            self.next = next;
        }
    }

    /// When the work is due, or `None` while it runs.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        (!self.is_running).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_runs_twice_at_a_time() {
        let (mut work, at) = (Recurring::new(Moment::at_secs(0)), Moment::at_secs);
        assert_eq!(work.wake_at(), Some(at(0)));
        assert!(work.begin(at(0)));
        assert_eq!(work.wake_at(), None);
        work.hurry(at(0));
        assert!(!work.begin(at(99)));
        work.ended(at(100));
        assert_eq!(work.wake_at(), Some(at(100)));
        assert!(!work.begin(at(99)));
        assert!(work.begin(at(100)));
    }

    #[test]
    fn rests_however_often_it_is_hurried() {
        let (mut work, at) = (Recurring::new(Moment::at_secs(0)), Moment::at_secs);
        assert!(work.begin(at(0)));
        work.ended(at(6));
        work.rest(at(2));
        assert_eq!(work.wake_at(), Some(at(6)));
        work.hurry(at(1));
        assert_eq!(work.wake_at(), Some(at(2)));
        work.hurry(at(4));
        assert_eq!(work.wake_at(), Some(at(2)), "it is due sooner");
    }
}
