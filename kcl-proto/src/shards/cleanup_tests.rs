//! Which finished leases go, and when.

use super::*;
use crate::shards::family::{LeaseState as _, Member as _, lease, table};

#[track_caller]
fn check<const N: usize, const D: usize>(leases: [Lease; N], expected: [u32; D]) {
    let found = deletable(&table(leases));
    assert!(found.iter().all(|(_, counter)| *counter == LeaseCounter(5)));
    let keys: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, expected.map(|number| LeaseKey::new(number.to_string())));
}

#[test]
fn finished_lease_rests_before_it_goes() {
    let mut watch = CleanupWatch::default();
    let parent = || lease(0).parent_of([1]).ended();
    let child = || lease(1).child_of([0]);
    watch.observe_scan(&[parent(), child().progressed()], Moment::at_secs(5));
    watch.observe_scan(&[parent(), child().ended()], Moment::at_secs(60));
    assert_eq!(watch.deletable_at(Moment::at_secs(124)), BTreeSet::new());
    assert_eq!(watch.deletable_at(Moment::at_secs(125)), ["0"].map(LeaseKey::new).into());
    watch.observe_scan(&[child().ended()], Moment::at_secs(130));
    watch.observe_scan(&[parent(), child().ended()], Moment::at_secs(140));
    let due = watch.deletable_at(Moment::at_secs(200));
    assert_eq!(due, ["1"].map(LeaseKey::new).into(), "a row that returns starts anew");
}

#[test]
fn finished_lease_goes_once_all_children_progressed() {
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(1).child_of([0]).progressed(),
            lease(2).child_of([0]).progressed(),
        ],
        [0],
    );
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(1).child_of([0]).parent_of([3]).ended(),
            lease(2).child_of([0]).progressed(),
        ],
        [0],
    );
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(1).child_of([0]).progressed(),
            lease(2).child_of([0]),
        ],
        [],
    );
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(1).child_of([0]).progressed(),
            lease(2).child_of([0]).held(),
        ],
        [],
    );
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(1).child_of([0]).progressed(),
            lease(2).child_of([0]).at_time(),
        ],
        [],
    );
}

#[test]
fn unended_lease_stays() {
    check([lease(0).parent_of([1]).progressed(), lease(1).child_of([0]).progressed()], []);
}

#[test]
fn finished_lease_with_unknown_children_stays() {
    check([lease(0).ended(), lease(1).child_of([0]).progressed()], []);
    check([lease(0).parent_of([1, 2]).ended(), lease(1).child_of([0]).progressed()], []);
}

#[test]
fn missing_child_is_proven_by_its_own_children() {
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(2).child_of([0]).progressed(),
            lease(3).child_of([1]).progressed(),
        ],
        [0],
    );
    check(
        [
            lease(0).parent_of([1, 2]).ended(),
            lease(2).child_of([0]).progressed(),
            lease(3).child_of([1]),
        ],
        [],
    );
}

#[test]
fn families_go_one_generation_at_a_time() {
    check(
        [
            lease(0).parent_of([1]).ended(),
            lease(1).child_of([0]).parent_of([2]).ended(),
            lease(2).child_of([1]).progressed(),
        ],
        [0],
    );
    check(
        [lease(1).child_of([0]).parent_of([2]).ended(), lease(2).child_of([1]).progressed()],
        [1],
    );
    check(
        [
            lease(0).parent_of([2]).ended(),
            lease(1).parent_of([2]).ended(),
            lease(2).child_of([0, 1]).progressed(),
        ],
        [0, 1],
    );
}

#[test]
fn finished_lease_without_children_keeps_no_descendants() {
    check(
        [
            lease(0).ended(),
            lease(1).child_of([0]).parent_of([2]).ended(),
            lease(2).child_of([1]).progressed(),
        ],
        [1],
    );
}

#[test]
fn lease_stays_while_a_parent_is_unended() {
    check(
        [
            lease(0).progressed(),
            lease(1).child_of([0]).parent_of([2]).ended(),
            lease(2).child_of([1]).progressed(),
        ],
        [],
    );
}
