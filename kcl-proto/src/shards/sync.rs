//! Which leases does the shard list call for, which ones must go, and is every hash key covered?
//!
//! A lease must exist for every open shard, and for every closed one that a shard still has to wait
//! for. It must not come back once its shard is finished: it would be processed again.
//!
//! Four facts keep these apart, whatever is stale:
//! - A shard's progress proves that all its ancestors are finished, so those are never created.
//! - A finished lease is deleted only after all its children progressed. So a shard without progress
//!   below it has not been processed: it is created, if a shard that has not progressed waits for it.
//! - A first lease that starts at a time waits for no missing parent: that one ended before.
//! - An unended lease that the list does not have is newer than the list, or its shard was trimmed.
//!   In the first case shards that overlap it may be listed as open and be long finished; in the
//!   second its consumer, at its end, creates what follows. In both nothing there is created here.
//!
//! The leases must be at least as new as the list, and read consistently where one is created: where
//! a first lease is not seen, shards that ended before the start look as if they were owed. And a plan
//! must be carried out or dropped before cleanup can have come by twice: a row that is created after
//! its own and its children's deletion looks like any other.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ChildShard, HashKeyRange, Lease, LeaseKey, NewLease, Shard, StreamStart};
use crate::shards::bootstrap::{first_lease, in_order};
use crate::shards::coverage::{gaps, touches, union};
use crate::shards::lineage::{Lineage, finished, is_bootstrap, is_leftover};

/// What to do about the leases of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct SyncPlan {
    /// Leases to create, in this order: parents before children.
    pub create: Vec<NewLease>,
    /// Leases that a late create left behind: to be deleted if nobody has taken them.
    pub delete_untouched: Vec<LeaseKey>,
    /// Hash keys that no lease stood for when the leases were read. What `create` heals is among
    /// them. A scan is no snapshot: only a hole that is seen again is one.
    pub holes: Vec<HashKeyRange>,
}

/// Compares all shards that the stream lists with all leases.
///
/// Nothing is planned before the bootstrap is complete: its leases would start too early.
pub fn plan(listed: &[Shard], leases: &BTreeMap<LeaseKey, Lease>, start: &StreamStart) -> SyncPlan {
    if !start.bootstrapped {
        return SyncPlan::default();
    }
    let sync = Sync::of(listed, leases);
    let is_left = |lease: &&Lease| is_leftover(lease, &sync.finished);
    SyncPlan {
        create: sync.create(start),
        delete_untouched: leases.values().filter(is_left).map(|left| left.key.clone()).collect(),
        holes: gaps(HashKeyRange::FULL, leases.values().filter_map(|lease| sync.stands_for(lease))),
    }
}

#[derive(Debug)]
struct Sync<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: BTreeMap<&'a str, &'a Shard>,
    parents: Lineage<'a>,
    children: Lineage<'a>,
    /// The shards that a descendant's progress proves to be finished.
    finished: BTreeSet<&'a str>,
    /// The hash keys of unended leases that are not listed.
    beyond_list: Vec<HashKeyRange>,
}

impl<'a> Sync<'a> {
    fn of(shards: &'a [Shard], leases: &'a BTreeMap<LeaseKey, Lease>) -> Self {
        let listed: BTreeMap<_, _> =
            shards.iter().map(|shard| (shard.id.as_str(), shard)).collect();
        let (parents, children) = (Lineage::up(leases, shards), Lineage::down(leases, shards));
        let finished = finished(leases, &parents);
        let unlisted = leases.values().filter(|lease| {
            !lease.is_ended()
                && !is_leftover(lease, &finished)
                && !listed.contains_key(lease.key.as_str())
        });
        let beyond_list = union(unlisted.filter_map(|lease| lease.hash_range));
        Self { leases, listed, parents, children, finished, beyond_list }
    }

    fn create(&self, start: &StreamStart) -> Vec<NewLease> {
        let open = self.listed.values().filter(|shard| !self.is_closed(shard));
        let mut wanted: BTreeMap<&str, &Shard> = open
            .filter(|shard| self.may_be_created(shard))
            .map(|shard| (shard.id.as_str(), *shard))
            .collect();
        self.add_ancestors(&mut wanted);
        let below_a_lease = self.children.reached(self.leases.keys().map(LeaseKey::as_str));
        let new_lease = |shard: &Shard| {
            if self.is_closed(shard) && !below_a_lease.contains(shard.id.as_str()) {
                // It may be older than the application's start: it owes only what came after that.
                first_lease(start, shard)
            } else {
                NewLease::of(&ChildShard::from(shard))
            }
        };
        in_order(wanted.into_values().collect()).into_iter().map(new_lease).collect()
    }

    /// Adds what the wanted leases, and those that have not progressed, wait for and has no lease.
    fn add_ancestors(&self, wanted: &mut BTreeMap<&'a str, &'a Shard>) {
        let waits = |lease: &&Lease| {
            !lease.checkpoint.has_progressed()
                && !is_bootstrap(lease)
                && !is_leftover(lease, &self.finished)
        };
        let waiting = self.leases.values().filter(waits).map(|lease| lease.key.as_str());
        let mut pending: Vec<&str> = waiting.chain(wanted.keys().copied()).collect();
        while let Some(child) = pending.pop() {
            for parent in self.parents.next(child) {
                let Some(shard) = self.listed.get(parent) else { continue };
                if self.may_be_created(shard) && wanted.insert(parent, shard).is_none() {
                    pending.push(parent);
                }
            }
        }
    }

    fn may_be_created(&self, shard: &Shard) -> bool {
        !self.has_lease(shard.id.as_str())
            && !self.finished.contains(shard.id.as_str())
            && !touches(shard.hash_range, &self.beyond_list)
    }

    /// A list that is torn between two pages may show a shard as open, and its children.
    fn is_closed(&self, shard: &Shard) -> bool {
        shard.is_closed() || self.children.next(shard.id.as_str()).next().is_some()
    }

    fn has_lease(&self, shard: &str) -> bool {
        self.leases.contains_key(shard)
    }

    /// The hash keys that a lease stands for: its shard's, until its children's leases do.
    fn stands_for(&self, lease: &Lease) -> Option<HashKeyRange> {
        let shard = lease.key.as_str();
        let is_succeeded = || {
            let mut children = self.children.next(shard).peekable();
            children.peek().is_some()
                && children.all(|child| self.has_lease(child) || self.finished.contains(child))
        };
        if is_leftover(lease, &self.finished) || (lease.is_ended() && is_succeeded()) {
            return None;
        }
        lease.hash_range.or_else(|| self.listed.get(shard).map(|shard| shard.hash_range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, StartPosition, Timestamp};
    use crate::shards::lineage::families::{leases, shards, sixteenths};

    const AT: StartPosition = StartPosition::AtTimestamp(Timestamp::from_epoch_millis(1_000));
    const OLDEST: StartPosition = StartPosition::TrimHorizon;

    fn start(position: StartPosition) -> StreamStart {
        StreamStart {
            stream: "orders".into(),
            arn: "arn:1".into(),
            id: None,
            created: Timestamp::default(),
            position,
            bootstrapped: true,
        }
    }

    /// The plan as words: `+1` creates a lease at the oldest record, `@1` at the stream's start,
    /// `-1` deletes a leftover, `?0-7` is a hole in sixteenths.
    fn words(plan: &SyncPlan) -> String {
        let create = plan.create.iter().map(|new| {
            assert_eq!(new.start_at.is_some(), new.checkpoint == Checkpoint::AtTimestamp);
            format!("{}{}", if new.start_at.is_some() { '@' } else { '+' }, new.key)
        });
        let delete = plan.delete_untouched.iter().map(|key| format!("-{key}"));
        let holes = plan.holes.iter().map(|hole| {
            let (first, last) =
                (format!("{:x}", hole.start >> 124), format!("{:x}", hole.end >> 124));
            assert_eq!(*hole, sixteenths(&first, &last));
            format!("?{first}-{last}")
        });
        create.chain(delete).chain(holes).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check_from(position: StartPosition, listed: &str, table: &str, expected: &str) {
        let plan = plan(&shards(listed), &leases(table), &start(position));
        assert_eq!(words(&plan), expected);
    }

    #[track_caller]
    fn check(listed: &str, table: &str, expected: &str) {
        check_from(OLDEST, listed, table, expected);
        check_from(AT, listed, table, expected);
    }

    const SPLIT: &str = "0:closed 1<0#0-7 2<0#8-f";
    const SPLIT_TWICE: &str = "0:closed 1<0#0-7:closed 2<0#8-f 3<1#0-3 4<1#4-7";

    #[test]
    fn nothing_to_do_is_an_empty_plan() {
        check("0", "0#0-f:on", "");
        check("0", "0:on", "");
        check(SPLIT, "0>1+2#0-f:end 1<0#0-7:on 2<0#8-f:new", "");
    }

    #[test]
    fn nothing_is_planned_before_the_bootstrap_is_complete() {
        let start = StreamStart { bootstrapped: false, ..start(OLDEST) };
        assert_eq!(plan(&shards("0"), &leases(""), &start), SyncPlan::default());
    }

    #[test]
    fn an_open_shard_without_a_lease_gets_one() {
        check(SPLIT, "0#0-f:on", "+1 +2");
        check(SPLIT, "0>1+2#0-f:end 1<0#0-7:new", "+2");
        check("0", "", "+0 ?0-f");
    }

    #[test]
    fn closed_shards_between_a_lease_and_an_open_shard_get_leases() {
        check(SPLIT_TWICE, "0#0-f:on", "+1 +2 +3 +4");
        check(SPLIT_TWICE, "0#0-f:at", "+1 +2 +3 +4");
        check(SPLIT_TWICE, "0#0-f:end", "+1 +2 +3 +4");
        check(SPLIT_TWICE, "0#0-f:on 3<1#0-3:new", "+1 +2 +4");
    }

    #[test]
    fn a_finished_lease_does_not_come_back() {
        check(SPLIT, "1<0#0-7:on 2<0#8-f:on", "");
        check(SPLIT_TWICE, "1<0#0-7:on 2<0#8-f:on", "+3 +4");
        check(SPLIT_TWICE, "2<0#8-f:on 3<1#0-3:on 4<1#4-7:on", "");
        check(SPLIT_TWICE, "2<0#8-f:on 3<1#0-3:on 4<1#4-7:new", "");
    }

    #[test]
    fn the_progress_of_one_child_keeps_its_parent_from_coming_back() {
        check(SPLIT, "1<0#0-7:on 2<0#8-f:new", "");
        check(SPLIT, "1<0#0-7:on", "+2 ?8-f");
    }

    #[test]
    fn a_missing_parent_of_untouched_children_is_created() {
        check_from(OLDEST, SPLIT, "1<0#0-7:new 2<0#8-f:new", "+0");
        check_from(OLDEST, SPLIT_TWICE, "2<0#8-f:held 3<1#0-3:new 4<1#4-7:new", "+0 +1");
    }

    #[test]
    fn an_ancestor_that_may_be_older_than_the_start_begins_at_the_start() {
        check_from(AT, SPLIT, "1<0#0-7:new 2<0#8-f:new", "@0");
        check_from(AT, SPLIT_TWICE, "2<0#8-f:on 3<1#0-3:held 4<1#4-7:new", "@1");
        check_from(AT, "0#0-7:closed 1<0#0-7 2#8-f", "2#8-f:on", "@0 +1 ?0-7");
    }

    #[test]
    fn shards_that_ended_before_the_start_are_left_out() {
        check_from(AT, SPLIT, "1<0#0-7:at 2<0#8-f:at", "");
        check_from(AT, SPLIT_TWICE, "1<0#0-7:at 2<0#8-f:at", "+3 +4");
        check_from(AT, SPLIT_TWICE, "2<0#8-f:at 3<1#0-3:at 4<1#4-7:at", "");
    }

    #[test]
    fn a_merge_needs_both_parents() {
        let merge = "0#0-7:closed 1#8-f:closed 2<0+1";
        check(merge, "0#0-7:on 1#8-f:on", "+2");
        check(merge, "0>2#0-7:end 1#8-f:on 2<0+1#0-f:new", "");
        check_from(OLDEST, merge, "0#0-7:on 2<0+1#0-f:new", "+1");
    }

    #[test]
    fn leftovers_are_deleted_and_do_not_count_as_cover() {
        check(SPLIT, "0#0-f:new 1<0#0-7:on 2<0#8-f:on", "-0");
        check(SPLIT_TWICE, "0#0-f:new 2<0#8-f:on 3<1#0-3:on 4<1#4-7:on", "-0");
        check(SPLIT, "0#0-f:new 1<0#0-7:on", "+2 -0 ?8-f");
    }

    #[test]
    fn a_stale_list_brings_nothing_back() {
        check("0", "1<0#0-7:on 2<0#8-f:on", "");
        check("0", "2<0#8-f:on 3<1#0-3:on 4<1#4-7:new", "");
        check("0", "3#0-7:on 4#8-f:on", "");
        check(SPLIT, "5<3+4#0-7:on 2<0#8-f:on", "");
        check("", "0#0-f:on", "");
    }

    #[test]
    fn a_shard_with_children_is_closed_whatever_the_list_says() {
        let torn = "0 1<0#0-7 2<0#8-f";
        check_from(AT, torn, "1<0#0-7:at 2<0#8-f:at", "");
        check_from(OLDEST, torn, "1<0#0-7:on 2<0#8-f:new", "");
        check_from(AT, torn, "", "@0 +1 +2 ?0-f");
    }

    #[test]
    fn what_follows_a_trimmed_shard_is_left_to_its_consumer() {
        check("3<2", "0#0-f:on", "");
        check("3<2", "0#0-f:end", "+3");
        check("3<2", "", "+3 ?0-f");
    }

    #[test]
    fn holes_are_reported_and_healed() {
        let two = "0#0-7 1#8-f";
        check(two, "0#0-7:on", "+1 ?8-f");
        check("0#0-7", "0#0-7:on", "?8-f");
        check("", "", "?0-f");
    }

    #[test]
    fn a_finished_shard_stands_for_its_children_until_they_have_leases() {
        check(SPLIT, "0>1+2#0-f:end", "+1 +2");
        check("0:closed", "0>1+2#0-f:end 1<0#0-7:new", "");
        check("0:closed", "0>1+2#0-f:end 1<0#0-7:new 2<0:new", "?8-f");
    }
}
