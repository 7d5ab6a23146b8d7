//! When a worker scans the table, takes a turn of housekeeping, and plans.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::consumer::backoff::Backoff;
use crate::fleet::housekeeping_turn;
use crate::model::{Moment, WorkerId};

/// The pause before a failed scan is retried.
pub const SCAN_RETRY_AFTER: Duration = Duration::from_millis(500);

/// The shortest pause from the end of a lease to a scan that looks for other work.
const SCAN_GAP_MIN: Duration = Duration::from_millis(100);

/// How often the whole fleet takes a turn of housekeeping.
pub const TURN_EVERY: Duration = Duration::from_secs(10);

/// The pause before a turn that failed is repeated, unless this worker's next turn comes sooner.
const TURN_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_hours(1));

/// The longest time between two plans.
const PLAN_EVERY: Duration = Duration::from_secs(5);

/// Work that is repeated, and never runs twice at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Recurring {
    next: Moment,
    is_running: bool,
}

impl Recurring {
    fn begin(&mut self, now: Moment) -> bool {
        let is_due = !self.is_running && now >= self.next;
        self.is_running |= is_due;
        is_due
    }

    const fn ended(&mut self, next: Moment) {
        *self = Self { next, is_running: false };
    }

    fn wake_at(self) -> Option<Moment> {
        (!self.is_running).then_some(self.next)
    }
}

/// When the periodic work of one worker is due.
///
/// Each `begin_*` returns whether that work is due, and marks it as running if it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    scan: Recurring,
    turn: Recurring,
    last_turn: Moment,
    turn_chance: f64,
    /// How many turns have failed in a row.
    turn_failures: u32,
    /// Whether something changed that the plan depends on.
    plan_changed: bool,
    /// When the plan changes by the passing of time.
    plan_at: Moment,
}

impl Schedule {
    /// A scan and a turn are due at `now`.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        let due = Recurring { next: now, is_running: false };
        Self {
            scan: due,
            turn: due,
            last_turn: now,
            turn_chance: 0.0,
            turn_failures: 0,
            plan_changed: false,
            plan_at: now + PLAN_EVERY,
        }
    }

    /// Whether to begin a scan now.
    pub fn begin_scan(&mut self, now: Moment) -> bool {
        self.scan.begin(now)
    }

    /// Notes that a scan ended. The next one begins after `pause`.
    pub fn scan_ended(&mut self, pause: Duration, now: Moment) {
        self.scan.ended(now + pause);
    }

    /// Has the next scan begin at once.
    pub const fn scan_now(&mut self, now: Moment) {
        self.scan.next = now;
    }

    /// Has the next scan begin shortly.
    pub fn scan_soon(&mut self, now: Moment) {
        self.scan.next = self.scan.next.min(now + SCAN_GAP_MIN);
    }

    /// Whether to begin a turn of housekeeping now.
    pub fn begin_turn(&mut self, now: Moment) -> bool {
        self.turn.begin(now)
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
        self.turn.next = self.last_turn + pause;
    }

    /// Whether to plan now.
    pub fn begin_plan(&mut self, now: Moment) -> bool {
        let is_due = self.plan_changed || now >= self.plan_at;
        self.plan_changed = false;
        is_due
    }

    /// Notes that a plan was made, and when time will change it: `None` if it will not.
    pub fn planned(&mut self, next_change: Option<Moment>, now: Moment) {
        let latest = now + PLAN_EVERY;
        self.plan_at = next_change.map_or(latest, |at| at.min(latest));
    }

    /// Notes that something changed that the plan depends on.
    pub const fn plan_changed(&mut self) {
        self.plan_changed = true;
    }

    /// When the next work is due, if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let due = [self.scan.wake_at(), self.turn.wake_at()];
        due.into_iter().flatten().fold(self.plan_at, Moment::min)
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

    #[test]
    fn a_scan_never_runs_twice_at_a_time() {
        let mut schedule = Schedule::new(at(0));
        assert!(schedule.begin_scan(at(0)));
        assert!(!schedule.begin_scan(at(9_000)));
        schedule.scan_ended(Duration::from_secs(1), at(9_000));
        assert!(!schedule.begin_scan(at(9_999)));
        assert!(schedule.begin_scan(at(10_000)));
    }

    #[test]
    fn a_scan_can_be_brought_forward() {
        let mut schedule = Schedule::new(at(0));
        schedule.scan_ended(Duration::from_secs(1), at(0));
        schedule.scan_soon(at(500));
        assert!(!schedule.begin_scan(at(599)));
        schedule.scan_soon(at(550)); // Later than what is set.
        assert!(schedule.begin_scan(at(600)));
        schedule.scan_ended(Duration::from_secs(1), at(600));
        schedule.scan_now(at(700));
        assert!(schedule.begin_scan(at(700)));
    }

    #[test]
    fn turns_depend_on_the_place_in_line() {
        let mut schedule = Schedule::new(at(0));
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
        assert!(!schedule.begin_plan(at(4_999)));
        schedule.plan_changed();
        assert!(schedule.begin_plan(at(4_999)));
        schedule.planned(Some(at(6_000)), at(4_999));
        assert!(!schedule.begin_plan(at(5_999)));
        assert!(schedule.begin_plan(at(6_000)));
        schedule.planned(Some(at(60_000)), at(6_000));
        assert!(schedule.begin_plan(at(11_000)));
    }

    #[test]
    fn it_wakes_for_what_is_due_first() {
        let mut schedule = Schedule::new(at(0));
        assert_eq!(schedule.wake_at(), at(0));
        assert!(schedule.begin_scan(at(0)) && schedule.begin_turn(at(0)));
        assert_eq!(schedule.wake_at(), at(5_000));
        schedule.scan_ended(Duration::from_secs(1), at(100));
        assert_eq!(schedule.wake_at(), at(1_100));
    }
}
