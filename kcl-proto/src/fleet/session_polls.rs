//! Which sessions to read next, so that each heartbeat is seen soon after it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Moment, Session, WorkerId};

/// How often a session is read once its next heartbeat is due.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// How much earlier than expected a session is read after one read sufficed: how long its heartbeat
/// had been there is unknown then.
const EARLY_UNKNOWN: Duration = POLL_EVERY;

/// How much earlier after several reads were needed.
const EARLY_KNOWN: Duration = Duration::from_millis(100);

/// The least time between two polls: what is due meanwhile shares one.
const GROUP_EVERY: Duration = Duration::from_millis(250);

/// A session that is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Polled {
    /// The last heartbeat that was seen.
    beat: u64,
    due: Moment,
    /// Whether a read has shown that heartbeat once more.
    is_awaited: bool,
}

/// The sessions that this worker polls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPolls {
    sessions: BTreeMap<WorkerId, Polled>,
    last: Option<Moment>,
}

impl SessionPolls {
    /// Replaces the workers whose sessions are polled. New ones are due at once.
    pub fn set(&mut self, workers: &BTreeSet<WorkerId>, now: Moment) {
        self.sessions.retain(|worker, _| workers.contains(worker));
        for worker in workers {
            self.sessions.entry(worker.clone()).or_insert(Polled {
                beat: 0,
                due: now,
                is_awaited: false,
            });
        }
    }

    /// Records a row that was read. The next heartbeat comes a third of an expiry after the last
    /// one, unless the worker is set up otherwise.
    pub fn saw(&mut self, row: &Session, now: Moment) {
        let Some(polled) = self.sessions.get_mut(&row.worker) else { return };
        if row.beat > polled.beat {
            let early = if polled.is_awaited { EARLY_KNOWN } else { EARLY_UNKNOWN };
            let due = now + (row.expiry / 3).saturating_sub(early);
            *polled = Polled { beat: row.beat, due, is_awaited: false };
        } else {
            polled.is_awaited = true;
        }
    }

    /// Removes and returns what to read now, at most `rows_max` rows.
    pub fn next(&mut self, rows_max: usize, now: Moment) -> Vec<WorkerId> {
        if self.wake_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let due = self.sessions.iter_mut().filter(|(_, polled)| now >= polled.due);
        let due: Vec<_> = due
            .take(rows_max)
            .map(|(worker, polled)| {
                polled.due = now + POLL_EVERY;
                worker.clone()
            })
            .collect();
        self.last = Some(now);
        due
    }

    /// Returns when to read next, or `None` if nothing is polled.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        let due = self.sessions.values().map(|polled| polled.due).min()?;
        Some(self.last.map_or(due, |last| due.max(last + GROUP_EVERY)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers<const N: usize>(ids: [&str; N]) -> BTreeSet<WorkerId> {
        ids.map(WorkerId::from).into()
    }

    fn row(worker: &str, beat: u64) -> Session {
        Session { beat, expiry: Duration::from_secs(9), ..Session::sample(worker) }
    }

    #[test]
    fn session_is_read_when_its_heartbeat_is_due_and_then_until_it_moves() {
        let (mut polls, at) = (SessionPolls::default(), Moment::at_millis);
        assert_eq!(polls.wake_at(), None);
        polls.set(&workers(["a"]), at(0));
        assert_eq!(polls.next(9, at(0)), ["a".into()]);
        polls.saw(&row("a", 5), at(10));
        assert_eq!(polls.wake_at(), Some(at(2_510)), "it may be half a second old");
        assert_eq!(polls.next(9, at(2_509)), []);
        assert_eq!(polls.next(9, at(2_510)), ["a".into()]);
        polls.saw(&row("a", 5), at(2_520));
        assert_eq!(polls.wake_at(), Some(at(3_010)), "it stands still");
        assert_eq!(polls.next(9, at(3_010)), ["a".into()]);
        polls.saw(&row("a", 6), at(3_020));
        assert_eq!(polls.wake_at(), Some(at(5_920)));
    }

    #[test]
    fn sessions_that_are_due_together_share_a_poll() {
        let (mut polls, at) = (SessionPolls::default(), Moment::at_millis);
        polls.set(&workers(["a", "b", "c"]), at(0));
        assert_eq!(polls.next(2, at(0)), ["a".into(), "b".into()]);
        assert_eq!(polls.next(2, at(249)), []);
        assert_eq!(polls.next(2, at(250)), ["c".into()]);
        polls.set(&workers(["b"]), at(300));
        assert_eq!(polls.next(9, at(500)), ["b".into()]);
    }
}
