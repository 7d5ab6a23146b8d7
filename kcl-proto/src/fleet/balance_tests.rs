//! Plans for small fleets.

use super::*;
use crate::model::{Checkpoint, WriteStamp};

#[path = "balance_rounds_tests.rs"]
mod rounds;

const SILENT: Duration = Duration::from_secs(10);

fn lease(key: &str, owner: Option<&str>, checkpoint_owner: Option<&str>) -> Lease {
    Lease {
        key: key.into(),
        owner: owner.map(WorkerId::new),
        checkpoint_owner: checkpoint_owner.map(WorkerId::new),
        counter: LeaseCounter(7),
        owner_switches: 2,
        checkpoint: Checkpoint::TrimHorizon,
        pending: None,
        parents: BTreeSet::new(),
        children: BTreeSet::new(),
        hash_range: None,
        start_at: None,
        expiry: None,
        caught_up_at: None,
        last_write: None,
    }
}

/// What one worker knows; owns what a [`Fleet`] borrows.
struct View {
    me: WorkerId,
    leases: BTreeMap<LeaseKey, Lease>,
    workable: BTreeSet<LeaseKey>,
    expired: BTreeMap<LeaseKey, Duration>,
    present: BTreeSet<WorkerId>,
    held: BTreeSet<LeaseKey>,
    blocked: BTreeSet<LeaseKey>,
    refused: BTreeSet<LeaseKey>,
    asked: BTreeSet<LeaseKey>,
    leftover: BTreeSet<LeaseKey>,
}

impl View {
    /// What `a` sees. `1=b` is b's, `1=b>c` goes from b to c, `1=-` is nobody's. Marks behind it: `!`
    /// expired, `*` not held by a although the row says so, `x` blocked, `=` refused, `?` asked for by a,
    /// `+` left over, `/` not workable.
    fn of(present: &str, rows: &str) -> Self {
        let me = WorkerId::new("a");
        let present = present.split_whitespace().map(WorkerId::new).collect();
        let mut view = Self {
            me,
            leases: BTreeMap::new(),
            workable: BTreeSet::new(),
            expired: BTreeMap::new(),
            present,
            held: BTreeSet::new(),
            blocked: BTreeSet::new(),
            refused: BTreeSet::new(),
            asked: BTreeSet::new(),
            leftover: BTreeSet::new(),
        };
        for row in rows.split_whitespace() {
            view.enter(row);
        }
        view
    }

    fn enter(&mut self, row: &str) {
        let (key, rest) = row.split_once('=').unwrap();
        let marks = rest.trim_start_matches(|c: char| matches!(c, 'A' | 'a'..='w' | '>' | '-'));
        let lease = match rest.trim_end_matches(marks).split_once('>') {
            Some((victim, next)) => lease(key, Some(next), Some(victim)),
            None if rest.starts_with('-') => lease(key, None, None),
            None => lease(key, Some(rest.trim_end_matches(marks)), None),
        };
        let key = || lease.key.clone();
        let is = |mark: char| marks.contains(mark);
        self.held.extend((lease.holder() == Some(&self.me) && !is('*')).then(key));
        self.workable.extend((!is('/')).then(key));
        self.blocked.extend(is('x').then(key));
        self.refused.extend(is('=').then(key));
        self.asked.extend(is('?').then(key));
        self.leftover.extend(is('+').then(key));
        self.expired.extend(is('!').then(|| (key(), SILENT)));
        self.leases.insert(lease.key.clone(), lease);
    }

    fn plan(&self, leases_max: Option<usize>, hand_overs_max: usize) -> BalancePlan {
        let fleet = Fleet {
            me: &self.me,
            leases: &self.leases,
            workable: &self.workable,
            expired: &self.expired,
            present: &self.present,
            held: &self.held,
            blocked: &self.blocked,
            refused: &self.refused,
            asked: &self.asked,
            leftover: &self.leftover,
        };
        plan(&fleet, &Limits { leases_max, hand_overs_max })
    }
}

/// What `a` takes and asks for, by key, or how many if the rows leave a choice (`#2`).
#[track_caller]
fn check(present: &str, rows: &str, take: &str, ask: &str) {
    check_within((None, 9), present, rows, (take, ask));
}

#[track_caller]
fn check_within(
    (leases_max, hand_overs_max): (Option<usize>, usize),
    present: &str,
    rows: &str,
    (take, ask): (&str, &str),
) {
    let plan = View::of(present, rows).plan(leases_max, hand_overs_max);
    let same = |keys: Vec<&str>, expected: &str| {
        if expected.starts_with('#') {
            assert_eq!(format!("#{}", keys.len()), expected, "{plan:?}");
        } else {
            let keys: BTreeSet<_> = keys.into_iter().collect();
            assert_eq!(keys, expected.split_whitespace().collect(), "{plan:?}");
        }
    };
    same(plan.take.iter().map(|take| take.key.as_str()).collect(), take);
    same(plan.ask.iter().map(|ask| ask.key.as_str()).collect(), ask);
}

#[test]
fn a_worker_alone_takes_whatever_is_free() {
    check("a", "1=- 2=- 3=b!", "1 2 3", "");
    check("", "1=- 2=-", "1 2", "");
}

#[test]
fn a_worker_takes_its_share_of_what_is_free() {
    check("a b", "1=- 2=- 3=- 4=-", "#2", "");
    check("a b", "1=- 2=- 3=b! 4=a", "#1", "");
    check("a b c", "1=- 2=b 3=c", "1", "");
}

#[test]
fn shares_add_up_so_that_nothing_stays_free() {
    check("a b", "1=- 2=- 3=-", "#2", ""); // The first id gets the larger share,
    check("A a", "1=- 2=- 3=-", "#1", "");
    check("a b", "1=- 2=b 3=-", "#1", ""); // or who holds more.
}

#[test]
fn only_workable_leases_count() {
    check("a b", "1=-/ 2=b 3=b/ 4=b/ 5=a", "", "");
}

#[test]
fn a_lease_that_was_handed_over_is_taken_at_once() {
    check("a b", "1=a 2=a* 3=b", "2", "");
    check("a b", "1=a 2=a*x 3=b", "", "");
    check_within((Some(1), 9), "a b", "1=a 2=a* 3=b", ("2", ""));
}

#[test]
fn a_live_owner_is_asked_and_never_robbed() {
    check("a b", "1=b 2=b 3=b 4=b", "", "#2");
    check("a b", "1=b 2=b 3=b", "", "#1");
}

#[test]
fn nobody_asks_for_a_difference_of_one() {
    check("a b", "1=b", "", "");
    check("a b", "1=a 2=b 3=b", "", "");
    check("a b c", "1=a 2=b 3=b 4=c 5=c", "", "");
}

#[test]
fn a_worker_below_the_floor_asks_one_at_the_ceiling() {
    check("a b c", "1=a 2=b 3=b 4=b 5=c 6=c 7=c", "", "#1");
}

#[test]
fn those_who_are_short_divide_the_surplus() {
    check("a b c", "1=b 2=b 3=b 4=b 5=b 6=b", "", "#2");
    check("a b c", "1=a 2=c 3=b 4=b 5=b 6=b 7=b", "", "#1");
    check("A a b", "1=A 2=a 3=b 4=b 5=b", "", ""); // It is for the first id.
}

#[test]
fn a_hand_over_that_was_begun_counts_for_its_target() {
    check("a b c", "1=b 2=b>c 3=b 4=b>a 5=b 6=c", "", "#1");
    check("a b", "1=b 2=b 3=b>a 4=b>a?", "", "");
    check("a b", "1=a>b 2=a 3=b", "", "");
}

#[test]
fn a_hand_over_to_somebody_absent_counts_for_the_holder() {
    check("a b", "1=b>c 2=b 3=a", "", "");
    check("a b", "1=a>c 2=b 3=a", "", "");
}

#[test]
fn open_requests_count_as_mine_and_are_capped() {
    check("a b", "1=b? 2=b? 3=b 4=b", "", "");
    check_within((None, 3), "a b", "1=b? 2=b? 3=b 4=b 5=b 6=b 7=b 8=b", ("", "#1"));
    check_within((None, 2), "a b", "1=b? 2=b? 3=b 4=b 5=b 6=b 7=b 8=b", ("", ""));
}

#[test]
fn free_leases_come_before_requests() {
    check("a b", "1=- 2=b 3=b 4=b", "1", "#1");
    check("a b", "1=- 2=- 3=b 4=b", "1 2", "");
}

#[test]
fn what_an_absent_worker_owns_is_waited_for() {
    check("a b", "1=c 2=c 3=b 4=b", "", "");
    check("a b", "1=c! 2=c 3=b 4=b", "1", "");
}

#[test]
fn blocked_leases_are_neither_taken_nor_asked_for() {
    check("a", "1=-x 2=-", "2", "");
    check("a b", "1=bx 2=b", "", "2");
}

#[test]
fn what_was_refused_is_taken_once_it_is_free_and_not_asked_for() {
    check("a b", "1=b= 2=b", "", "2");
    check("a b", "1=-= 2=b", "1", "");
    check("a b", "1=c!= 2=b", "1", "");
}

#[test]
fn a_hand_over_whose_holder_died_is_for_who_asked() {
    check("a b", "1=c>a?!", "1", ""); // My own request: its victim died.
    check("a b", "1=c>a!", "1", "");
    check("a b", "1=c>b! 2=-", "2", "");
    check("a b", "1=c>b!+ 2=b", "1", ""); // b lets it lie.
    check("a b", "1=c>d! 2=b", "1", ""); // Both sides are dead.
}

#[test]
fn what_is_left_over_is_taken_above_the_share() {
    check("a b", "1=a 2=a 3=b 4=-", "", "");
    check("a b", "1=a 2=a 3=b 4=-+", "4", "");
    check("a b c", "1=a 2=b 3=-+ 4=-+ 5=a 6=b", "#1", ""); // b takes the other one.
    check_within((Some(2), 9), "a b", "1=a 2=a 3=b 4=-+", ("", ""));
}

#[test]
fn nobody_goes_above_its_own_maximum() {
    check_within((Some(2), 9), "a", "1=a 2=- 3=-", ("#1", ""));
    check_within((Some(1), 9), "a b", "1=b 2=b 3=b 4=b", ("", "#1"));
    check_within((Some(1), 9), "a b", "1=a>b 2=-", ("", "")); // It leaves, and is not gone yet.
}

#[test]
fn what_is_held_here_is_mine_whatever_the_scan_says() {
    let mut view = View::of("a b", "1=b 2=-");
    view.held.insert("1".into());
    let plan = view.plan(None, 9);
    assert_eq!((plan.mine, plan.fair_share, plan.take.len()), (1, (1, 1), 0));
}

#[test]
fn other_free_leases_are_spare_for_takes_that_are_lost() {
    let plan = View::of("a b", "1=- 2=- 3=- 4=- 5=a").plan(None, 9);
    assert_eq!((plan.mine, plan.fair_share), (1, (2, 3)));
    let keys: BTreeSet<_> = plan.take.iter().chain(&plan.spare).map(|take| &take.key).collect();
    assert_eq!((plan.take.len(), plan.spare.len(), keys.len()), (2, 2, 4));
    assert_eq!(View::of("a b", "1=a 2=-").plan(None, 9).spare, [], "has its share");
}

#[test]
fn joiners_choose_differently() {
    let rows: String = (0..100).map(|key| format!("{key}=- ")).collect();
    let mut view = View::of("a b", &rows);
    let first: BTreeSet<_> = view.plan(None, 9).take.into_iter().map(|take| take.key).collect();
    view.me = "b".into();
    let both = view.plan(None, 9).take.into_iter().filter(|take| first.contains(&take.key)).count();
    assert!((15..35).contains(&both), "{both} of 50 candidates are the same");
}

#[test]
fn a_take_says_why_and_counts_changes_of_ownership() {
    let taken = |row: &str, writer: &str| {
        let mut view = View::of("a", row);
        let (counter, worker) = (LeaseCounter(7), WorkerId::new(writer));
        view.leases.get_mut("1").unwrap().last_write =
            Some(WriteStamp { counter, worker, number: 0 });
        let take = view.plan(None, 9).take.remove(0);
        assert_eq!(take.counter, counter);
        (take.why, take.owner_switches)
    };
    let expired = TakeReason::Expired { silent_for: SILENT };
    assert_eq!(taken("1=-", "b"), (TakeReason::Unowned, 2));
    assert_eq!(taken("1=b!", "b"), (expired, 3));
    assert_eq!(taken("1=b>a!", "b"), (expired, 3));
    assert_eq!(taken("1=a*", "b"), (TakeReason::HandedOver, 3));
    assert_eq!(taken("1=a*", "a"), (TakeReason::HandedOver, 2)); // A hand-over that I cancelled.
}
