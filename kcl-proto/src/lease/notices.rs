//! Which owners are to learn of requests for their leases, and when: each with one
//! [`Ask`](crate::lease::session_write::SessionWriteKind::Ask) for all that came together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{LeaseKey, Moment, WorkerId};

/// The least time between two notices to one owner.
const NOTICE_EVERY: Duration = Duration::from_millis(200);

/// The pause after a notice that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The most notices in flight.
const IN_FLIGHT_MAX: usize = 4;

/// What one owner is to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    keys: BTreeSet<LeaseKey>,
    /// When the next one may be sent.
    from: Moment,
    is_in_flight: bool,
}

/// The notices to owners that make no renewals, which would show them a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    owners: BTreeMap<WorkerId, Notice>,
}

impl Notices {
    /// Adds that this worker asks `owner` for a lease.
    pub fn add(&mut self, owner: WorkerId, key: LeaseKey, now: Moment) {
        let new = Notice { keys: BTreeSet::new(), from: now, is_in_flight: false };
        self.owners.entry(owner).or_insert(new).keys.insert(key);
    }

    /// Removes and returns the next notice to send, or `None` if none is due or enough are in
    /// flight. Pass its end to [`ended`](Self::ended).
    pub fn next(&mut self, now: Moment) -> Option<(WorkerId, BTreeSet<LeaseKey>)> {
        if !self.has_room() {
            return None;
        }
        let mut due = self.owners.iter_mut().filter(|(_, notice)| notice.is_ready());
        let (owner, notice) = due.find(|(_, notice)| now >= notice.from)?;
        notice.is_in_flight = true;
        Some((owner.clone(), std::mem::take(&mut notice.keys)))
    }

    /// Records that a notice was sent, or failed: then it is sent again later.
    pub fn ended(
        &mut self,
        owner: &WorkerId,
        keys: BTreeSet<LeaseKey>,
        is_sent: bool,
        now: Moment,
    ) {
        let Some(notice) = self.owners.get_mut(owner) else { return };
        notice.is_in_flight = false;
        notice.from = now + if is_sent { NOTICE_EVERY } else { RETRY_AFTER };
        if !is_sent {
            notice.keys.extend(keys);
        }
        self.owners
            .retain(|_, notice| notice.is_in_flight || notice.is_ready() || now < notice.from);
    }

    /// Returns when the next notice may be sent, or `None` if none waits or enough are in flight.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        let ready = self.owners.values().filter(|notice| notice.is_ready());
        ready.map(|notice| notice.from).min().filter(|_| self.has_room())
    }

    fn has_room(&self) -> bool {
        self.owners.values().filter(|notice| notice.is_in_flight).count() < IN_FLIGHT_MAX
    }
}

impl Notice {
    fn is_ready(&self) -> bool {
        !self.is_in_flight && !self.keys.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<const N: usize>(keys: [&str; N]) -> BTreeSet<LeaseKey> {
        keys.map(LeaseKey::from).into()
    }

    #[test]
    fn requests_that_come_together_share_a_notice() {
        let mut notices = Notices::default();
        let (a, at) = (WorkerId::from("a"), Moment::at_millis);
        assert_eq!(notices.next(at(0)), None);
        notices.add(a.clone(), "1".into(), at(0));
        assert_eq!(notices.next(at(0)), Some((a.clone(), keys(["1"]))));
        notices.add(a.clone(), "2".into(), at(5));
        notices.add(a.clone(), "3".into(), at(6));
        assert_eq!((notices.next(at(7)), notices.wake_at()), (None, None), "one is in flight");
        notices.ended(&a, keys(["1"]), true, at(10));
        assert_eq!((notices.next(at(209)), notices.wake_at()), (None, Some(at(210))));
        assert_eq!(notices.next(at(210)), Some((a.clone(), keys(["2", "3"]))));
        notices.ended(&a, keys(["2", "3"]), true, at(220));
        notices.add("b".into(), "4".into(), at(999));
        assert_eq!(notices.next(at(999)), Some(("b".into(), keys(["4"]))));
        notices.ended(&"b".into(), keys(["4"]), true, at(1_000));
        assert_eq!(notices.owners.len(), 1, "an owner is forgotten");
    }

    #[test]
    fn notice_that_failed_is_sent_again_with_what_came_since() {
        let mut notices = Notices::default();
        let (a, at) = (WorkerId::from("a"), Moment::at_millis);
        notices.add(a.clone(), "1".into(), at(0));
        assert!(notices.next(at(0)).is_some());
        notices.add(a.clone(), "2".into(), at(5));
        notices.ended(&a, keys(["1"]), false, at(10));
        assert_eq!(notices.next(at(1_009)), None);
        assert_eq!(notices.next(at(1_010)), Some((a, keys(["1", "2"]))));
    }

    #[test]
    fn few_notices_are_in_flight() {
        let mut notices = Notices::default();
        for owner in ["a", "b", "c", "d", "e"] {
            notices.add(owner.into(), "1".into(), Moment::at_secs(0));
        }
        let sent = std::iter::from_fn(|| notices.next(Moment::at_secs(0)));
        assert_eq!(sent.count(), IN_FLIGHT_MAX);
        assert_eq!(notices.wake_at(), None);
    }
}
