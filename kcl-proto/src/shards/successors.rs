//! Which shards succeed an ended shard on its hash keys.

use std::collections::BTreeSet;

use crate::model::{ChildShard, HashKeyRange, SequenceNumber, Shard, ShardId};
use crate::shards::coverage::covers;

/// What is known about a shard that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The shard's id.
    pub id: &'a ShardId,
    /// The shard's parents.
    pub parents: &'a BTreeSet<ShardId>,
    /// The shard's hash keys, or `None` for a row of an old Java version.
    pub hash_range: Option<HashKeyRange>,
    /// A sequence number inside the shard, or `None` if none is known.
    pub reached: Option<SequenceNumber>,
}

/// The shards that succeed an ended shard. Together they cover all of its hash keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Successors {
    /// All of its children.
    Children(Vec<ChildShard>),
    /// The oldest remaining descendants: some children were trimmed with their records.
    Descendants(Vec<ChildShard>),
}

/// Returns the children that the end of the shard announced, or `None` if they do not cover it:
/// Kinesis may announce only some of them.
#[must_use]
pub fn announced(shard: &Ended<'_>, children: &[ChildShard]) -> Option<Successors> {
    let is_proven = match shard.hash_range {
        Some(range) => covered(range, children),
        None => !children.is_empty(),
    };
    is_proven.then(|| Successors::Children(children.to_vec()))
}

/// Returns the successors of the shard among the listed shards, or `None` if the list does not
/// prove that the shard ended, which may be because the list is stale.
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
    announced(&shard, &children).or_else(|| descendants(&shard, itself, shards))
}

/// Whether the list shows the shard open: it is there, not closed, and no child of it is.
#[must_use]
pub fn is_open(shard: &ShardId, shards: &[Shard]) -> bool {
    let is_listed = shards.iter().any(|listed| listed.id == *shard && !listed.is_closed());
    is_listed && !shards.iter().any(|listed| listed.parents.contains(shard))
}

/// Returns the oldest remaining shards among those that came after this one.
///
/// At any time, open shards have disjoint hash keys. So a shard that has some of this shard's keys
/// and began later descends from it, even if the shards in between are no longer listed.
fn descendants(shard: &Ended<'_>, itself: Option<&Shard>, shards: &[Shard]) -> Option<Successors> {
    let range = shard.hash_range?;
    let ended_at = itself.and_then(|itself| itself.ending_sequence).or(shard.reached);
    // A shard is trimmed after its parents: a list with a parent and without the shard is stale.
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
#[path = "successors_tests.rs"]
mod tests;
