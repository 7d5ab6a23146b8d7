//! Which worker is to take which lease, or to ask for it: planned by a lookout for a whole fleet.
//!
//! The goals are those of [`balance`](super::balance). Free leases go to the workers that are short
//! of their goals, then those of workers that leave, then the surplus. An assignment stays open
//! until the lease counts for its worker; a worker that lets it wait is passed over, since it may be
//! full.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::fleet::balance::rank;
use crate::fleet::goals::Goals;
use crate::model::{Lease, LeaseKey, Moment, WorkerId};

/// How long a worker may take until a look at its lease should show that it acted: it reads the
/// bulletin each second, and the rows then.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a worker may take to get a lease that another one holds: the owner drains first.
const PATIENCE_ASKING: Duration = Duration::from_mins(1);

/// The most open assignments: a bulletin with that number has at most 8 KB.
const OPEN_MAX: usize = 1_000;

/// Whom a lease counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// No worker: any worker may take it.
    Free,
    /// A worker that holds it, or that asked for it.
    With(&'a WorkerId),
    /// A worker that has only to take it, and may not know that.
    Due(&'a WorkerId),
    /// A worker that leaves, and can be asked for it.
    Leaving,
    /// No worker yet: its owner is absent, but not proven dead.
    Unknown,
}

/// What a lookout knows about its fleet.
#[derive(Clone, Copy, Debug)]
pub struct Survey<'a> {
    /// The leases that can be worked on, each once.
    pub leases: &'a [&'a Lease],
    /// Those of them whose holders are proven dead.
    pub forsaken: &'a BTreeSet<LeaseKey>,
    /// The workers that are present.
    pub present: &'a BTreeSet<WorkerId>,
    /// The workers that leave.
    pub leaving: &'a BTreeSet<WorkerId>,
}

impl<'a> Survey<'a> {
    fn place(&self, lease: &'a Lease) -> Place<'a> {
        let is_forsaken = self.forsaken.contains(&lease.key);
        match (lease.owner.as_ref(), lease.checkpoint_owner.as_ref()) {
            (None, _) => Place::Free,
            (Some(_), None) if is_forsaken => Place::Free,
            (Some(owner), None) if self.present.contains(owner) => Place::With(owner),
            (Some(owner), None) if self.leaving.contains(owner) => Place::Leaving,
            (Some(next), Some(_)) if !self.present.contains(next) => {
                if is_forsaken {
                    Place::Free
                } else {
                    Place::Unknown
                }
            }
            (Some(next), Some(_)) if is_forsaken => Place::Due(next),
            (Some(next), Some(_)) => Place::With(next),
            (Some(_), None) => Place::Unknown,
        }
    }
}

/// An assignment that its worker has not carried out yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    to: WorkerId,
    /// The worker that the lease counted for when it was assigned.
    from: Option<WorkerId>,
    since: Moment,
}

/// The assignments of a lookout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    open: BTreeMap<LeaseKey, Open>,
    /// The workers that let an assignment wait, for as long as the lease has not moved.
    declined: BTreeMap<LeaseKey, BTreeSet<WorkerId>>,
    is_too_much: bool,
}

impl Assignments {
    /// Returns which worker is to take which lease, or to ask for it.
    #[must_use]
    pub fn moves(&self) -> BTreeMap<LeaseKey, WorkerId> {
        self.open.iter().map(|(key, open)| (key.clone(), open.to.clone())).collect()
    }

    /// Whether these are the [moves](Self::moves).
    #[must_use]
    pub fn are(&self, moves: &BTreeMap<LeaseKey, WorkerId>) -> bool {
        self.open.iter().map(|(key, open)| (key, &open.to)).eq(moves)
    }

    /// Whether nothing is to move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether more leases wait for a worker than can be assigned: every worker is to scan and help
    /// itself.
    #[must_use]
    pub const fn is_too_much(&self) -> bool {
        self.is_too_much
    }

    /// Plans anew by what `survey` shows. Its leases were read at `scanned` or later.
    pub fn plan(&mut self, survey: &Survey<'_>, scanned: Moment, now: Moment) {
        let leases: BTreeMap<_, _> =
            survey.leases.iter().map(|lease| (&lease.key, survey.place(lease))).collect();
        self.review(&leases, survey, scanned);
        let mut counts: BTreeMap<&WorkerId, usize> =
            survey.present.iter().map(|worker| (worker, 0)).collect();
        let mut waiting = Waiting::default();
        for (key, place) in &leases {
            let counts_for = match (self.open.get(*key), *place) {
                (Some(open), _) => Some(&open.to),
                (None, Place::With(worker) | Place::Due(worker)) => Some(worker),
                (None, Place::Free | Place::Leaving | Place::Unknown) => None,
            };
            if let Some(count) = counts_for.and_then(|worker| counts.get_mut(worker)) {
                *count += 1;
            }
            if !self.open.contains_key(*key) {
                waiting.add(key, *place);
            }
        }
        self.is_too_much = self.open.len() + waiting.urgent() > OPEN_MAX;
        if self.is_too_much {
            return self.open.clear();
        }
        let goals = Goals::of(leases.len(), &counts);
        let mut takers = Takers::of(&goals, counts);
        for (key, why) in waiting.in_order(&goals) {
            if self.open.len() >= OPEN_MAX {
                return;
            }
            let declined = self.declined.get(key);
            let (from, to) = match why {
                Why::Due(worker) => (None, Some(worker)),
                Why::Free => (None, takers.short(declined).or_else(|| takers.least(declined))),
                Why::Surplus(owner) => (Some(owner.clone()), takers.short(declined)),
            };
            if let Some(to) = to.cloned() {
                self.open.insert(key.clone(), Open { to, from, since: now });
            }
        }
    }

    /// Closes the assignments that are carried out, that another worker forestalled, or that their
    /// workers let wait.
    fn review(
        &mut self,
        leases: &BTreeMap<&LeaseKey, Place<'_>>,
        survey: &Survey<'_>,
        scanned: Moment,
    ) {
        self.declined.retain(|key, _| match leases.get(key) {
            Some(Place::Free | Place::Leaving | Place::Due(_) | Place::Unknown) => true,
            Some(Place::With(_)) | None => false,
        });
        let Self { open, declined, .. } = self;
        open.retain(|key, Open { to, from, since }| {
            let is_held = match leases.get(key) {
                None | Some(Place::Unknown) => return false,
                Some(Place::With(worker)) if Some(*worker) != from.as_ref() => return false,
                Some(Place::With(_) | Place::Leaving) => true,
                Some(Place::Free | Place::Due(_)) => false,
            };
            if !survey.present.contains(to) {
                return false;
            }
            if is_held {
                return *since + PATIENCE_ASKING > scanned;
            }
            let is_declined = *since + PATIENCE <= scanned;
            if is_declined {
                let by = declined.entry(key.clone()).or_default();
                by.insert(to.clone());
                if by.len() >= survey.present.len() {
                    by.clear(); // Someone may have room by now.
                }
            }
            !is_declined
        });
    }
}

/// The leases that no open assignment names.
#[derive(Default)]
struct Waiting<'a> {
    due: Vec<(&'a LeaseKey, &'a WorkerId)>,
    free: Vec<&'a LeaseKey>,
    leaving: Vec<&'a LeaseKey>,
    held: BTreeMap<&'a WorkerId, Vec<&'a LeaseKey>>,
}

impl<'a> Waiting<'a> {
    fn add(&mut self, key: &'a LeaseKey, place: Place<'a>) {
        match place {
            Place::Free => self.free.push(key),
            Place::With(worker) => self.held.entry(worker).or_default().push(key),
            Place::Due(worker) => self.due.push((key, worker)),
            Place::Leaving => self.leaving.push(key),
            Place::Unknown => {}
        }
    }

    /// How many leases no worker holds, or will soon.
    const fn urgent(&self) -> usize {
        self.due.len() + self.free.len() + self.leaving.len()
    }

    /// Returns the leases that are to move, the most urgent ones first.
    fn in_order(mut self, goals: &Goals<'_>) -> impl Iterator<Item = (&'a LeaseKey, Why<'a>)> {
        let mut surplus = Vec::new();
        for (worker, leases) in &mut self.held {
            leases.sort_by_cached_key(|key| (rank(worker, key), *key));
            let excess = leases.iter().take(goals.surplus(worker));
            surplus.extend(excess.map(|key| (*key, Why::Surplus(worker))));
        }
        let due = self.due.into_iter().map(|(key, worker)| (key, Why::Due(worker)));
        let free = self.free.into_iter().chain(self.leaving).map(|key| (key, Why::Free));
        due.chain(free).chain(surplus)
    }
}

/// Why a lease is to move.
#[derive(Clone, Copy)]
enum Why<'a> {
    /// It was handed over to this worker, which may not know that.
    Due(&'a WorkerId),
    /// No worker holds it, or will soon. It must not wait for a worker that is short.
    Free,
    /// This owner has more than others.
    Surplus(&'a WorkerId),
}

/// The workers that can take leases.
struct Takers<'a> {
    /// Those that are short, by how many leases they lack.
    short: BinaryHeap<(usize, Reverse<&'a WorkerId>)>,
    counts: BTreeMap<&'a WorkerId, usize>,
}

impl<'a> Takers<'a> {
    fn of(goals: &Goals<'a>, counts: BTreeMap<&'a WorkerId, usize>) -> Self {
        let short = counts.keys().map(|worker| (goals.short(worker), Reverse(*worker)));
        Self { short: short.filter(|(short, _)| *short > 0).collect(), counts }
    }

    /// Returns the worker that lacks most leases, except of those that declined.
    fn short(&mut self, declined: Option<&BTreeSet<WorkerId>>) -> Option<&'a WorkerId> {
        let mut passed = Vec::new();
        let found = loop {
            match self.short.pop() {
                Some(place @ (_, Reverse(worker))) if contains(declined, worker) => {
                    passed.push(place);
                }
                found => break found,
            }
        };
        self.short.extend(passed);
        let (places, Reverse(worker)) = found?;
        self.short.extend((places > 1).then_some((places - 1, Reverse(worker))));
        Some(self.add(worker))
    }

    /// Returns the worker that has fewest leases, except of those that declined.
    fn least(&mut self, declined: Option<&BTreeSet<WorkerId>>) -> Option<&'a WorkerId> {
        let counts = self.counts.iter().map(|(worker, count)| (*count, *worker));
        let (_, worker) = counts.filter(|(_, worker)| !contains(declined, worker)).min()?;
        Some(self.add(worker))
    }

    fn add(&mut self, worker: &'a WorkerId) -> &'a WorkerId {
        *self.counts.entry(worker).or_default() += 1;
        worker
    }
}

fn contains(declined: Option<&BTreeSet<WorkerId>>, worker: &WorkerId) -> bool {
    declined.is_some_and(|declined| declined.contains(worker))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fleet {
        leases: Vec<Lease>,
        forsaken: BTreeSet<LeaseKey>,
        present: BTreeSet<WorkerId>,
        leaving: BTreeSet<WorkerId>,
    }

    /// Leases by number and owner; `-` is no worker.
    fn fleet<const N: usize>(owners: [&str; N], present: &[&str]) -> Fleet {
        let lease = |(nth, owner): (usize, &str)| Lease {
            key: LeaseKey::from(nth.to_string().as_str()),
            owner: (owner != "-").then(|| owner.into()),
            ..Lease::sample()
        };
        Fleet {
            leases: owners.into_iter().enumerate().map(lease).collect(),
            forsaken: BTreeSet::new(),
            present: present.iter().map(|worker| WorkerId::from(*worker)).collect(),
            leaving: BTreeSet::new(),
        }
    }

    impl Fleet {
        fn plan(&self, assignments: &mut Assignments, scanned: u64, now: u64) -> String {
            let leases: Vec<_> = self.leases.iter().collect();
            let survey = Survey {
                leases: &leases,
                forsaken: &self.forsaken,
                present: &self.present,
                leaving: &self.leaving,
            };
            assignments.plan(&survey, Moment::at_secs(scanned), Moment::at_secs(now));
            let moves = assignments.moves();
            let moves: Vec<_> = moves.iter().map(|(key, to)| format!("{key}>{to}")).collect();
            moves.join(" ")
        }

        fn once(&self) -> String {
            self.plan(&mut Assignments::default(), 0, 0)
        }
    }

    #[test]
    fn balanced_fleet_moves_nothing() {
        assert_eq!(fleet(["a", "a", "b"], &["a", "b"]).once(), "");
        assert_eq!(fleet([], &["a"]).once(), "");
        assert_eq!(fleet(["-"], &[]).once(), "");
    }

    #[test]
    fn leases_of_the_dead_go_to_those_that_are_short() {
        let mut fleet = fleet(["a", "b", "x", "x", "x", "x"], &["a", "b", "c"]);
        assert_eq!(fleet.once(), "", "x may be alive");
        fleet.forsaken = ["2", "3", "4", "5"].map(LeaseKey::from).into();
        assert_eq!(fleet.once(), "2>c 3>a 4>b 5>c");
    }

    #[test]
    fn leases_of_those_that_leave_and_the_surplus_are_asked_for() {
        let mut fleet = fleet(["x", "a", "a", "a", "b"], &["a", "b", "c"]);
        fleet.leaving.insert("x".into());
        assert_eq!(fleet.once(), "0>b 3>c");
    }

    #[test]
    fn lease_whose_holder_died_amid_a_hand_over_is_due_to_the_next_owner() {
        let mut fleet = fleet(["a", "b"], &["a", "b"]);
        fleet.leases[0].checkpoint_owner = Some("x".into());
        assert_eq!(fleet.once(), "");
        fleet.forsaken.insert("0".into());
        assert_eq!(fleet.once(), "0>a");
        fleet.present.remove(&WorkerId::from("a"));
        assert_eq!(fleet.once(), "0>b");
    }

    #[test]
    fn assignment_stays_open_until_it_is_carried_out() {
        let mut assignments = Assignments::default();
        let mut fleet = fleet(["a", "-"], &["a", "b"]);
        assert_eq!(fleet.plan(&mut assignments, 0, 1), "1>b");
        assert_eq!(fleet.plan(&mut assignments, 4, 9), "1>b", "the look began too soon to tell");
        let moves = assignments.moves();
        assert!(assignments.are(&moves));
        fleet.leases[1].owner = Some("b".into());
        assert_eq!(fleet.plan(&mut assignments, 9, 9), "");
        assert!(!assignments.are(&moves) && assignments.are(&BTreeMap::new()));
        assert_eq!(assignments, Assignments::default());
    }

    #[test]
    fn worker_that_lets_a_lease_wait_is_passed_over() {
        let mut assignments = Assignments::default();
        let fleet = fleet(["a", "-"], &["a", "b", "c"]);
        assert_eq!(fleet.plan(&mut assignments, 0, 1), "1>b");
        assert_eq!(fleet.plan(&mut assignments, 5, 6), "1>c");
    }

    #[test]
    fn lease_that_another_worker_took_first_is_left_to_it() {
        let mut assignments = Assignments::default();
        let mut fleet = fleet(["a", "-"], &["a", "b", "c"]);
        assert_eq!(fleet.plan(&mut assignments, 0, 1), "1>b");
        fleet.leases[1].owner = Some("c".into());
        assert_eq!(fleet.plan(&mut assignments, 1, 1), "");
    }

    #[test]
    fn request_may_take_longer_than_a_take() {
        let mut assignments = Assignments::default();
        let fleet = fleet(["a", "a"], &["a", "b"]);
        let asked = fleet.plan(&mut assignments, 0, 1);
        assert!(asked.ends_with(">b"), "{asked}");
        assert_eq!(fleet.plan(&mut assignments, 60, 60), asked);
        assert_eq!(fleet.plan(&mut assignments, 61, 70), asked, "planned anew");
        assert_eq!(assignments.open.values().next().unwrap().since, Moment::at_secs(70));
    }

    #[test]
    fn more_leases_than_can_be_assigned_are_left_to_all_workers() {
        let mut assignments = Assignments::default();
        assert_eq!(fleet(["-"; OPEN_MAX + 1], &["a", "b"]).plan(&mut assignments, 0, 0), "");
        assert!(assignments.is_too_much());
        let moves = fleet(["-"; OPEN_MAX], &["a", "b"]).plan(&mut assignments, 1, 1);
        assert_eq!(moves.split(' ').count(), OPEN_MAX);
        assert!(!assignments.is_too_much());
    }
}
