//! Which leases are created and deleted, and which hash keys have none.

use super::*;
use crate::model::{Checkpoint, StartPosition, StreamDescription, Timestamp};
use crate::shards::bootstrap::taken_over;
use crate::shards::family::{
    LeaseState as _, Member as _, ShardState as _, lease, shard, sixteenths, table,
};

/// A start at the oldest record.
fn oldest() -> StreamStart {
    StreamStart::sample()
}

/// A start at a time.
fn at_time() -> StreamStart {
    let position = StartPosition::AtTimestamp(Timestamp::from_epoch_seconds(1));
    StreamStart { position, ..StreamStart::sample() }
}

/// What a plan should do.
#[derive(Clone, Debug, Default)]
struct Expected {
    /// The shards whose leases are created, and whether each starts where the application started.
    create: Vec<(String, bool)>,
    delete: Vec<String>,
    holes: Vec<HashKeyRange>,
}

fn expect() -> Expected {
    Expected::default()
}

fn nothing() -> Expected {
    expect()
}

impl Expected {
    /// Leases are created that start with the oldest record.
    fn create<const N: usize>(mut self, shards: [u32; N]) -> Self {
        self.create.extend(shards.map(|number| (number.to_string(), false)));
        self
    }

    /// Leases are created that start where the application started.
    fn create_at_start<const N: usize>(mut self, shards: [u32; N]) -> Self {
        self.create.extend(shards.map(|number| (number.to_string(), true)));
        self
    }

    /// Leftovers are deleted.
    fn delete<const N: usize>(mut self, shards: [u32; N]) -> Self {
        self.delete.extend(shards.map(|number| number.to_string()));
        self
    }

    /// No lease stands for these sixteenths of all hash keys.
    fn hole(mut self, first: u128, last: u128) -> Self {
        self.holes.push(sixteenths(first, last));
        self
    }
}

#[track_caller]
fn check_from(
    start: &StreamStart,
    listed: &[Shard],
    leases: &BTreeMap<LeaseKey, Lease>,
    expected: Expected,
) {
    let plan = plan(listed, leases, start);
    let create = plan.create.iter().map(|new| {
        assert_eq!(new.start_at.is_some(), new.checkpoint == Checkpoint::AtTimestamp);
        (new.key.to_string(), new.start_at.is_some())
    });
    let delete: Vec<_> = plan.delete_untouched.iter().map(LeaseKey::to_string).collect();
    let Expected { create: to_create, delete: to_delete, holes } = expected;
    assert_eq!((create.collect::<Vec<_>>(), delete, plan.holes), (to_create, to_delete, holes));
}

#[track_caller]
fn check_oldest<const N: usize>(listed: &[Shard], leases: [Lease; N], expected: Expected) {
    check_from(&oldest(), listed, &table(leases), expected);
}

#[track_caller]
fn check_at_time<const N: usize>(listed: &[Shard], leases: [Lease; N], expected: Expected) {
    check_from(&at_time(), listed, &table(leases), expected);
}

/// Checks the plan of an application that started anywhere.
#[track_caller]
fn check<const N: usize>(listed: &[Shard], leases: [Lease; N], expected: Expected) {
    let leases = table(leases);
    check_from(&oldest(), listed, &leases, expected.clone());
    check_from(&at_time(), listed, &leases, expected);
}

/// Shard 0 was split into 1 and 2.
fn split() -> [Shard; 3] {
    [
        shard(0).closed(),
        shard(1).child_of([0]).hash_keys(0, 7),
        shard(2).child_of([0]).hash_keys(8, 15),
    ]
}

/// Shard 0 was split into 1 and 2, and 1 into 3 and 4.
fn split_twice() -> [Shard; 5] {
    [
        shard(0).closed(),
        shard(1).child_of([0]).hash_keys(0, 7).closed(),
        shard(2).child_of([0]).hash_keys(8, 15),
        shard(3).child_of([1]).hash_keys(0, 3),
        shard(4).child_of([1]).hash_keys(4, 7),
    ]
}

/// The lease of shard 0.
fn whole() -> Lease {
    lease(0).hash_keys(0, 15)
}

/// The lease of shard 1, the left child of 0.
fn left() -> Lease {
    lease(1).child_of([0]).hash_keys(0, 7)
}

/// The lease of shard 2, the right child of 0.
fn right() -> Lease {
    lease(2).child_of([0]).hash_keys(8, 15)
}

/// The lease of shard 3, the left child of 1.
fn left_left() -> Lease {
    lease(3).child_of([1]).hash_keys(0, 3)
}

/// The lease of shard 4, the right child of 1.
fn left_right() -> Lease {
    lease(4).child_of([1]).hash_keys(4, 7)
}

#[test]
fn complete_table_needs_nothing() {
    check(&[shard(0)], [whole().progressed()], nothing());
    check(&[shard(0)], [lease(0).progressed()], nothing());
    check(&split(), [whole().parent_of([1, 2]).ended(), left().progressed(), right()], nothing());
}

#[test]
fn incomplete_bootstrap_plans_nothing() {
    let start = StreamStart { bootstrapped: false, ..oldest() };
    assert_eq!(plan(&[shard(0)], &table([]), &start), SyncPlan::default());
}

#[test]
fn open_shard_without_lease_gets_one() {
    check(&split(), [whole().progressed()], expect().create([1, 2]));
    check(&split(), [whole().parent_of([1, 2]).ended(), left()], expect().create([2]));
    check(&[shard(0)], [], expect().create([0]).hole(0, 15));
}

#[test]
fn closed_shards_above_an_open_one_get_leases() {
    check(&split_twice(), [whole().progressed()], expect().create([1, 2, 3, 4]));
    check(&split_twice(), [whole().at_time()], expect().create([1, 2, 3, 4]));
    check(&split_twice(), [whole().ended()], expect().create([1, 2, 3, 4]));
    check(&split_twice(), [whole().progressed(), left_left()], expect().create([1, 2, 4]));
}

#[test]
fn finished_lease_does_not_return() {
    check(&split(), [left().progressed(), right().progressed()], nothing());
    check(&split_twice(), [left().progressed(), right().progressed()], expect().create([3, 4]));
    check(
        &split_twice(),
        [right().progressed(), left_left().progressed(), left_right().progressed()],
        nothing(),
    );
    check(
        &split_twice(),
        [right().progressed(), left_left().progressed(), left_right()],
        nothing(),
    );
}

#[test]
fn progress_of_one_child_keeps_the_parent_away() {
    check(&split(), [left().progressed(), right()], nothing());
    check(&split(), [left().progressed()], expect().create([2]).hole(8, 15));
}

#[test]
fn missing_parent_of_untouched_children_is_created() {
    check_oldest(&split(), [left(), right()], expect().create([0]));
    check_oldest(
        &split_twice(),
        [right().held(), left_left(), left_right()],
        expect().create([0, 1]),
    );
}

#[test]
fn ancestor_older_than_the_start_begins_at_the_start() {
    check_at_time(&split(), [left(), right()], expect().create_at_start([0]));
    check_at_time(
        &split_twice(),
        [right().progressed(), left_left().held(), left_right()],
        expect().create_at_start([1]),
    );
    check_at_time(
        &[
            shard(0).hash_keys(0, 7).closed(),
            shard(1).child_of([0]).hash_keys(0, 7),
            shard(2).hash_keys(8, 15),
        ],
        [lease(2).hash_keys(8, 15).progressed()],
        expect().create_at_start([0]).create([1]).hole(0, 7),
    );
}

#[test]
fn shards_that_ended_before_the_start_are_left_out() {
    check_at_time(&split(), [left().at_time(), right().at_time()], nothing());
    check_at_time(&split_twice(), [left().at_time(), right().at_time()], expect().create([3, 4]));
    check_at_time(
        &split_twice(),
        [right().at_time(), left_left().at_time(), left_right().at_time()],
        nothing(),
    );
}

#[test]
fn merge_needs_both_parents() {
    let merge = [
        shard(0).hash_keys(0, 7).closed(),
        shard(1).hash_keys(8, 15).closed(),
        shard(2).child_of([0, 1]),
    ];
    check(
        &merge,
        [lease(0).hash_keys(0, 7).progressed(), lease(1).hash_keys(8, 15).progressed()],
        expect().create([2]),
    );
    check(
        &merge,
        [
            lease(0).parent_of([2]).hash_keys(0, 7).ended(),
            lease(1).hash_keys(8, 15).progressed(),
            lease(2).child_of([0, 1]).hash_keys(0, 15),
        ],
        nothing(),
    );
    check_oldest(
        &merge,
        [lease(0).hash_keys(0, 7).progressed(), lease(2).child_of([0, 1]).hash_keys(0, 15)],
        expect().create([1]),
    );
}

#[test]
fn leftovers_are_deleted_and_cover_nothing() {
    check(&split(), [whole(), left().progressed(), right().progressed()], expect().delete([0]));
    check(
        &split_twice(),
        [whole(), right().progressed(), left_left().progressed(), left_right().progressed()],
        expect().delete([0]),
    );
    check(&split(), [whole(), left().progressed()], expect().create([2]).delete([0]).hole(8, 15));
}

#[test]
fn stale_list_brings_nothing_back() {
    check(&[shard(0)], [left().progressed(), right().progressed()], nothing());
    check(&[shard(0)], [right().progressed(), left_left().progressed(), left_right()], nothing());
    check(
        &[shard(0)],
        [lease(3).hash_keys(0, 7).progressed(), lease(4).hash_keys(8, 15).progressed()],
        nothing(),
    );
    check(
        &split(),
        [lease(5).child_of([3, 4]).hash_keys(0, 7).progressed(), right().progressed()],
        nothing(),
    );
    check(&[], [whole().progressed()], nothing());
}

#[test]
fn shard_with_children_counts_as_closed() {
    let torn =
        [shard(0), shard(1).child_of([0]).hash_keys(0, 7), shard(2).child_of([0]).hash_keys(8, 15)];
    check_at_time(&torn, [left().at_time(), right().at_time()], nothing());
    check_oldest(&torn, [left().progressed(), right()], nothing());
    check_at_time(&torn, [], expect().create_at_start([0]).create([1, 2]).hole(0, 15));
}

#[test]
fn successors_of_a_trimmed_shard_are_left_to_its_consumer() {
    check(&[shard(3).child_of([2])], [whole().progressed()], nothing());
    check(&[shard(3).child_of([2])], [whole().ended()], expect().create([3]));
    check(&[shard(3).child_of([2])], [], expect().create([3]).hole(0, 15));
}

#[test]
fn holes_are_reported_and_healed() {
    check(
        &[shard(0).hash_keys(0, 7), shard(1).hash_keys(8, 15)],
        [lease(0).hash_keys(0, 7).progressed()],
        expect().create([1]).hole(8, 15),
    );
    check(
        &[shard(0).hash_keys(0, 7)],
        [lease(0).hash_keys(0, 7).progressed()],
        expect().hole(8, 15),
    );
    check(&[], [], expect().hole(0, 15));
}

#[test]
fn finished_shard_covers_until_its_children_have_leases() {
    check(&split(), [whole().parent_of([1, 2]).ended()], expect().create([1, 2]));
    check(&[shard(0).closed()], [whole().parent_of([1, 2]).ended(), left()], nothing());
    check(
        &[shard(0).closed()],
        [whole().parent_of([1, 2]).ended(), left(), lease(2).child_of([0])],
        expect().hole(8, 15),
    );
}

/// Shard 0 was split while no worker ran, so that the table has a lease of the parent alone.
#[test]
fn children_of_a_taken_over_lease_start_at_the_oldest() {
    let start = taken_over(&StreamDescription::sample());
    check_from(&start, &split(), &table([whole().progressed()]), expect().create([1, 2]));
}

#[test]
fn taken_over_table_creates_nothing_finished() {
    let start = taken_over(&StreamDescription::sample());
    let plan = plan(&split(), &table([left().progressed(), right().progressed()]), &start);
    assert_eq!(plan, SyncPlan::default());
}
