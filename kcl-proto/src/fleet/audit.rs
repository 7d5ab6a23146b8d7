//! Which rows a worker that does not scan reads, although nothing says that they changed: someone
//! may have deleted one by hand.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{LeaseKey, Moment};
use crate::recurring::Recurring;

/// In what time the rows of all leases that a worker holds are read.
const EVERY: Duration = Duration::from_mins(4);

/// Where a worker is in reading the rows of its leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    reading: Recurring,
    /// The last lease whose row was read, if others follow.
    last: Option<LeaseKey>,
}

impl Audit {
    /// The first rows are due at `now`.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { reading: Recurring::new(now), last: None }
    }

    /// Returns what to read now of the leases that are held: at most `most`, in turn.
    pub fn next(
        &mut self,
        held: impl FnOnce() -> BTreeSet<LeaseKey>,
        most: usize,
        now: Moment,
    ) -> Vec<LeaseKey> {
        if !self.reading.begin(now) {
            return Vec::new();
        }
        let held = held();
        let parts = u32::try_from(held.len().div_ceil(most)).unwrap_or(u32::MAX);
        self.reading.ended(now + EVERY / parts.max(1));
        let is_next = |key: &&LeaseKey| self.last.as_ref().is_none_or(|last| *key > last);
        let keys: Vec<_> = held.iter().filter(is_next).take(most).cloned().collect();
        self.last = keys.last().filter(|_| keys.len() == most).cloned();
        keys
    }

    /// When the next rows are due.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        self.reading.wake_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_read_in_turn_in_four_minutes() {
        let (mut audit, at) = (Audit::new(Moment::at_secs(0)), Moment::at_secs);
        let mut next = |now| {
            let held = || ["1", "2", "3"].map(LeaseKey::from).into();
            audit.next(held, 2, at(now)).iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!([next(0), next(119), next(120), next(240)], ["12", "", "3", "12"]);
        assert_eq!(audit.next(BTreeSet::new, 2, at(400)), []);
        assert_eq!(audit.wake_at(), Some(at(640)));
    }
}
