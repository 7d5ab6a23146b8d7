//! May this shard start? A child waits until all its parents have ended, or are gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Checkpoint, Lease, LeaseCounter, LeaseKey, Shard, ShardId};

/// Whether a shard's parents let it start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a parent is settled, or not, or not known")]
pub enum Readiness {
    /// Every parent has ended or is gone.
    Ready,
    /// A parent is not finished: its lease has not ended, or is yet to be created.
    Waiting {
        /// The first such parent.
        on: ShardId,
    },
    /// A parent has no lease, and whether the stream still lists it is not known.
    Unknown,
}

/// Whether the parents of `lease` let it start. `listed` is all that the stream lists, if known.
///
/// It looks at all of `leases`; to ask for many use [`workable`].
#[must_use]
pub fn readiness(
    lease: &Lease,
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&BTreeSet<ShardId>>,
) -> Readiness {
    let finished = Lineage::of(leases, &[]).finished(leases);
    View { leases, listed, finished }.readiness(lease)
}

/// The leases that can be worked on: not ended, all parents settled, not left over.
///
/// Whatever else a lease is, owned or expired, is not looked at.
#[must_use]
pub fn workable(
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&BTreeSet<ShardId>>,
) -> BTreeSet<LeaseKey> {
    let finished = Lineage::of(leases, &[]).finished(leases);
    let view = View { leases, listed, finished };
    let is_workable = |lease: &&Lease| {
        !lease.is_ended()
            && !is_leftover(lease, &view.finished)
            && view.readiness(lease) == Readiness::Ready
    };
    leases.values().filter(is_workable).map(|lease| lease.key.clone()).collect()
}

/// The leases that a late create left behind: nobody ever took them, and a descendant of their
/// shard has progressed, which it could not have before the shard was finished.
///
/// `listed` adds what the stream says about who descends from whom; it may be empty.
#[must_use]
pub fn leftovers(leases: &BTreeMap<LeaseKey, Lease>, listed: &[Shard]) -> Vec<LeaseKey> {
    let finished = Lineage::of(leases, listed).finished(leases);
    let is_left = |lease: &&Lease| is_leftover(lease, &finished);
    leases.values().filter(is_left).map(|lease| lease.key.clone()).collect()
}

/// Whether nobody ever took a lease.
pub(super) fn is_untouched(lease: &Lease) -> bool {
    lease.counter == LeaseCounter(0)
        && lease.holder().is_none()
        && !lease.checkpoint.has_progressed()
}

/// Whether a lease was made at the application's first start at a time: what its parents held came
/// before that time.
pub(super) const fn is_bootstrap(lease: &Lease) -> bool {
    match lease.checkpoint {
        Checkpoint::AtTimestamp | Checkpoint::Latest => true,
        Checkpoint::TrimHorizon | Checkpoint::After(_) | Checkpoint::ShardEnd => false,
    }
}

/// Whether a lease is a leftover, given the shards that are [finished](Lineage::finished).
pub(super) fn is_leftover(lease: &Lease, finished: &BTreeSet<ShardId>) -> bool {
    is_untouched(lease) && finished.contains(&lease.key.shard())
}

/// Who descends from whom, as far as leases and the shard list tell.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    parents: Family,
    children: Family,
}

type Family = BTreeMap<ShardId, BTreeSet<ShardId>>;

impl Lineage {
    pub(super) fn of(leases: &BTreeMap<LeaseKey, Lease>, listed: &[Shard]) -> Self {
        let mut lineage = Self::default();
        for lease in leases.values() {
            let shard = lease.key.shard();
            for parent in &lease.parents {
                lineage.add(parent, &shard);
            }
            for child in &lease.children {
                lineage.add(&shard, child);
            }
        }
        for shard in listed {
            for parent in &shard.parents {
                lineage.add(parent, &shard.id);
            }
        }
        lineage
    }

    fn add(&mut self, parent: &ShardId, child: &ShardId) {
        self.parents.entry(child.clone()).or_default().insert(parent.clone());
        self.children.entry(parent.clone()).or_default().insert(child.clone());
    }

    pub(super) fn parents(&self, of: &ShardId) -> impl Iterator<Item = &ShardId> {
        self.parents.get(of).into_iter().flatten()
    }

    pub(super) fn children(&self, of: &ShardId) -> impl Iterator<Item = &ShardId> {
        self.children.get(of).into_iter().flatten()
    }

    /// The shards that a descendant's progress proves to be finished.
    pub(super) fn finished(&self, leases: &BTreeMap<LeaseKey, Lease>) -> BTreeSet<ShardId> {
        let progressed = leases.values().filter(|lease| lease.checkpoint.has_progressed());
        flood(&self.parents, progressed.map(|lease| lease.key.shard()).collect())
    }

    /// The shards that descend from a shard that has a lease.
    pub(super) fn below(&self, leases: &BTreeMap<LeaseKey, Lease>) -> BTreeSet<ShardId> {
        flood(&self.children, leases.keys().map(LeaseKey::shard).collect())
    }
}

/// Everything that can be reached from `from` in one step or more.
fn flood(family: &Family, mut from: Vec<ShardId>) -> BTreeSet<ShardId> {
    let mut reached = BTreeSet::new();
    while let Some(shard) = from.pop() {
        for next in family.get(&shard).into_iter().flatten() {
            if reached.insert(next.clone()) {
                from.push(next.clone());
            }
        }
    }
    reached
}

#[derive(Debug)]
struct View<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: Option<&'a BTreeSet<ShardId>>,
    finished: BTreeSet<ShardId>,
}

impl View<'_> {
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
        let found = self.leases.get(&LeaseKey::from(parent));
        match (found, self.listed) {
            (Some(found), _) if found.is_ended() || is_leftover(found, &self.finished) => {
                Readiness::Ready
            }
            (Some(_), _) => waiting(),
            (None, _) if self.finished.contains(parent) || is_bootstrap(child) => Readiness::Ready,
            (None, Some(listed)) if listed.contains(parent) => waiting(),
            (None, Some(listed)) if is_newer(listed, &child.key.shard()) => Readiness::Ready,
            (None, _) => Readiness::Unknown,
        }
    }
}

/// Whether a shard list was made after `shard`, so that a parent it lacks has been trimmed.
///
/// A list that is older than the child may lack the parent because neither existed. Kinesis numbers
/// shards as it creates them, so a list with a greater id is not older; the child itself need not be
/// in it, for it may have been trimmed too.
fn is_newer(listed: &BTreeSet<ShardId>, shard: &ShardId) -> bool {
    listed.last().is_some_and(|last| last >= shard)
}
