//! When a worker scans the table, takes a turn of housekeeping, and plans.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::fleet::housekeeping_turn;
use crate::fleet::scan_interval::ScanPauses;
use crate::model::{Moment, WorkerId};
use crate::recurring::Recurring;

/// The shortest time from a change to the scan that looks for others.
const SCAN_GAP_MIN: Duration = Duration::from_millis(100);

/// For how long a worker scans more often after a lease moved or the fleet changed. Longer than the
/// others take to notice, and to act.
const MOVING_FOR: Duration = Duration::from_secs(3);

/// How often the whole fleet takes a turn of housekeeping.
pub const TURN_EVERY: Duration = Duration::from_secs(10);

/// The pause before a turn that failed is repeated, unless this worker's next turn comes sooner.
const TURN_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_hours(1));

/// The longest time between two plans.
const PLAN_EVERY: Duration = Duration::from_secs(5);

/// How long a worker makes no plan after one, in times that it took. The thread that plans also
/// renews leases: planning takes at most a tenth of its time, however many leases change.
const PLAN_REST: u32 = 9;

/// When the periodic work of one worker is due.
///
/// Each `begin_*` returns whether that work is due, and marks it as running if it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The next page of a scan.
    scan: Recurring,
    /// Whether a scan has begun and is to be continued.
    is_scanning: bool,
    /// When the last scan ended, or `None` before the first one: until then no plan is made.
    last_scan: Option<Moment>,
    pauses: ScanPauses,
    moving_until: Moment,
    turn: Recurring,
    last_turn: Moment,
    turn_chance: f64,
    /// How many turns have failed in a row.
    turn_failures: u32,
    /// Whether something changed that the plan depends on.
    plan_changed: bool,
    /// When the plan changes by the passing of time.
    plan_at: Moment,
    /// Before this moment no plan is made.
    plan_not_before: Moment,
}

impl Schedule {
    /// A scan and a turn are due at `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let due = Recurring::new(now);
        Self {
            scan: due,
            is_scanning: false,
            last_scan: None,
            pauses: ScanPauses::SHORTEST,
            moving_until: now,
            turn: due,
            last_turn: now,
            turn_chance: 0.0,
            turn_failures: 0,
            plan_changed: false,
            plan_at: now + PLAN_EVERY,
            plan_not_before: now,
        }
    }

    /// Whether to read the next page of a scan now: the first one of a new scan, or the one at
    /// which the last read stopped.
    pub fn begin_page(&mut self, now: Moment) -> bool {
        let is_due = self.scan.begin(now);
        self.is_scanning |= is_due;
        is_due
    }

    /// Notes that a page was read, or failed. The same scan continues at `next`.
    pub const fn page_ended(&mut self, next: Moment) {
        self.scan.ended(next);
    }

    /// Notes that a scan ended, and how long to wait until the next one.
    pub fn scan_ended(&mut self, pauses: ScanPauses, now: Moment) {
        self.is_scanning = false;
        self.last_scan = Some(now);
        self.pauses = pauses;
        let pause = if now < self.moving_until { pauses.moving } else { pauses.at_rest };
        self.scan.ended(now + pause);
    }

    /// Notes that a lease moved or that the fleet changed: scans are more frequent for a while.
    pub fn moved(&mut self, now: Moment) {
        self.moving_until = now + MOVING_FOR;
        if let Some(last_scan) = self.last_scan
            && !self.is_scanning
        {
            let soon = (last_scan + self.pauses.moving).max(now + SCAN_GAP_MIN);
            self.scan.hurry(soon);
        }
    }

    /// Notes that the last scan is
    /// [outdated](crate::fleet::scan_interval::is_outdated): the next one follows soon, whatever it
    /// costs.
    pub fn outdated(&mut self, now: Moment) {
        if !self.is_scanning {
            self.scan.hurry(now + SCAN_GAP_MIN);
        }
    }

    /// Has a scan begin at `at`, unless one ended since.
    pub fn scan_by(&mut self, at: Moment) {
        if !self.is_scanning && self.last_scan.is_some_and(|last| last < at) {
            self.scan.hurry(at);
        }
    }

    /// Whether to begin a turn of housekeeping now. None begins before the first scan has ended.
    pub fn begin_turn(&mut self, now: Moment) -> bool {
        self.last_scan.is_some() && self.turn.begin(now)
    }

    /// Notes that a turn ended. Draw `chance` from `0.0..1.0`. [`line_up`](Self::line_up) sets when
    /// the next one begins.
    pub const fn turn_ended(&mut self, chance: f64, now: Moment) {
        self.turn.ended(now);
        self.last_turn = now;
        self.turn_chance = chance;
        self.turn_failures = 0;
    }

    /// Notes that a turn failed. Draw `chance` from `0.0..1.0`. [`line_up`](Self::line_up) sets when
    /// it is repeated.
    pub const fn turn_failed(&mut self, chance: f64, now: Moment) {
        let failures = self.turn_failures.saturating_add(1);
        self.turn_ended(chance, now);
        self.turn_failures = failures;
    }

    /// Sets the next turn by this worker's place among those `present`. A turn that runs is not
    /// affected.
    pub fn line_up(&mut self, me: &WorkerId, present: &BTreeSet<WorkerId>) {
        let mut pause = housekeeping_turn::delay(me, present, TURN_EVERY, self.turn_chance);
        if self.turn_failures > 0 {
            pause = pause.min(TURN_RETRY.jittered(self.turn_failures, self.turn_chance));
        }
        self.turn.set(self.last_turn + pause);
    }

    /// Whether to plan now.
    pub fn begin_plan(&mut self, now: Moment) -> bool {
        let is_due = self.plan_due().is_some_and(|at| now >= at);
        self.plan_changed &= !is_due;
        is_due
    }

    /// Notes that a plan was made in the time from `began` to `now`, and when time will change it:
    /// `None` if it will not.
    pub fn planned(&mut self, next_change: Option<Moment>, began: Moment, now: Moment) {
        let latest = now + PLAN_EVERY;
        self.plan_at = next_change.map_or(latest, |at| at.min(latest));
        self.plan_not_before = now + (now.since(began) * PLAN_REST).min(PLAN_EVERY);
    }

    /// Notes that something changed that the plan depends on.
    pub const fn plan_changed(&mut self) {
        self.plan_changed = true;
    }

    /// When the next work is due, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self, now: Moment) -> Moment {
        let turn = self.turn.wake_at().filter(|_| self.last_scan.is_some());
        let due = [self.scan.wake_at(), turn, self.plan_due()];
        due.into_iter().flatten().min().unwrap_or(now + PLAN_EVERY)
    }

    fn plan_due(&self) -> Option<Moment> {
        self.last_scan?;
        let due = if self.plan_changed { self.plan_not_before } else { self.plan_at };
        Some(due.max(self.plan_not_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(millis))
    }

    fn me() -> WorkerId {
        WorkerId::from("me")
    }

    const PAUSES: ScanPauses =
        ScanPauses { at_rest: Duration::from_secs(1), moving: Duration::from_millis(250) };

    #[test]
    fn a_scan_never_runs_twice_at_a_time() {
        let mut schedule = Schedule::new(at(0));
        assert!(schedule.begin_page(at(0)));
        assert!(!schedule.begin_page(at(9_000)));
        schedule.scan_ended(PAUSES, at(9_000));
        assert!(!schedule.begin_page(at(9_999)));
        assert!(schedule.begin_page(at(10_000)));
    }

    #[test]
    fn scans_are_more_frequent_while_leases_move() {
        let mut schedule = Schedule::new(at(0));
        schedule.scan_ended(PAUSES, at(0));
        schedule.moved(at(50));
        assert!(!schedule.begin_page(at(249)));
        assert!(schedule.begin_page(at(250)));
        schedule.scan_ended(PAUSES, at(300));
        assert!(!schedule.begin_page(at(549)));
        assert!(schedule.begin_page(at(550)));
        schedule.scan_ended(PAUSES, at(4_000)); // Nothing moved for long.
        assert!(!schedule.begin_page(at(4_999)));
        schedule.moved(at(4_800));
        assert!(!schedule.begin_page(at(4_899)), "others need a moment to act, too");
        assert!(schedule.begin_page(at(4_900)));
    }

    #[test]
    fn outdated_scan_is_followed_by_another_at_once() {
        let mut schedule = Schedule::new(at(0));
        let rare = Duration::from_secs(100);
        schedule.scan_ended(ScanPauses { at_rest: rare * 2, moving: rare }, at(0));
        schedule.moved(at(1_000));
        assert!(!schedule.begin_page(at(99_999)));
        schedule.outdated(at(1_000));
        assert!(!schedule.begin_page(at(1_099)));
        assert!(schedule.begin_page(at(1_100)));
        schedule.page_ended(at(9_000));
        schedule.outdated(at(2_000));
        assert!(!schedule.begin_page(at(8_999)), "a scan is under way");
    }

    #[test]
    fn page_that_failed_waits_for_its_retry_whatever_moves() {
        let mut schedule = Schedule::new(at(0));
        schedule.scan_ended(PAUSES, at(0));
        assert!(schedule.begin_page(at(1_000)));
        schedule.page_ended(at(3_000));
        schedule.moved(at(1_100));
        assert!(!schedule.begin_page(at(2_999)));
        assert!(schedule.begin_page(at(3_000)));
        schedule.page_ended(at(3_010));
        assert!(schedule.begin_page(at(3_010)), "the next page follows at once");
    }

    #[test]
    fn turns_depend_on_the_place_in_line() {
        let mut schedule = Schedule::new(at(0));
        assert!(!schedule.begin_turn(at(0)), "nothing is known before the first scan");
        schedule.scan_ended(PAUSES, at(0));
        assert!(schedule.begin_turn(at(0)));
        assert!(!schedule.begin_turn(at(50_000)));
        schedule.turn_ended(0.0, at(1_000));
        let first = WorkerId::from("first");
        schedule.line_up(&me(), &BTreeSet::from([first, me()]));
        assert!(!schedule.begin_turn(at(20_999)));
        schedule.line_up(&me(), &BTreeSet::from([me()]));
        assert!(schedule.begin_turn(at(11_000)));
    }

    #[test]
    fn a_failed_turn_is_repeated_soon_whatever_the_place_in_line() {
        let mut schedule = Schedule::new(at(0));
        schedule.scan_ended(PAUSES, at(0));
        let ahead = (0..16).map(|nth| WorkerId::new(format!("a{nth}")));
        let present: BTreeSet<_> = ahead.chain([me()]).collect();
        let mut now = at(0);
        for pause in [1_000, 2_000, 4_000] {
            assert!(schedule.begin_turn(now));
            schedule.turn_failed(1.0, now);
            schedule.line_up(&me(), &present);
            assert!(!schedule.begin_turn(now + Duration::from_millis(pause - 1)));
            now = now + Duration::from_millis(pause);
        }
        assert!(schedule.begin_turn(now));
        schedule.turn_ended(0.0, now);
        schedule.line_up(&me(), &present);
        assert!(!schedule.begin_turn(now + Duration::from_hours(24)));
    }

    #[test]
    fn a_plan_is_due_after_a_change_or_in_time() {
        let mut schedule = Schedule::new(at(0));
        schedule.plan_changed();
        assert!(!schedule.begin_plan(at(1_000)), "nothing is known before the first scan");
        schedule.scan_ended(PAUSES, at(1_000));
        assert!(schedule.begin_plan(at(1_000)));
        schedule.planned(None, at(1_000), at(1_000));
        assert!(!schedule.begin_plan(at(4_999)));
        schedule.plan_changed();
        assert!(schedule.begin_plan(at(4_999)));
        schedule.planned(Some(at(6_000)), at(4_999), at(4_999));
        assert!(!schedule.begin_plan(at(5_999)));
        assert!(schedule.begin_plan(at(6_000)));
        schedule.planned(Some(at(60_000)), at(6_000), at(6_000));
        assert!(schedule.begin_plan(at(11_000)));
    }

    #[test]
    fn plans_take_a_tenth_of_the_time() {
        let mut schedule = Schedule::new(at(0));
        schedule.scan_ended(PAUSES, at(0));
        assert!(schedule.begin_turn(at(0)));
        schedule.planned(None, at(0), at(20));
        schedule.plan_changed();
        assert_eq!(schedule.wake_at(at(20)), at(200));
        assert!(!schedule.begin_plan(at(199)));
        assert!(schedule.begin_plan(at(200)), "the change is not forgotten");
        assert!(!schedule.begin_plan(at(201)));
        schedule.planned(Some(at(300)), at(200), at(3_200)); // A machine that stood still.
        assert!(!schedule.begin_plan(at(8_199)));
        assert!(schedule.begin_plan(at(8_200)));
    }

    #[test]
    fn it_wakes_for_what_is_due_first() {
        let mut schedule = Schedule::new(at(0));
        assert_eq!(schedule.wake_at(at(0)), at(0));
        assert!(schedule.begin_page(at(0)));
        assert_eq!(schedule.wake_at(at(7_000)), at(12_000), "nothing is due before the scan ends");
        schedule.scan_ended(PAUSES, at(100));
        assert!(schedule.begin_turn(at(100)));
        assert_eq!(schedule.wake_at(at(100)), at(1_100));
    }
}
