//! Which finished leases may be deleted?

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, Moment, ShardId};
use crate::shards::lineage::{Lineage, finished};

/// For how long a lease is seen to be finished before it is deleted.
///
/// A create that somebody planned when the lease did not exist yet fails while the row is there. It
/// must not succeed afterwards: the shard would be processed again.
pub const REST: Duration = Duration::from_mins(2);

/// Since when each lease has been seen to be finished.
#[derive(Clone, Debug, Default)]
pub struct CleanupWatch {
    ended: BTreeMap<LeaseKey, Moment>,
}

impl CleanupWatch {
    /// Takes in a whole scan.
    pub fn observe_scan(&mut self, leases: &[Lease], now: Moment) {
        let earlier = std::mem::take(&mut self.ended);
        let since = |key: &LeaseKey| earlier.get(key).copied().unwrap_or(now);
        let ended = leases.iter().filter(|lease| lease.is_ended());
        self.ended = ended.map(|lease| (lease.key.clone(), since(&lease.key))).collect();
    }

    /// The leases that have been finished for long enough.
    #[must_use]
    pub fn rested(&self, now: Moment) -> BTreeSet<LeaseKey> {
        let rested = self.ended.iter().filter(|(_, since)| now.since(**since) >= REST);
        rested.map(|(key, _)| key.clone()).collect()
    }
}

/// The leases of finished shards that nothing depends on any more, with their counters as read.
///
/// A child that has not progressed still needs its parent's row, as the proof that it may start. And
/// a row stays as long as a parent's does, because the parent's own deletion rests on its children's
/// rows: a family is deleted one generation at a time, the oldest first.
#[must_use]
pub fn deletable(leases: &BTreeMap<LeaseKey, Lease>) -> Vec<(LeaseKey, LeaseCounter)> {
    let finished = finished(leases, &Lineage::up(leases, &[]));
    let is_deletable = |lease: &&Lease| {
        lease.is_ended()
            && !lease.children.is_empty()
            && lease.children.iter().all(|child| has_progressed(child, leases, &finished))
            && !lease.parents.iter().any(|parent| needs_children(parent, leases))
    };
    leases.values().filter(is_deletable).map(|lease| (lease.key.clone(), lease.counter)).collect()
}

/// Whether a shard has progressed. Without a lease its descendants can tell: they progress after it.
fn has_progressed(
    shard: &ShardId,
    leases: &BTreeMap<LeaseKey, Lease>,
    finished: &BTreeSet<&str>,
) -> bool {
    leases.get(shard.as_str()).map_or_else(
        || finished.contains(shard.as_str()),
        |lease| lease.checkpoint.has_progressed(),
    )
}

/// Whether a parent has a lease whose deletion rests on its children's.
///
/// A finished lease that names no children, as Java leaves it when the shard was trimmed, is never
/// deleted here, and must not keep all its descendants.
fn needs_children(parent: &ShardId, leases: &BTreeMap<LeaseKey, Lease>) -> bool {
    leases
        .get(parent.as_str())
        .is_some_and(|lease| !(lease.is_ended() && lease.children.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::lineage::families::leases;

    #[track_caller]
    fn check(table: &str, expected: &str) {
        let found = deletable(&leases(table));
        assert!(found.iter().all(|(_, counter)| *counter == LeaseCounter(5)));
        let names: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn a_finished_lease_rests_before_it_goes() {
        let at = |seconds| Moment::from_origin(Duration::from_secs(seconds));
        let table = |text| leases(text).into_values().collect::<Vec<_>>();
        let mut watch = CleanupWatch::default();
        watch.observe_scan(&table("0>1:end 1<0:on"), at(5));
        watch.observe_scan(&table("0>1:end 1<0:end"), at(60));
        assert_eq!(watch.rested(at(124)), BTreeSet::new());
        assert_eq!(watch.rested(at(125)), ["0"].map(LeaseKey::new).into());
        watch.observe_scan(&table("1<0:end"), at(130));
        watch.observe_scan(&table("0>1:end 1<0:end"), at(140));
        assert_eq!(watch.rested(at(200)), ["1"].map(LeaseKey::new).into(), "it began anew");
    }

    #[test]
    fn a_finished_lease_goes_once_all_its_children_have_progressed() {
        check("0>1+2:end 1<0:on 2<0:on", "0");
        check("0>1+2:end 1<0>3:end 2<0:on", "0");
        check("0>1+2:end 1<0:on 2<0:new", "");
        check("0>1+2:end 1<0:on 2<0:held", "");
        check("0>1+2:end 1<0:on 2<0:at", "");
    }

    #[test]
    fn a_lease_that_has_not_ended_stays() {
        check("0>1:on 1<0:on", "");
    }

    #[test]
    fn a_finished_lease_whose_children_are_not_known_stays() {
        check("0:end 1<0:on", "");
        check("0>1+2:end 1<0:on", "");
    }

    #[test]
    fn a_missing_child_is_proven_by_its_own_children() {
        check("0>1+2:end 2<0:on 3<1:on", "0");
        check("0>1+2:end 2<0:on 3<1:new", "");
    }

    #[test]
    fn families_go_one_generation_at_a_time() {
        check("0>1:end 1<0>2:end 2<1:on", "0");
        check("1<0>2:end 2<1:on", "1");
        check("0>2:end 1>2:end 2<0+1:on", "0 1");
    }

    #[test]
    fn a_finished_lease_without_children_keeps_no_descendants() {
        check("0:end 1<0>2:end 2<1:on", "1");
    }

    #[test]
    fn a_lease_stays_while_a_parent_is_unended() {
        check("0:on 1<0>2:end 2<1:on", "");
    }
}
