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
    listed: Option<&[Shard]>,
) -> Readiness {
    View::of(leases, listed).readiness(lease)
}

/// The leases that can be worked on: not ended, all parents settled, not left over.
///
/// Whatever else a lease is, owned or expired, is not looked at.
#[must_use]
pub fn workable(
    leases: &BTreeMap<LeaseKey, Lease>,
    listed: Option<&[Shard]>,
) -> BTreeSet<LeaseKey> {
    let view = View::of(leases, listed);
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
    let finished = finished(leases, &Lineage::up(leases, listed));
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

/// Whether a lease is a leftover, given the shards that are [finished].
pub(super) fn is_leftover(lease: &Lease, finished: &BTreeSet<&str>) -> bool {
    is_untouched(lease) && finished.contains(lease.key.as_str())
}

/// The steps from each shard to its parents, or to its children, as far as leases and the shard list
/// tell.
#[derive(Debug)]
pub(super) struct Lineage<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> Lineage<'a> {
    /// From children to their parents.
    pub(super) fn up(leases: &'a BTreeMap<LeaseKey, Lease>, listed: &'a [Shard]) -> Self {
        Self(births(leases, listed).map(|(parent, child)| (child, parent)).collect())
    }

    /// From parents to their children.
    pub(super) fn down(leases: &'a BTreeMap<LeaseKey, Lease>, listed: &'a [Shard]) -> Self {
        Self(births(leases, listed).collect())
    }

    /// The shards one step from `shard`.
    pub(super) fn next<'s>(&'s self, shard: &'s str) -> impl Iterator<Item = &'a str> + 's {
        let steps = self.0.range((shard, "")..).take_while(move |(from, _)| *from == shard);
        steps.map(|(_, to)| *to)
    }

    /// The shards that can be reached from some of `from` in one step or more.
    pub(super) fn reached(&self, from: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let (mut reached, mut open) = (BTreeSet::new(), from.collect::<Vec<_>>());
        while let Some(shard) = open.pop() {
            open.extend(self.next(shard).filter(|next| reached.insert(*next)));
        }
        reached
    }
}

/// The shards that a descendant's progress proves to be finished. `up` leads to parents.
pub(super) fn finished<'a>(
    leases: &'a BTreeMap<LeaseKey, Lease>,
    up: &Lineage<'a>,
) -> BTreeSet<&'a str> {
    let progressed = leases.values().filter(|lease| lease.checkpoint.has_progressed());
    up.reached(progressed.map(|lease| lease.key.as_str()))
}

/// Each parent with each of its children.
fn births<'a>(
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: &'a [Shard],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let told = leases.values().flat_map(|lease| {
        let shard = lease.key.as_str();
        let parents = lease.parents.iter().map(move |parent| (parent.as_str(), shard));
        parents.chain(lease.children.iter().map(move |child| (shard, child.as_str())))
    });
    told.chain(
        listed.iter().flat_map(|shard| {
            shard.parents.iter().map(|parent| (parent.as_str(), shard.id.as_str()))
        }),
    )
}

#[derive(Debug)]
struct View<'a> {
    leases: &'a BTreeMap<LeaseKey, Lease>,
    listed: Option<BTreeSet<&'a ShardId>>,
    finished: BTreeSet<&'a str>,
}

impl<'a> View<'a> {
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
/// shards as it creates them, so a list with a greater id is not older; the child itself need not be
/// in it, for it may have been trimmed too.
fn is_newer(listed: &BTreeSet<&ShardId>, shard: &ShardId) -> bool {
    listed.last().is_some_and(|last| *last >= shard)
}

/// Families of shards and leases, written as `id<parents>children#range:state`.
#[cfg(test)]
pub(crate) mod families {
    use std::collections::BTreeMap;

    use crate::model::{
        Checkpoint, HashKeyRange, Lease, LeaseCounter, LeaseKey, Position, SequenceNumber, Shard,
        Timestamp, WorkerId,
    };

    struct Member<'a> {
        id: &'a str,
        parents: Vec<&'a str>,
        children: Vec<&'a str>,
        range: Option<HashKeyRange>,
        state: &'a str,
    }

    fn members(text: &str) -> impl Iterator<Item = Member<'_>> {
        fn list(text: &str) -> Vec<&str> {
            text.split('+').filter(|id| !id.is_empty()).collect()
        }
        text.split_whitespace().map(|word| {
            let (rest, state) = word.split_once(':').unwrap_or((word, ""));
            let (rest, range) = rest.split_once('#').unwrap_or((rest, ""));
            let (rest, children) = rest.split_once('>').unwrap_or((rest, ""));
            let (id, parents) = rest.split_once('<').unwrap_or((rest, ""));
            let range = range.split_once('-').map(|(first, last)| sixteenths(first, last));
            Member { id, parents: list(parents), children: list(children), range, state }
        })
    }

    /// The range from one hexadecimal digit through another, in sixteenths of all hash keys.
    pub(crate) fn sixteenths(first: &str, last: &str) -> HashKeyRange {
        let digit = |text| u128::from_str_radix(text, 16).unwrap() << 124;
        HashKeyRange { start: digit(first), end: digit(last) | (u128::MAX >> 4) }
    }

    /// States: `new` and `at` (never taken, from the oldest record or a time), `held` (taken, no
    /// progress), `on` (progressed), `end`.
    pub(crate) fn leases(text: &str) -> BTreeMap<LeaseKey, Lease> {
        let lease = |member: Member<'_>| {
            let is_taken = !matches!(member.state, "new" | "at");
            let checkpoint = match member.state {
                "new" | "held" => Checkpoint::TrimHorizon,
                "at" => Checkpoint::AtTimestamp,
                "on" => Checkpoint::After(Position::of(SequenceNumber::from(7))),
                "end" => Checkpoint::ShardEnd,
                other => panic!("no such state: {other}"),
            };
            Lease {
                key: LeaseKey::new(member.id),
                owner: is_taken.then(|| WorkerId::new("me")),
                checkpoint_owner: None,
                counter: LeaseCounter(if is_taken { 5 } else { 0 }),
                owner_switches: 0,
                checkpoint,
                pending: None,
                parents: member.parents.into_iter().map(Into::into).collect(),
                children: member.children.into_iter().map(Into::into).collect(),
                hash_range: member.range,
                start_at: (member.state == "at").then(|| Timestamp::from_epoch_millis(1_000)),
                expiry: None,
                caught_up_at: None,
                last_write: None,
            }
        };
        members(text).map(lease).map(|lease| (lease.key.clone(), lease)).collect()
    }

    /// States: none (open), or `closed`. Ids are numbers, and grow with age.
    pub(crate) fn shards(text: &str) -> Vec<Shard> {
        let shard = |member: Member<'_>| {
            let begin = member.id.parse::<u128>().unwrap() * 10;
            Shard {
                id: member.id.into(),
                parents: member.parents.into_iter().map(Into::into).collect(),
                hash_range: member.range.unwrap_or(HashKeyRange::FULL),
                starting_sequence: begin.into(),
                ending_sequence: (member.state == "closed").then(|| (begin + 5).into()),
            }
        };
        members(text).map(shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::families::{leases, shards};
    use super::*;

    /// Of the lease `of`: ready, waiting on the shard named, or unknown (`?`). `-`: nothing is
    /// known of the shard list.
    #[track_caller]
    fn check(table: &str, listed: &str, of: &str, expected: &str) {
        let leases = leases(table);
        let listed = (listed != "-").then(|| shards(listed));
        let found = readiness(&leases[&LeaseKey::new(of)], &leases, listed.as_deref());
        let expected = match expected {
            "ready" => Readiness::Ready,
            "?" => Readiness::Unknown,
            on => Readiness::Waiting { on: on.into() },
        };
        assert_eq!(found, expected);
        let is_workable = workable(&leases, listed.as_deref()).contains(&LeaseKey::new(of));
        assert_eq!(is_workable, expected == Readiness::Ready);
    }

    #[test]
    fn a_shard_without_parents_starts() {
        check("0:new", "-", "0", "ready");
    }

    #[test]
    fn a_child_waits_until_all_its_parents_ended() {
        check("0:on 1<0:new", "0 1", "1", "0");
        check("0:end 1<0:new", "0 1", "1", "ready");
        check("0:end 1:on 2<0+1:new", "0 1 2", "2", "1");
        check("0:end 1:end 2<0+1:new", "0 1 2", "2", "ready");
        check("0:on 1<0:on", "0 1", "1", "0");
    }

    #[test]
    fn a_parent_without_a_lease_is_gone_once_it_is_not_listed() {
        check("1<0:new", "1", "1", "ready");
        check("1<0:new", "0 1", "1", "0");
        check("1<0:new", "-", "1", "?");
    }

    #[test]
    fn a_list_older_than_the_child_does_not_prove_its_parent_gone() {
        check("3<1:new", "0", "3", "?");
        check("3<1:new", "", "3", "?");
        check("3<1:new", "4 5", "3", "ready");
    }

    #[test]
    fn a_waiting_parent_outweighs_an_unknown_one() {
        check("1:on 2<0+1:new", "-", "2", "1");
    }

    #[test]
    fn a_child_that_progressed_waits_for_no_missing_parent() {
        check("1<0:on", "0 1", "1", "ready");
        check("1<0:on", "-", "1", "ready");
    }

    #[test]
    fn the_progress_of_a_sibling_proves_the_parent_finished() {
        check("1<0:on 2<0:new", "0 1 2", "2", "ready");
        // Its own row may be gone: then the list tells who descends from whom.
        check("2<0:new 3<1:on", "0:closed 1<0:closed 2<0 3<1", "2", "ready");
    }

    #[test]
    fn a_first_lease_at_a_time_waits_for_no_missing_parent() {
        check("1<0:at", "0 1", "1", "ready");
        check("1<0:at", "-", "1", "ready");
        check("0:at 1<0:at", "0 1", "1", "0");
    }

    #[test]
    fn a_leftover_parent_keeps_nobody_waiting() {
        check("0:new 1<0:on", "0 1", "1", "ready");
    }

    #[track_caller]
    fn check_leftovers(table: &str, listed: &str, expected: &str) {
        let leases = leases(table);
        let found = leftovers(&leases, &shards(listed));
        let names: Vec<_> = found.iter().map(LeaseKey::as_str).collect();
        assert_eq!(names.join(" "), expected);
        let workable = workable(&leases, Some(&[]));
        if listed.is_empty() {
            assert!(found.iter().all(|key| !workable.contains(key)));
        }
    }

    #[test]
    fn an_untouched_lease_with_progress_below_is_a_leftover() {
        check_leftovers("0:new 1<0:on", "", "0");
        check_leftovers("0:new 1<0:end 3<1:on", "", "0");
        check_leftovers("0:at 1<0:end 3<1:on", "", "0");
        check_leftovers("0:new 1<0:new 3<1:on", "", "0 1");
        check_leftovers("0:held 1<0:on", "", "");
        check_leftovers("0:new 1<0:held", "", "");
    }

    #[test]
    fn the_shard_list_tells_of_descent_where_leases_are_gone() {
        check_leftovers("0:new 3<1:on", "", "");
        check_leftovers("0:new 3<1:on", "0:closed 1<0:closed 3<1", "0");
    }

    #[test]
    fn ended_leases_are_not_worked_on() {
        let table = leases("0>1+2:end 1<0:on 2<0:new");
        let expected = ["1", "2"].map(LeaseKey::new).into();
        assert_eq!(workable(&table, None), expected);
    }

    #[test]
    fn shards_that_are_their_own_ancestors_do_not_hang_it() {
        let table = leases("0<1:new 1<0:new 2<2:on");
        assert_eq!(workable(&table, None), BTreeSet::new());
    }
}
