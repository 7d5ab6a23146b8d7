//! A shard ended → which shards go on with its hash keys.

use std::collections::BTreeSet;

use crate::model::{ChildShard, HashKeyRange, SequenceNumber, Shard, ShardId};
use crate::shards::coverage::covers;

/// A shard that has ended, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its id.
    pub id: &'a ShardId,
    /// Its parents.
    pub parents: &'a BTreeSet<ShardId>,
    /// Its hash keys; absent on rows of old Java versions.
    pub hash_range: Option<HashKeyRange>,
    /// A sequence number inside of it, if one is known.
    pub reached: Option<SequenceNumber>,
}

/// Who goes on with the hash keys of an ended shard. Together they cover all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Successors {
    /// All of its children.
    Children(Vec<ChildShard>),
    /// The nearest descendants that are left: some children were trimmed, with what they held.
    Descendants(Vec<ChildShard>),
}

/// Looks whether these children cover the shard: its end need not tell all of them.
#[must_use]
pub fn told(shard: &Ended<'_>, children: &[ChildShard]) -> Option<Successors> {
    let is_proven = match shard.hash_range {
        Some(range) => covered(range, children),
        None => !children.is_empty(),
    };
    is_proven.then(|| Successors::Children(children.to_vec()))
}

/// Looks for successors of the shard among the listed shards; none if they do not prove that it
/// ended, perhaps because the list is stale.
#[must_use]
pub fn listed(shard: &Ended<'_>, shards: &[Shard]) -> Option<Successors> {
    let itself = shards.iter().find(|listed| listed.id == *shard.id);
    if itself.is_some_and(|itself| !itself.is_closed()) {
        return None;
    }
    let range = shard.hash_range.or_else(|| itself.map(|itself| itself.hash_range));
    let children: Vec<_> = shards
        .iter()
        .filter(|listed| listed.parents.contains(shard.id))
        .map(ChildShard::from)
        .collect();
    let shard = Ended { hash_range: range, ..*shard };
    told(&shard, &children).or_else(|| descendants(&shard, itself, shards))
}

/// The oldest shards that are left of those which came after this one.
///
/// Shards share the hash keys among them at any time. So whoever has some of this shard's keys and
/// began later descends from it, even if those in between are listed no longer.
fn descendants(shard: &Ended<'_>, itself: Option<&Shard>, shards: &[Shard]) -> Option<Successors> {
    let range = shard.hash_range?;
    let ended_at = itself.and_then(|itself| itself.ending_sequence).or(shard.reached);
    // A shard is trimmed after its parents. A list with a parent and without the shard is stale.
    let has_parent = shards.iter().any(|listed| shard.parents.contains(&listed.id));
    if itself.is_none() && has_parent {
        return None;
    }
    let later: Vec<_> = shards
        .iter()
        .filter(|listed| listed.id != *shard.id && listed.hash_range.overlaps(&range))
        .filter(|listed| ended_at.is_none_or(|at| listed.starting_sequence > at))
        .collect();
    let known: BTreeSet<_> = later.iter().map(|later| &later.id).collect();
    let oldest: Vec<_> = later
        .iter()
        .filter(|later| !later.parents.iter().any(|parent| known.contains(parent)))
        .map(|later| ChildShard::from(*later))
        .collect();
    covered(range, &oldest).then_some(Successors::Descendants(oldest))
}

fn covered(range: HashKeyRange, by: &[ChildShard]) -> bool {
    covers(range, by.iter().map(|child| child.hash_range))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listed shard: id, parents, hash range, start, end.
    type Row<'a> = (&'a str, &'a [&'a str], (u128, u128), u128, Option<u128>);

    fn shard(&(id, parents, (start, end), from, to): &Row<'_>) -> Shard {
        Shard {
            id: id.into(),
            parents: parents.iter().map(|&parent| parent.into()).collect(),
            hash_range: HashKeyRange { start, end },
            starting_sequence: from.into(),
            ending_sequence: to.map(SequenceNumber::from),
        }
    }

    /// Looks for successors of the shard "p", whose hash keys are 0 to 99 and whose parent is "o".
    #[track_caller]
    fn check(reached: Option<u128>, rows: &[Row<'_>], expected: Option<(bool, &[&str])>) {
        let shards: Vec<_> = rows.iter().map(shard).collect();
        let ended = Ended {
            id: &"p".into(),
            parents: &BTreeSet::from(["o".into()]),
            hash_range: Some(HashKeyRange { start: 0, end: 99 }),
            reached: reached.map(SequenceNumber::from),
        };
        let found = listed(&ended, &shards).map(|successors| match successors {
            Successors::Children(found) => (true, found),
            Successors::Descendants(found) => (false, found),
        });
        let ids = found.map(|(direct, found)| {
            (direct, found.into_iter().map(|child| child.id).collect::<Vec<_>>())
        });
        let expected = expected.map(|(direct, ids)| {
            (direct, ids.iter().map(|&id| ShardId::from(id)).collect::<Vec<_>>())
        });
        assert_eq!(ids, expected);
    }

    const PARENT: Row<'_> = ("p", &["o"], (0, 99), 10, Some(20));
    const LEFT: Row<'_> = ("l", &["p"], (0, 49), 21, None);
    const RIGHT: Row<'_> = ("r", &["p"], (50, 99), 21, None);
    const OTHER: Row<'_> = ("x", &[], (100, 199), 1, None);

    #[test]
    fn the_children_are_those_that_name_the_shard() {
        check(None, &[PARENT, LEFT, RIGHT, OTHER], Some((true, &["l", "r"])));
        check(None, &[LEFT, RIGHT], Some((true, &["l", "r"])));
        check(None, &[PARENT, ("m", &["p", "x"], (0, 199), 21, None)], Some((true, &["m"])));
    }

    #[test]
    fn a_list_without_all_children_proves_nothing() {
        check(None, &[PARENT, LEFT, OTHER], None);
        check(None, &[PARENT], None);
        check(None, &[], None);
    }

    #[test]
    fn a_shard_that_is_listed_as_open_has_not_ended() {
        check(None, &[("p", &["o"], (0, 99), 10, None), LEFT, RIGHT], None);
    }

    #[test]
    fn trimmed_children_are_replaced_by_the_oldest_descendants_that_are_left() {
        let (rl, rr) =
            (("rl", &["r"][..], (50, 59), 31, Some(40)), ("rr", &["r"][..], (60, 99), 31, None));
        let rll = ("rll", &["rl"][..], (50, 59), 41, None);
        check(None, &[LEFT, rl, rr, rll, OTHER], Some((false, &["l", "rl", "rr"])));
        check(Some(20), &[LEFT, rl, rr, rll], Some((false, &["l", "rl", "rr"])));
        check(Some(20), &[LEFT, rl, rll], None);
    }

    #[test]
    fn what_began_before_the_shard_ended_does_not_descend_from_it() {
        let ancestor = ("a", &[][..], (0, 99), 1, Some(9));
        check(Some(15), &[ancestor], None);
        check(None, &[PARENT, ancestor], None);
    }

    #[test]
    fn a_list_with_the_parent_but_without_the_shard_is_stale() {
        check(None, &[("o", &[], (0, 99), 1, Some(9))], None);
        check(None, &[("o", &[], (0, 199), 1, None)], None);
    }

    #[test]
    fn what_the_end_tells_counts_if_it_covers_the_shard() {
        let ended = |hash_range| Ended {
            id: Box::leak(Box::new("p".into())),
            parents: Box::leak(Box::default()),
            hash_range,
            reached: None,
        };
        let both = [ChildShard::from(&shard(&LEFT)), ChildShard::from(&shard(&RIGHT))];
        let all = Some(HashKeyRange { start: 0, end: 99 });
        assert!(told(&ended(all), &both).is_some());
        assert!(told(&ended(all), &both[..1]).is_none());
        assert!(told(&ended(None), &both).is_some());
        assert!(told(&ended(None), &[]).is_none());
    }
}
