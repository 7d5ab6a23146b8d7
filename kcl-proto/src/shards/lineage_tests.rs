//! Which leases may start, and which ones are left over.

use super::*;
use crate::shards::family::{LeaseState as _, Member as _, ShardState as _, lease, shard, table};

fn waiting_on(shard: u32) -> Readiness {
    Readiness::Waiting { on: ShardId::new(shard.to_string()) }
}

fn key(shard: u32) -> LeaseKey {
    LeaseKey::new(shard.to_string())
}

/// Checks whether the lease of shard `of` may start. `listed` is `None` if the shard list is
/// unknown.
#[track_caller]
fn check<const N: usize>(
    leases: [Lease; N],
    listed: Option<&[Shard]>,
    of: u32,
    expected: Readiness,
) {
    let leases = table(leases);
    let found = readiness(&leases[&key(of)], &leases, listed);
    let is_workable = workable(&leases, listed).any(|lease| lease.key == key(of));
    let is_ready = expected == Readiness::Ready;
    assert_eq!((found, is_workable), (expected, is_ready));
}

fn list<const N: usize>(numbers: [u32; N]) -> [Shard; N] {
    numbers.map(shard)
}

#[test]
fn shard_without_parents_starts() {
    check([lease(0)], None, 0, Readiness::Ready);
}

#[test]
fn child_waits_for_all_parents_to_end() {
    let child = || lease(1).child_of([0]);
    check([lease(0).progressed(), child()], Some(&list([0, 1])), 1, waiting_on(0));
    check([lease(0).progressed(), child().progressed()], Some(&list([0, 1])), 1, waiting_on(0));
    check([lease(0).ended(), child()], Some(&list([0, 1])), 1, Readiness::Ready);
    let merged = || lease(2).child_of([0, 1]);
    let one_ended = [lease(0).ended(), lease(1).progressed(), merged()];
    check(one_ended, Some(&list([0, 1, 2])), 2, waiting_on(1));
    let both_ended = [lease(0).ended(), lease(1).ended(), merged()];
    check(both_ended, Some(&list([0, 1, 2])), 2, Readiness::Ready);
}

#[test]
fn parent_without_lease_is_gone_once_unlisted() {
    check([lease(1).child_of([0])], Some(&list([1])), 1, Readiness::Ready);
    check([lease(1).child_of([0])], Some(&list([0, 1])), 1, waiting_on(0));
    check([lease(1).child_of([0])], None, 1, Readiness::Unknown);
}

#[test]
fn list_older_than_the_child_proves_nothing() {
    check([lease(3).child_of([1])], Some(&list([0])), 3, Readiness::Unknown);
    check([lease(3).child_of([1])], Some(&list([])), 3, Readiness::Unknown);
    check([lease(3).child_of([1])], Some(&list([4, 5])), 3, Readiness::Ready);
}

#[test]
fn waiting_parent_outweighs_an_unknown_one() {
    check([lease(1).progressed(), lease(2).child_of([0, 1])], None, 2, waiting_on(1));
}

#[test]
fn progressed_child_ignores_missing_parents() {
    check([lease(1).child_of([0]).progressed()], Some(&list([0, 1])), 1, Readiness::Ready);
    check([lease(1).child_of([0]).progressed()], None, 1, Readiness::Ready);
}

#[test]
fn progress_of_a_sibling_proves_the_parent_finished() {
    check(
        [lease(1).child_of([0]).progressed(), lease(2).child_of([0])],
        Some(&list([0, 1, 2])),
        2,
        Readiness::Ready,
    );
    // If the sibling's own row is gone, the list links its child to the parent.
    let listed = [
        shard(0).closed(),
        shard(1).child_of([0]).closed(),
        shard(2).child_of([0]),
        shard(3).child_of([1]),
    ];
    check(
        [lease(2).child_of([0]), lease(3).child_of([1]).progressed()],
        Some(&listed),
        2,
        Readiness::Ready,
    );
}

#[test]
fn first_lease_at_a_time_ignores_missing_parents() {
    check([lease(1).child_of([0]).at_time()], Some(&list([0, 1])), 1, Readiness::Ready);
    check([lease(1).child_of([0]).at_time()], None, 1, Readiness::Ready);
    check(
        [lease(0).at_time(), lease(1).child_of([0]).at_time()],
        Some(&list([0, 1])),
        1,
        waiting_on(0),
    );
}

#[test]
fn leftover_parent_blocks_no_child() {
    check(
        [lease(0), lease(1).child_of([0]).progressed()],
        Some(&list([0, 1])),
        1,
        Readiness::Ready,
    );
}

#[track_caller]
fn check_leftovers<const N: usize, const L: usize>(
    leases: [Lease; N],
    listed: &[Shard],
    expected: [u32; L],
) {
    let leases = table(leases);
    let found = leftovers(&leases, listed);
    assert_eq!(found, expected.map(key));
    let workable: BTreeSet<_> = workable(&leases, Some(&[])).map(|lease| &lease.key).collect();
    if listed.is_empty() {
        assert!(found.iter().all(|key| !workable.contains(key)));
    }
}

#[test]
fn untouched_lease_with_progress_below_is_a_leftover() {
    check_leftovers([lease(0), lease(1).child_of([0]).progressed()], &[], [0]);
    check_leftovers(
        [lease(0), lease(1).child_of([0]).ended(), lease(3).child_of([1]).progressed()],
        &[],
        [0],
    );
    check_leftovers(
        [lease(0).at_time(), lease(1).child_of([0]).ended(), lease(3).child_of([1]).progressed()],
        &[],
        [0],
    );
    check_leftovers(
        [lease(0), lease(1).child_of([0]), lease(3).child_of([1]).progressed()],
        &[],
        [0, 1],
    );
    check_leftovers([lease(0).held(), lease(1).child_of([0]).progressed()], &[], []);
    check_leftovers([lease(0), lease(1).child_of([0]).held()], &[], []);
}

#[test]
fn list_links_descendants_whose_leases_are_gone() {
    check_leftovers([lease(0), lease(3).child_of([1]).progressed()], &[], []);
    let listed = [shard(0).closed(), shard(1).child_of([0]).closed(), shard(3).child_of([1])];
    check_leftovers([lease(0), lease(3).child_of([1]).progressed()], &listed, [0]);
}

#[test]
fn ended_leases_are_not_workable() {
    let leases = table([
        lease(0).parent_of([1, 2]).ended(),
        lease(1).child_of([0]).progressed(),
        lease(2).child_of([0]),
    ]);
    assert!(workable(&leases, None).map(|lease| &lease.key).eq(&[1, 2].map(key)));
}

#[test]
fn cyclic_lineage_terminates() {
    let leases = table([
        lease(0).child_of([1]),
        lease(1).child_of([0]),
        lease(2).child_of([2]).progressed(),
    ]);
    assert_eq!(workable(&leases, None).count(), 0);
}

#[test]
fn counter_of_a_take_exceeds_those_of_the_parents() {
    let with =
        |shard: u32, counter| Lease { counter: LeaseCounter(counter), ..lease(shard).ended() };
    let leases = table([with(0, 182), with(1, 7), lease(2).child_of([0, 1]), lease(3)]);
    let floor = |shard| counter_floor(&leases[&key(shard)], &leases);
    assert_eq!((floor(2), floor(3)), (LeaseCounter(182), LeaseCounter(0)));
    let alone = table([with(1, 7), lease(2).child_of([0, 1])]);
    assert_eq!(counter_floor(&alone[&key(2)], &alone), LeaseCounter(7), "the other is gone");
}

#[test]
fn parents_that_only_descent_proves_finished_are_unproven() {
    let child = lease(3).child_of([0, 1]);
    let unproven = |leases: &[Lease], listed: Option<&[Shard]>| {
        unproven_parents(&child, &table(leases.iter().cloned()), listed)
    };
    let sibling = lease(4).child_of([0]).progressed();
    let both = [lease(0).ended(), lease(1).ended(), sibling.clone()];
    assert_eq!(unproven(&both, None), []);
    // A scan missed the one row, and returned the other as it was before anyone took it.
    let stale = [lease(1), sibling];
    assert_eq!(unproven(&stale, None), [key(0), key(1)]);
    let listed = [shard(1).closed(), shard(3).child_of([0, 1])];
    assert_eq!(unproven(&stale, Some(&listed)), [key(1)], "the other is trimmed");
}

#[test]
fn parents_of_taken_and_of_bootstrap_leases_are_not_read() {
    let unproven = |lease: Lease| unproven_parents(&lease, &BTreeMap::new(), None);
    assert_eq!(unproven(lease(3).child_of([0])), [key(0)]);
    assert_eq!(unproven(lease(3).child_of([0]).held()), []);
    assert_eq!(unproven(lease(3).child_of([0]).at_time()), []);
}
