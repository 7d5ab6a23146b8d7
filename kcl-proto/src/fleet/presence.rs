//! Which workers are there: their beat moved within an expiry, on this clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Moment, Presence, WorkerId};

/// How long a beat stands still at least before somebody removes the row.
const GONE_AFTER: Duration = Duration::from_mins(2);

/// When each worker's beat was last seen to move.
#[derive(Clone, Debug, Default)]
pub struct PresenceWatch {
    seen: BTreeMap<WorkerId, Sighting>,
}

/// A worker's row as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    beat: u64,
    /// The worker's own expiry, by which it paces its beat.
    expiry: Duration,
    /// When the beat was first seen as it is.
    since: Moment,
    /// Whether the beat moved since the row was first seen: somebody is there, and not only a row.
    has_moved: bool,
    /// Whether a lease of the worker was expired when it was last looked at.
    is_silenced: bool,
    /// The beat that the worker had when its first lease expired. It is absent until that moves.
    silenced_at: Option<u64>,
}

impl Sighting {
    fn of(row: &Presence, earlier: Option<&Self>, now: Moment) -> Self {
        match earlier {
            None => Self {
                beat: row.beat,
                expiry: row.expiry,
                since: now,
                has_moved: false,
                is_silenced: false,
                silenced_at: None,
            },
            Some(earlier) if earlier.beat == row.beat => Self { expiry: row.expiry, ..*earlier },
            Some(earlier) => {
                Self { beat: row.beat, expiry: row.expiry, since: now, has_moved: true, ..*earlier }
            }
        }
    }

    fn silence(&mut self, is_silenced: bool) {
        if is_silenced && !self.is_silenced {
            self.silenced_at = Some(self.beat);
        }
        self.is_silenced = is_silenced;
    }

    fn is_present(&self, expiry: Duration, now: Moment) -> bool {
        self.silenced_at != Some(self.beat) && now.since(self.since) < expiry.max(self.expiry)
    }
}

impl PresenceWatch {
    /// Takes in a whole scan. Workers that are not in it are gone.
    pub fn observe_scan(&mut self, rows: &[Presence], now: Moment) {
        let earlier = std::mem::take(&mut self.seen);
        let sight =
            |row: &Presence| (row.worker.clone(), Sighting::of(row, earlier.get(&row.worker), now));
        self.seen = rows.iter().map(sight).collect();
    }

    /// The workers whose beat moved, or was first seen, within `expiry` or their own, whichever is
    /// longer.
    ///
    /// `silenced` are those of whom a lease is expired now. Whoever gets in there is absent until
    /// its beat moves, even if it gets out of there before.
    pub fn present(
        &mut self,
        expiry: Duration,
        silenced: &BTreeSet<WorkerId>,
        now: Moment,
    ) -> BTreeSet<WorkerId> {
        for (worker, sighting) in &mut self.seen {
            sighting.silence(silenced.contains(worker));
        }
        let present = self.seen.iter().filter(|(_, sighting)| sighting.is_present(expiry, now));
        present.map(|(worker, _)| worker.clone()).collect()
    }

    /// Takes in that leases of these workers were expired for others, who took them: they are absent
    /// until their beats move.
    pub fn dead_for_others<'a>(&mut self, workers: impl IntoIterator<Item = &'a WorkerId>) {
        for worker in workers {
            if let Some(sighting) = self.seen.get_mut(worker) {
                sighting.silenced_at = Some(sighting.beat);
            }
        }
    }

    /// When a worker's beat last moved or was first seen; none if there is no row of it.
    ///
    /// Where a beat may stand still for longer than `expiry`, for `window` or the worker's own expiry,
    /// it is later by the difference, so that who waits for `expiry` from then on waits for that.
    #[must_use]
    pub fn last_moved(
        &self,
        worker: &WorkerId,
        expiry: Duration,
        window: Duration,
    ) -> Option<Moment> {
        let sighting = self.seen.get(worker)?;
        Some(sighting.since + sighting.expiry.max(window).saturating_sub(expiry))
    }

    /// The workers that have been silent for so long that their rows are only in the way: every
    /// scan pays for them, and who starts counts them as present at first. One that is alive after
    /// all writes its row again with its next beat.
    #[must_use]
    pub fn long_gone(&self, window: Duration, now: Moment) -> Vec<WorkerId> {
        let is_gone = |sighting: &Sighting| {
            now.since(sighting.since) >= GONE_AFTER.max(window * 2).max(sighting.expiry * 2)
        };
        let gone = self.seen.iter().filter(|(_, sighting)| is_gone(sighting));
        gone.map(|(worker, _)| worker.clone()).collect()
    }

    /// Whether a worker's beat was ever seen to move: a row alone may be what a dead one left.
    #[must_use]
    pub fn has_moved(&self, worker: &WorkerId) -> bool {
        self.seen.get(worker).is_some_and(|sighting| sighting.has_moved)
    }

    /// Another live incarnation of the same stable name: its beat moves, so it is no leftover row.
    #[must_use]
    pub fn same_name(&self, me: &WorkerId, expiry: Duration, now: Moment) -> Option<WorkerId> {
        self.seen
            .iter()
            .filter(|(worker, _)| *worker != me && worker.name() == me.name())
            .find(|(_, sighting)| sighting.has_moved && sighting.is_present(expiry, now))
            .map(|(worker, _)| worker.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    const EXPIRY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    fn scan(watch: &mut PresenceWatch, rows: &[(&str, u64)], second: u64) {
        let last_update = Timestamp::default();
        let row = |(worker, beat): &(&str, u64)| Presence {
            worker: WorkerId::new(*worker),
            beat: *beat,
            expiry: EXPIRY,
            last_update,
        };
        watch.observe_scan(&rows.iter().map(row).collect::<Vec<_>>(), at(second));
    }

    /// Who is present at `second`, while leases of `silenced` are expired.
    #[track_caller]
    fn check(watch: &mut PresenceWatch, silenced: &[&str], second: u64, expected: &[&str]) {
        let ids = |names: &[&str]| names.iter().map(|name| WorkerId::new(*name)).collect();
        assert_eq!(watch.present(EXPIRY, &ids(silenced), at(second)), ids(expected));
    }

    #[test]
    fn a_worker_is_present_for_an_expiry_after_it_was_first_seen() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1)], 5);
        scan(&mut watch, &[("a", 1)], 9);
        check(&mut watch, &[], 14, &["a"]);
        check(&mut watch, &[], 15, &[]);
    }

    #[test]
    fn a_row_whose_beat_stood_still_for_long_is_in_the_way() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        scan(&mut watch, &[("a", 1), ("b", 2)], 100);
        assert_eq!(watch.long_gone(EXPIRY, at(124)), []);
        assert_eq!(watch.long_gone(EXPIRY, at(125)), ["a".into()]);
        assert_eq!(watch.long_gone(EXPIRY * 9, at(125)), [], "who scans rarely waits longer");
    }

    #[test]
    fn a_beat_that_was_seen_once_has_not_moved() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        scan(&mut watch, &[("a", 1), ("b", 2)], 6);
        assert_eq!(
            ["a", "b", "c"].map(|worker| watch.has_moved(&worker.into())),
            [false, true, false]
        );
    }

    #[test]
    fn a_worker_with_a_longer_expiry_is_present_for_that_long() {
        let mut watch = PresenceWatch::default();
        let row = Presence {
            worker: "a".into(),
            beat: 1,
            expiry: EXPIRY * 3,
            last_update: Timestamp::default(),
        };
        watch.observe_scan(&[row], at(5));
        check(&mut watch, &[], 34, &["a"]);
        check(&mut watch, &[], 35, &[]);
        assert_eq!(watch.last_moved(&"a".into(), EXPIRY, EXPIRY), Some(at(25)));
        assert_eq!(watch.last_moved(&"a".into(), EXPIRY * 4, EXPIRY * 4), Some(at(5)));
    }

    #[test]
    fn where_scans_are_rare_a_beat_may_stand_still_for_longer() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1)], 5);
        let (worker, window) = (WorkerId::new("a"), Duration::from_secs(84));
        let sign = watch.last_moved(&worker, EXPIRY, window).unwrap();
        assert_eq!(sign + EXPIRY, at(89), "whoever waits for an expiry waits for the window");
        let ids = BTreeSet::new();
        assert_eq!(watch.present(window, &ids, at(88)), BTreeSet::from([worker]));
        assert_eq!(watch.present(window, &ids, at(89)), ids);
    }

    #[test]
    fn a_beat_that_moves_keeps_a_worker_present() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        scan(&mut watch, &[("a", 2), ("b", 1)], 9);
        assert_eq!(watch.last_moved(&"a".into(), EXPIRY, EXPIRY), Some(at(9)));
        assert_eq!(watch.last_moved(&"b".into(), EXPIRY, EXPIRY), Some(at(5)));
        assert_eq!(watch.last_moved(&"c".into(), EXPIRY, EXPIRY), None);
        check(&mut watch, &[], 18, &["a"]);
    }

    #[test]
    fn a_worker_whose_row_is_gone_is_absent_at_once() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        scan(&mut watch, &[("b", 2)], 6);
        check(&mut watch, &[], 6, &["b"]);
    }

    #[test]
    fn a_worker_of_whom_a_lease_expired_is_absent_until_its_beat_moves() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        check(&mut watch, &["a"], 6, &["b"]);
        check(&mut watch, &[], 7, &["b"]); // Its lease was taken; it is still silent.
        scan(&mut watch, &[("a", 2), ("b", 1)], 8);
        check(&mut watch, &[], 8, &["a", "b"]);
    }

    #[test]
    fn a_beat_that_moves_counts_although_the_expired_lease_is_not_taken_yet() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1)], 5);
        check(&mut watch, &["a"], 6, &[]);
        scan(&mut watch, &[("a", 2)], 8);
        check(&mut watch, &["a"], 8, &["a"]);
        scan(&mut watch, &[("a", 2)], 9);
        check(&mut watch, &["a"], 9, &["a"]);
        check(&mut watch, &[], 9, &["a"]);
        check(&mut watch, &["a"], 10, &[]); // A later lease of it expired.
    }

    #[test]
    fn a_worker_whose_lease_was_expired_for_others_is_absent_until_its_beat_moves() {
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[("a", 1), ("b", 1)], 5);
        watch.dead_for_others(&["a".into(), "stranger".into()]);
        check(&mut watch, &[], 5, &["b"]);
        scan(&mut watch, &[("a", 1), ("b", 2)], 6);
        check(&mut watch, &[], 6, &["b"]);
        scan(&mut watch, &[("a", 2), ("b", 2)], 7);
        check(&mut watch, &[], 7, &["a", "b"]);
    }

    #[test]
    fn a_live_worker_of_the_same_name_is_noticed() {
        let (me, other) = ("host:1", "host:2");
        let mut watch = PresenceWatch::default();
        scan(&mut watch, &[(me, 1), (other, 1), ("host2:3", 1)], 5);
        assert_eq!(watch.same_name(&me.into(), EXPIRY, at(5)), None, "perhaps a leftover row");
        scan(&mut watch, &[(me, 2), (other, 2), ("host2:3", 2)], 8);
        assert_eq!(watch.same_name(&me.into(), EXPIRY, at(8)), Some(other.into()));
        assert_eq!(watch.same_name(&me.into(), EXPIRY, at(18)), None, "it went silent");
    }
}
