//! Who reads the whole table for a fleet that is too large for every worker to do so.
//!
//! No worker is elected. Workers with sessions stand in line by their ids; the first two of a large
//! fleet look: they poll all sessions, scan the table now and then, and publish who is to take
//! which lease. The others follow the bulletin. A bulletin that stands still makes them scan
//! again, those at the head of the line first. Workers may disagree about the line: then more of
//! them look, or fewer for a while, and only delay comes of that.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fleet::scan_interval::ScanPauses;
use crate::model::{Moment, WorkerId};

/// How many workers look.
const LOOKOUTS: usize = 2;

/// From how many read units a second on a fleet is large, if every worker scanned each second.
/// Below, lookouts cost more than they save.
const LARGE_FROM: f64 = 10.0;

/// How often the bulletin is published while nothing moves.
const PUBLISH_EVERY: Duration = Duration::from_secs(2);

/// How long the bulletin stands still before the second lookout publishes in place of the first.
const SECOND_AFTER: Duration = Duration::from_secs(5);

/// How long the bulletin stands still before no worker counts on it.
const STALE_AFTER: Duration = Duration::from_secs(10);

/// How much later each further worker in line scans once the bulletin is stale.
const NEXT_IN_LINE_AFTER: Duration = Duration::from_secs(2);

/// The longest such delay.
const IN_LINE_MAX: Duration = Duration::from_mins(2);

/// How often a lookout scans while nothing moves, unless its budget demands longer pauses: news and
/// sessions show what changes, and a scan what they miss.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// For how long a worker that follows the bulletin does not scan.
const FOLLOW_FOR: Duration = Duration::from_hours(2);

/// What a worker does to learn about the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It scans, like all others.
    Scans,
    /// It looks for the others. The first one in line publishes.
    Looks {
        /// Whether it is the first in line.
        is_first: bool,
    },
    /// It follows the bulletin.
    Follows,
}

impl Role {
    /// Whether the worker looks for the others.
    #[must_use]
    pub const fn looks(self) -> bool {
        matches!(self, Self::Looks { .. })
    }

    /// Returns how many of the workers that are present share the budget of scans.
    #[must_use]
    pub fn scanners(self, present: usize) -> usize {
        match self {
            Self::Looks { .. } => present.min(LOOKOUTS),
            Self::Scans | Self::Follows => present,
        }
    }

    /// Returns the pauses between scans, given those that the budget allows.
    #[must_use]
    pub fn scan_pauses(self, affordable: ScanPauses) -> ScanPauses {
        match self {
            Self::Scans => affordable,
            Self::Looks { .. } => {
                ScanPauses { at_rest: affordable.at_rest.max(LOOK_EVERY), ..affordable }
            }
            Self::Follows => ScanPauses { at_rest: FOLLOW_FOR, moving: FOLLOW_FOR },
        }
    }
}

/// The fleet as its line sees it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The worker that asks.
    pub me: &'a WorkerId,
    /// The workers that are present.
    pub present: &'a BTreeSet<WorkerId>,
    /// Whether all of them have sessions.
    pub has_sessions: bool,
    /// The cost of one scan, in read units.
    pub scan_units: f64,
}

impl Line<'_> {
    /// Returns where the worker stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let workers = u32::try_from(self.present.len()).unwrap_or(u32::MAX);
        let is_large = self.has_sessions && f64::from(workers) * self.scan_units > LARGE_FROM;
        Standing { place: self.present.range::<WorkerId, _>(..self.me).count(), is_large }
    }
}

/// Where a worker stands in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// How many workers are ahead of it.
    pub place: usize,
    /// Whether the fleet is so large that it needs lookouts.
    pub is_large: bool,
}

impl Standing {
    /// Returns what the worker does. `is_named` is whether the last bulletin names it as the second
    /// lookout: the line that a follower knows is as old as its last scan.
    #[must_use]
    pub fn role(self, bulletin: &BulletinWatch, is_named: bool, now: Moment) -> Role {
        if !self.is_large {
            Role::Scans
        } else if self.place < LOOKOUTS || is_named {
            Role::Looks { is_first: self.place == 0 }
        } else if bulletin.is_fresh(now) {
            Role::Follows
        } else {
            Role::Scans
        }
    }

    /// Returns when the worker scans because the bulletin stands still: it may be the next in line.
    #[must_use]
    pub fn scan_at(self, bulletin: &BulletinWatch) -> Option<Moment> {
        let place = u32::try_from(self.place).unwrap_or(u32::MAX);
        let delay = NEXT_IN_LINE_AFTER.saturating_mul(place).min(IN_LINE_MAX);
        bulletin.moved_at.map(|at| at + STALE_AFTER + delay)
    }
}

/// Remembers when the bulletin's number was last seen to move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulletinWatch {
    number: u64,
    moved_at: Option<Moment>,
}

impl BulletinWatch {
    /// Records a number that was read or written.
    pub fn saw(&mut self, number: u64, now: Moment) {
        // A smaller one was read before, unless the row was made anew.
        if number > self.number || (number != self.number && !self.is_fresh(now)) {
            *self = Self { number, moved_at: Some(now) };
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether someone looks.
    #[must_use]
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.moved_at.is_some_and(|at| now.since(at) < STALE_AFTER)
    }

    /// Returns when a lookout publishes next if nothing moves.
    #[must_use]
    pub fn publish_at(&self, is_first: bool, now: Moment) -> Moment {
        let pause = if is_first { PUBLISH_EVERY } else { SECOND_AFTER };
        self.moved_at.map_or(now, |at| at + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(size: usize) -> BTreeSet<WorkerId> {
        (0..size).map(|nth| WorkerId::new(format!("w{nth:03}"))).collect()
    }

    fn fresh() -> BulletinWatch {
        let mut watch = BulletinWatch::default();
        watch.saw(1, Moment::at_secs(0));
        watch
    }

    #[track_caller]
    fn check(me: &str, size: usize, scan_units: f64, seconds: u64, expected: Role) {
        let (me, present) = (WorkerId::from(me), fleet(size));
        let line = Line { me: &me, present: &present, has_sessions: true, scan_units };
        assert_eq!(line.standing().role(&fresh(), false, Moment::at_secs(seconds)), expected);
    }

    #[test]
    fn first_two_of_a_large_fleet_look() {
        check("w000", 200, 700.0, 0, Role::Looks { is_first: true });
        check("w001", 200, 700.0, 0, Role::Looks { is_first: false });
        check("w002", 200, 700.0, 0, Role::Follows);
        check("w199", 200, 700.0, 9, Role::Follows);
        check("w199", 200, 700.0, 10, Role::Scans);
        check("w001", 200, 700.0, 99, Role::Looks { is_first: false });
    }

    #[test]
    fn worker_that_the_bulletin_names_looks_wherever_it_stands() {
        let standing = Standing { place: 2, is_large: true };
        let looks = Role::Looks { is_first: false };
        assert_eq!(standing.role(&fresh(), true, Moment::at_secs(0)), looks);
        assert_eq!(standing.role(&fresh(), true, Moment::at_secs(99)), looks);
    }

    #[test]
    fn small_fleet_scans() {
        check("w000", 3, 1.0, 0, Role::Scans);
        check("w002", 10, 1.0, 0, Role::Scans);
        check("w002", 11, 1.0, 0, Role::Follows);
        let (me, present) = (WorkerId::from("w002"), fleet(200));
        let line = Line { me: &me, present: &present, has_sessions: false, scan_units: 700.0 };
        assert_eq!(
            line.standing().role(&fresh(), true, Moment::at_secs(0)),
            Role::Scans,
            "an older worker scans"
        );
    }

    #[test]
    fn head_of_the_line_scans_first_once_the_bulletin_is_stale() {
        let present = fleet(200);
        let scan_at = |me: &str| {
            let me = WorkerId::from(me);
            let line = Line { me: &me, present: &present, has_sessions: true, scan_units: 700.0 };
            line.standing().scan_at(&fresh())
        };
        assert_eq!(scan_at("w002"), Some(Moment::at_secs(14)));
        assert_eq!(scan_at("w003"), Some(Moment::at_secs(16)));
        assert_eq!(scan_at("w199"), Some(Moment::at_secs(130)));
    }

    #[test]
    fn two_lookouts_share_the_budget_and_scan_once_a_minute_at_rest() {
        let (looks, secs) = (Role::Looks { is_first: false }, Duration::from_secs);
        let pauses = |at_rest, moving| ScanPauses { at_rest: secs(at_rest), moving: secs(moving) };
        assert_eq!(Role::Scans.scan_pauses(pauses(7, 3)), pauses(7, 3));
        assert_eq!(looks.scan_pauses(pauses(7, 3)), pauses(60, 3));
        assert_eq!(looks.scan_pauses(pauses(90, 45)), pauses(90, 45));
        assert_eq!(Role::Follows.scan_pauses(pauses(7, 3)), pauses(7_200, 7_200));
        assert_eq!([Role::Scans, looks].map(|role| role.scanners(200)), [200, 2]);
        assert_eq!(looks.scanners(1), 1);
    }

    #[test]
    fn second_lookout_publishes_when_the_first_does_not() {
        let (watch, now) = (fresh(), Moment::at_secs(1));
        assert_eq!(watch.publish_at(true, now), Moment::at_secs(2));
        assert_eq!(watch.publish_at(false, now), Moment::at_secs(5));
        assert_eq!(BulletinWatch::default().publish_at(false, now), now);
    }

    #[test]
    fn number_of_a_new_row_counts_once_the_old_one_is_stale() {
        let mut watch = BulletinWatch::default();
        watch.saw(7, Moment::at_secs(0));
        watch.saw(6, Moment::at_secs(9));
        assert_eq!(watch.number(), 7, "a stale read");
        watch.saw(1, Moment::at_secs(10));
        assert_eq!((watch.number(), watch.is_fresh(Moment::at_secs(11))), (1, true));
    }
}
