//! Which shards may start: a child waits until all its parents have ended or are gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Checkpoint, Lease, LeaseCounter, LeaseKey, Shard, ShardId};

/// Whether a shard's parents let it start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a parent is settled, not settled, or unknown")]
pub enum Readiness {
    /// Every parent has ended or is gone.
    Ready,
    /// A parent is not finished: its lease has not ended, or is yet to be created.
    Waiting {
        /// The first such parent.
        on: ShardId,
    },
    /// A parent has no lease, and it is unknown whether the stream still lists it.
    Unknown,
}

/// Returns whether the parents of `lease` let it start.
///
/// `listed` is every shard that the stream lists, or `None` if the list is unknown. Takes time
/// linear in `leases`; to ask for many leases, use [`workable`].
#[must_use]
pub fn readiness(
    lease: &Lease,
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&[Shard]>,
) -> Readiness {
    Family::of(leases, listed).readiness(lease)
}

/// Returns the leases that can be worked on: not ended, all parents settled, not left over. In the
/// order of their keys.
///
/// Whether a lease is owned or expired does not matter.
pub fn workable<'a>(
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: Option<&'a [Shard]>,
) -> impl Iterator<Item = &'a Lease> {
    let family = Family::of(leases, listed);
    leases.values().filter(move |lease| {
        !lease.is_ended()
            && !is_leftover(lease, &family.finished)
            && family.readiness(lease) == Readiness::Ready
    })
}

/// Returns the leases that wait for a parent, each with the first parent that is not finished.
#[must_use]
pub fn waiting(
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&[Shard]>,
) -> BTreeMap<LeaseKey, ShardId> {
    let family = Family::of(leases, listed);
    let open = leases.values().filter(|lease| !lease.is_ended());
    let waiting = open.filter_map(|lease| match family.readiness(lease) {
        Readiness::Waiting { on } => Some((lease.key.clone(), on)),
        Readiness::Ready | Readiness::Unknown => None,
    });
    waiting.collect()
}

/// Returns the greatest counter of the parents of `lease`, or 0 without any.
///
/// A take that sets a greater one gives its owner a token above those of all owners of the parents:
/// the counter of a finished lease stays as it is, and so does its row until every child has
/// progressed.
#[must_use]
pub fn counter_floor(lease: &Lease, leases: &BTreeMap<LeaseKey, Lease>) -> LeaseCounter {
    let parents = lease.parents.iter().filter_map(|parent| leases.get(parent.as_str()));
    parents.map(|parent| parent.counter).max().unwrap_or_default()
}

/// Returns the parents of `lease` whose counters `leases` may lack: a take of `lease` reads their
/// rows first.
///
/// The progress of another child proves a parent finished, whatever its own row says. An eventual
/// scan may have missed that row, or returned it as it was before anyone took it. A lease that was
/// taken before has a counter above those of its parents already, and the parents of a bootstrap
/// lease, or of a shard that outlived them in the stream, never had leases. `listed` is as for
/// [`readiness`], in the order of ids.
#[must_use]
pub fn unproven_parents(
    lease: &Lease,
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&[Shard]>,
) -> Vec<LeaseKey> {
    if !is_untouched(lease) || is_bootstrap(lease) {
        return Vec::new();
    }
    let is_listed = |parent: &ShardId| {
        listed.is_none_or(|listed| listed.binary_search_by(|it| it.id.cmp(parent)).is_ok())
    };
    let is_proven = |parent: &ShardId| leases.get(parent.as_str()).is_some_and(Lease::is_ended);
    let unproven = lease.parents.iter().filter(|parent| !is_proven(parent) && is_listed(parent));
    unproven.map(LeaseKey::from).collect()
}

/// Returns the leases that a late create left behind: no worker ever took them, and a descendant of
/// their shard has progressed, which proves the shard finished.
///
/// `listed` adds descent that the leases do not contain; it may be empty.
#[must_use]
pub fn leftovers(leases: &BTreeMap<LeaseKey, Lease>, listed: &[Shard]) -> Vec<LeaseKey> {
    let finished = finished(leases, &Lineage::up(leases, listed));
    let is_left = |lease: &&Lease| is_leftover(lease, &finished);
    leases.values().filter(is_left).map(|lease| lease.key.clone()).collect()
}

/// Whether no worker ever took `lease`.
pub(super) fn is_untouched(lease: &Lease) -> bool {
    lease.counter == LeaseCounter(0)
        && lease.holder().is_none()
        && !lease.checkpoint.has_progressed()
}

/// Whether `lease` was created at the application's first start, at a time. Its parents' records
/// came before that time.
pub(super) const fn is_bootstrap(lease: &Lease) -> bool {
    match lease.checkpoint {
        Checkpoint::AtTimestamp | Checkpoint::Latest => true,
        Checkpoint::TrimHorizon | Checkpoint::After(_) | Checkpoint::ShardEnd => false,
    }
}

/// Whether `lease` is a leftover, given the shards that are [finished].
pub(super) fn is_leftover(lease: &Lease, finished: &BTreeSet<&str>) -> bool {
    is_untouched(lease) && finished.contains(lease.key.as_str())
}

/// The steps from each shard to its parents, or to its children, that leases and the shard list
/// contain.
#[derive(Debug)]
pub(super) struct Lineage<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> Lineage<'a> {
    /// Leads from children to their parents.
    pub(super) fn up(leases: &'a BTreeMap<LeaseKey, Lease>, listed: &'a [Shard]) -> Self {
        Self(births(leases, listed).map(|(parent, child)| (child, parent)).collect())
    }

    /// Leads from parents to their children.
    pub(super) fn down(leases: &'a BTreeMap<LeaseKey, Lease>, listed: &'a [Shard]) -> Self {
        Self(births(leases, listed).collect())
    }

    /// Returns the shards one step from `shard`.
    pub(super) fn next<'s>(&'s self, shard: &'s str) -> impl Iterator<Item = &'a str> + 's {
        let steps = self.0.range((shard, "")..).take_while(move |(from, _)| *from == shard);
        steps.map(|(_, to)| *to)
    }

    /// Returns the shards that are reachable from any of `from` in one step or more.
    pub(super) fn reached(&self, from: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let (mut reached, mut open) = (BTreeSet::new(), from.collect::<Vec<_>>());
        while let Some(shard) = open.pop() {
            open.extend(self.next(shard).filter(|next| reached.insert(*next)));
        }
        reached
    }
}

/// Returns the shards that a descendant's progress proves to be finished. `up` leads to parents.
pub(super) fn finished<'a>(
    leases: &'a BTreeMap<LeaseKey, Lease>,
    up: &Lineage<'a>,
) -> BTreeSet<&'a str> {
    let progressed = leases.values().filter(|lease| lease.checkpoint.has_progressed());
    up.reached(progressed.map(|lease| lease.key.as_str()))
}

/// Returns each parent with each of its children.
fn births<'a>(
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: &'a [Shard],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let in_leases = leases.values().flat_map(|lease| {
        let shard = lease.key.as_str();
        let parents = lease.parents.iter().map(move |parent| (parent.as_str(), shard));
        parents.chain(lease.children.iter().map(move |child| (shard, child.as_str())))
    });
    in_leases.chain(
        listed.iter().flat_map(|shard| {
            shard.parents.iter().map(|parent| (parent.as_str(), shard.id.as_str()))
        }),
    )
}

#[derive(Debug)]
struct Family<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: Option<BTreeSet<&'a ShardId>>,
    finished: BTreeSet<&'a str>,
}

impl<'a> Family<'a> {
    fn of(leases: &'a BTreeMap<LeaseKey, Lease>, listed: Option<&'a [Shard]>) -> Self {
        let finished = finished(leases, &Lineage::up(leases, listed.unwrap_or_default()));
        let listed = listed.map(|listed| listed.iter().map(|shard| &shard.id).collect());
        Self { leases, listed, finished }
    }

    fn readiness(&self, lease: &Lease) -> Readiness {
        let mut readiness = Readiness::Ready;
        for parent in &lease.parents {
            match self.parent(parent, lease) {
                Readiness::Ready => {}
                waiting @ Readiness::Waiting { .. } => return waiting,
                Readiness::Unknown => readiness = Readiness::Unknown,
            }
        }
        readiness
    }

    fn parent(&self, parent: &ShardId, child: &Lease) -> Readiness {
        let waiting = || Readiness::Waiting { on: parent.clone() };
        let found = self.leases.get(parent.as_str());
        match (found, &self.listed) {
            (Some(found), _) if found.is_ended() || is_leftover(found, &self.finished) => {
                Readiness::Ready
            }
            (Some(_), _) => waiting(),
            (None, _) if self.finished.contains(parent.as_str()) || is_bootstrap(child) => {
                Readiness::Ready
            }
            (None, Some(listed)) if listed.contains(parent) => waiting(),
            (None, Some(listed)) if is_newer(listed, &child.key.shard()) => Readiness::Ready,
            (None, _) => Readiness::Unknown,
        }
    }
}

/// Whether a shard list was made after `shard`, so that a parent it lacks has been trimmed.
///
/// A list that is older than the child may lack the parent because neither existed. Kinesis numbers
/// shards in the order of their creation, so a list with a greater id is not older. The child
/// itself may be missing from it, because it may have been trimmed too.
fn is_newer(listed: &BTreeSet<&ShardId>, shard: &ShardId) -> bool {
    listed.last().is_some_and(|last| *last >= shard)
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod tests;
