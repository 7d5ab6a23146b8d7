//! What a worker knows of the bulletin, and which of it concerns the worker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fleet::lookout::BulletinWatch;
use crate::model::{Bulletin, LeaseKey, Moment, WorkerId};

/// After what time the row of an assigned lease is read again, while this worker cannot act on it:
/// as long as the publisher waits for a take.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(4);

/// The bulletin as a worker last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulletinCopy {
    me: WorkerId,
    watch: BulletinWatch,
    bulletin: Bulletin,
    /// Since when the bulletin says that every worker is to scan.
    all_scan_since: Option<Moment>,
    /// Since when it says that this worker is to look.
    is_second_since: Option<Moment>,
    /// The leases that this worker is assigned and whose rows it has read since, and when it last
    /// did.
    looked_at: BTreeMap<LeaseKey, Moment>,
}

impl BulletinCopy {
    /// Creates the copy of worker `me`, which has not seen any bulletin.
    #[must_use]
    pub fn new(me: WorkerId) -> Self {
        Self {
            me,
            watch: BulletinWatch::default(),
            bulletin: Bulletin::EMPTY,
            all_scan_since: None,
            is_second_since: None,
            looked_at: BTreeMap::new(),
        }
    }

    /// Records a bulletin that was read or written. One that was published earlier changes nothing.
    /// Returns whether it plans otherwise than the last one.
    pub fn saw(&mut self, bulletin: Bulletin, now: Moment) -> bool {
        self.watch.saw(bulletin.number, now);
        let is_current = bulletin.number == self.watch.number();
        let is_new = is_current && !bulletin.plans_as(&self.bulletin);
        if is_current {
            self.all_scan_since = bulletin.scan.then(|| self.all_scan_since.unwrap_or(now));
            let is_second = bulletin.second.as_ref() == Some(&self.me);
            self.is_second_since = is_second.then(|| self.is_second_since.unwrap_or(now));
            let moves = &bulletin.moves;
            self.looked_at.retain(|key, _| moves.get(key) == Some(&self.me));
            self.bulletin = bulletin;
        }
        is_new
    }

    /// Records that this worker has read the rows of these leases.
    pub fn looked_at(&mut self, keys: impl IntoIterator<Item = LeaseKey>, now: Moment) {
        let Self { me, bulletin, looked_at, .. } = self;
        let mine = keys.into_iter().filter(|key| bulletin.moves.get(key) == Some(me));
        looked_at.extend(mine.map(|key| (key, now)));
    }

    /// Returns when the bulletin's number moved.
    #[must_use]
    pub const fn watch(&self) -> &BulletinWatch {
        &self.watch
    }

    /// Returns the bulletin.
    #[must_use]
    pub const fn bulletin(&self) -> &Bulletin {
        &self.bulletin
    }

    /// Whether this worker published the bulletin.
    #[must_use]
    pub fn is_mine(&self) -> bool {
        self.bulletin.by.as_ref() == Some(&self.me)
    }

    /// Since when the bulletin says that every worker is to scan.
    #[must_use]
    pub const fn all_scan_since(&self) -> Option<Moment> {
        self.all_scan_since
    }

    /// Since when the bulletin says that this worker is to look.
    #[must_use]
    pub const fn is_second_since(&self) -> Option<Moment> {
        self.is_second_since
    }

    /// Whether the worker acts on what it is assigned, instead of planning by itself.
    #[must_use]
    pub fn is_followed(&self, now: Moment) -> bool {
        !self.bulletin.scan && self.watch.is_fresh(now)
    }

    /// The leases that are to move to this worker, and whose rows it is to read.
    pub fn to_look_at(&self, now: Moment) -> impl Iterator<Item = &LeaseKey> {
        let mine = self.bulletin.moves.iter().filter(|(_, to)| **to == self.me);
        let is_due = move |at: &Moment| now.since(*at) >= LOOK_AGAIN_AFTER;
        mine.map(|(key, _)| key).filter(move |key| self.looked_at.get(*key).is_none_or(is_due))
    }

    /// The leases that are to move to other workers.
    pub fn moving_away(&self) -> impl Iterator<Item = &LeaseKey> {
        let away = self.bulletin.moves.iter().filter(|(_, to)| **to != self.me);
        away.map(|(key, _)| key)
    }

    /// The leases that are to move to this worker, as far as it has read their rows.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<LeaseKey> {
        self.looked_at.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulletin<const N: usize>(number: u64, moves: [(&str, &str); N]) -> Bulletin {
        let moves = moves.map(|(key, to)| (LeaseKey::from(key), WorkerId::from(to)));
        Bulletin { number, moves: BTreeMap::from(moves), ..Bulletin::EMPTY }
    }

    fn keys<const N: usize>(keys: [&str; N]) -> BTreeSet<LeaseKey> {
        keys.map(LeaseKey::from).into()
    }

    #[test]
    fn bulletin_is_new_if_it_plans_otherwise() {
        let (mut copy, now) = (BulletinCopy::new("me".into()), Moment::at_secs(0));
        assert!(copy.saw(bulletin(1, [("1", "me")]), now));
        let news = BTreeSet::from(["2".to_owned()]);
        assert!(!copy.saw(Bulletin { news, ..bulletin(2, [("1", "me")]) }, now));
        assert!(!copy.saw(bulletin(1, [("1", "other")]), now), "it was published earlier");
        assert!(copy.saw(bulletin(3, [("1", "other")]), now));
        assert!(copy.saw(Bulletin { scan: true, ..bulletin(4, [("1", "other")]) }, now));
        let second = Some("me".into());
        assert!(copy.saw(Bulletin { scan: true, second, ..bulletin(5, [("1", "other")]) }, now));
    }

    #[test]
    fn lease_is_assigned_once_its_row_is_read_and_while_it_is_to_move_here() {
        let (mut copy, now) = (BulletinCopy::new("me".into()), Moment::at_secs(0));
        copy.saw(bulletin(1, [("1", "me"), ("2", "me"), ("3", "other")]), now);
        assert_eq!(copy.assigned(), keys([]));
        copy.looked_at(["1", "2", "3"].map(LeaseKey::from), now);
        assert_eq!(copy.assigned(), keys(["1", "2"]));
        copy.saw(bulletin(2, [("1", "other"), ("2", "me")]), now);
        assert_eq!(copy.assigned(), keys(["2"]));
        assert_eq!(copy.moving_away().cloned().collect::<BTreeSet<_>>(), keys(["1"]));
    }

    #[test]
    fn row_of_an_assigned_lease_is_read_once_in_four_seconds() {
        let (mut copy, at) = (BulletinCopy::new("me".into()), Moment::at_secs);
        copy.saw(bulletin(1, [("1", "me"), ("2", "other")]), at(0));
        let due = |copy: &BulletinCopy, now| copy.to_look_at(at(now)).count();
        assert_eq!(due(&copy, 0), 1);
        copy.looked_at([LeaseKey::from("1")], at(0));
        assert_eq!((due(&copy, 3), due(&copy, 4)), (0, 1));
    }

    #[test]
    fn older_bulletin_changes_nothing() {
        let (mut copy, now) = (BulletinCopy::new("me".into()), Moment::at_secs(0));
        copy.saw(bulletin(2, [("1", "me")]), now);
        copy.saw(bulletin(1, []), now);
        assert_eq!(copy.to_look_at(now).count(), 1);
    }

    #[test]
    fn bulletin_is_followed_while_it_moves_and_names_the_leases() {
        let (mut copy, at) = (BulletinCopy::new("me".into()), Moment::at_secs);
        assert!(!copy.is_followed(at(0)));
        copy.saw(bulletin(1, []), at(0));
        assert!(copy.is_followed(at(9)));
        assert!(!copy.is_followed(at(10)));
        copy.saw(Bulletin { scan: true, ..bulletin(2, []) }, at(10));
        copy.saw(Bulletin { scan: true, ..bulletin(3, []) }, at(12));
        assert!(!copy.is_followed(at(12)));
        assert_eq!(copy.all_scan_since(), Some(at(10)));
        copy.saw(bulletin(4, []), at(13));
        assert!(copy.is_followed(at(13)) && copy.all_scan_since().is_none());
        for second in 14..16 {
            copy.saw(Bulletin { second: Some("me".into()), ..bulletin(second, []) }, at(second));
        }
        assert_eq!(copy.is_second_since(), Some(at(14)));
        copy.saw(Bulletin { second: Some("other".into()), ..bulletin(16, []) }, at(16));
        assert_eq!(copy.is_second_since(), None);
    }
}
