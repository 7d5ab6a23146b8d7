//! Plans of the worker `a` in small fleets.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::fleet::candidate::{CandidateState, Forsaken, Restriction};
use crate::model::{Lease, WriteStamp};

#[path = "balance_rounds_tests.rs"]
mod rounds;

const SILENT: Duration = Duration::from_secs(10);

/// A row, and what the worker `a` knows about it.
#[derive(Clone)]
struct Row {
    lease: Lease,
    state: CandidateState,
    is_workable: bool,
}

/// A lease without an owner.
fn free(key: u32) -> Row {
    let key = LeaseKey::new(key.to_string());
    let lease = Lease { key, counter: LeaseCounter(7), owner_switches: 2, ..Lease::sample() };
    Row { lease, state: CandidateState::default(), is_workable: true }
}

/// A lease of `owner`. The worker `a` holds its own ones.
fn owned(key: u32, owner: &str) -> Row {
    let mut row = free(key);
    row.lease.owner = Some(owner.into());
    if owner == "a" {
        row.state.part = Part::Holds;
    }
    row
}

impl Row {
    /// The worker `by` has asked the owner for it.
    fn asked_by(mut self, by: &str) -> Self {
        self.lease.checkpoint_owner = self.lease.owner.replace(by.into());
        self
    }

    /// It was handed over to `a`, which does not hold it yet.
    fn handed_over(mut self) -> Self {
        self.state.part = Part::None;
        self
    }

    /// A take of `a` is in flight.
    fn taking(mut self) -> Self {
        self.state.part = Part::Takes;
        self
    }

    /// A request of `a` for it is open.
    fn requested(mut self) -> Self {
        self.state.part = Part::Requests;
        self
    }

    fn expired(mut self) -> Self {
        self.state.forsaken = Some(Forsaken::Silent { silent_for: SILENT });
        self
    }

    fn leftover(mut self) -> Self {
        self.state.is_leftover = true;
        self
    }

    /// `a` must not ask for it.
    fn refused(mut self) -> Self {
        self.state.restriction = Restriction::Ask;
        self
    }

    /// `a` must neither take it nor ask for it.
    fn blocked(mut self) -> Self {
        self.state.restriction = Restriction::TakeAndAsk;
        self
    }

    fn not_workable(mut self) -> Self {
        self.is_workable = false;
        self
    }
}

/// What one worker knows; owns what a [`Fleet`] borrows.
struct Scene {
    me: WorkerId,
    present: BTreeSet<WorkerId>,
    rows: Vec<Row>,
    limits: Limits,
}

/// What `a` sees while the workers in `present` are present.
fn fleet<const N: usize>(present: [&str; N], rows: impl IntoIterator<Item = Row>) -> Scene {
    Scene {
        me: "a".into(),
        present: present.map(WorkerId::new).into(),
        rows: rows.into_iter().collect(),
        limits: Limits { leases_max: None, requests_max: 9 },
    }
}

impl Scene {
    fn leases_max(mut self, leases_max: usize) -> Self {
        self.limits.leases_max = Some(leases_max);
        self
    }

    fn requests_max(mut self, requests_max: usize) -> Self {
        self.limits.requests_max = requests_max;
        self
    }

    fn plan(&self) -> BalancePlan {
        let count = |part| self.rows.iter().filter(|row| row.state.part == part).count();
        let workable = self.rows.iter().filter(|row| row.is_workable);
        let candidates: Vec<_> =
            workable.map(|row| Candidate { lease: &row.lease, state: row.state }).collect();
        let fleet = Fleet {
            workers: Workers { me: &self.me, present: &self.present },
            candidates: &candidates,
            held: count(Part::Holds) + count(Part::Takes),
            requests: count(Part::Requests),
        };
        plan(&fleet, &self.limits)
    }

    /// Checks the keys that `a` takes and asks for.
    #[track_caller]
    fn plans<const T: usize, const A: usize>(&self, take: [u32; T], ask: [u32; A]) {
        let plan = self.plan();
        let names = |keys: &[u32]| keys.iter().map(u32::to_string).collect::<BTreeSet<_>>();
        let taken = plan.take.iter().map(|take| take.key.to_string());
        let asked = plan.ask.iter().map(|ask| ask.key.to_string());
        assert_eq!((taken.collect(), asked.collect()), (names(&take), names(&ask)), "{plan:?}");
    }

    /// Checks how many leases `a` takes and asks for, where the rows leave it a choice.
    #[track_caller]
    fn counts(&self, take: usize, ask: usize) {
        let plan = self.plan();
        assert_eq!((plan.take.len(), plan.ask.len()), (take, ask), "{plan:?}");
    }
}

#[test]
fn single_worker_takes_all_free_leases() {
    fleet(["a"], [free(1), free(2), owned(3, "b").expired()]).plans([1, 2, 3], []);
    fleet([], [free(1), free(2)]).plans([1, 2], []);
}

#[test]
fn worker_takes_its_share_of_free_leases() {
    fleet(["a", "b"], [free(1), free(2), free(3), free(4)]).counts(2, 0);
    let rows = [free(1), free(2), owned(3, "b").expired(), owned(4, "a")];
    fleet(["a", "b"], rows).counts(1, 0);
    fleet(["a", "b", "c"], [free(1), owned(2, "b"), owned(3, "c")]).plans([1], []);
}

#[test]
fn shares_add_up_to_the_total() {
    // The first id gets the larger share,
    fleet(["a", "b"], [free(1), free(2), free(3)]).counts(2, 0);
    fleet(["A", "a"], [free(1), free(2), free(3)]).counts(1, 0);
    // or the worker that holds more.
    fleet(["a", "b"], [free(1), owned(2, "b"), free(3)]).counts(1, 0);
}

#[test]
fn only_workable_leases_count() {
    let rows = [
        free(1).not_workable(),
        owned(2, "b"),
        owned(3, "b").not_workable(),
        owned(4, "b").not_workable(),
        owned(5, "a"),
    ];
    fleet(["a", "b"], rows).plans([], []);
}

#[test]
fn handed_over_lease_is_taken_at_once() {
    let rows = || [owned(1, "a"), owned(2, "a").handed_over(), owned(3, "b")];
    fleet(["a", "b"], rows()).plans([2], []);
    fleet(["a", "b"], rows()).leases_max(2).plans([2], []);
    let rows = [owned(1, "a"), owned(2, "a").handed_over().blocked(), owned(3, "b")];
    fleet(["a", "b"], rows).plans([], []);
}

#[test]
fn live_owner_is_asked_and_keeps_its_share() {
    fleet(["a", "b"], (1..=4).map(|key| owned(key, "b"))).counts(0, 2);
    fleet(["a", "b"], (1..=3).map(|key| owned(key, "b"))).counts(0, 1);
}

#[test]
fn difference_of_one_moves_nothing() {
    fleet(["a", "b"], [owned(1, "b")]).plans([], []);
    fleet(["a", "b"], [owned(1, "a"), owned(2, "b"), owned(3, "b")]).plans([], []);
    let rows = [owned(1, "a"), owned(2, "b"), owned(3, "b"), owned(4, "c"), owned(5, "c")];
    fleet(["a", "b", "c"], rows).plans([], []);
}

#[test]
fn worker_below_the_floor_asks_one_at_the_ceiling() {
    let rows = [
        owned(1, "a"),
        owned(2, "b"),
        owned(3, "b"),
        owned(4, "b"),
        owned(5, "c"),
        owned(6, "c"),
        owned(7, "c"),
    ];
    fleet(["a", "b", "c"], rows).counts(0, 1);
}

#[test]
fn short_workers_divide_the_surplus() {
    fleet(["a", "b", "c"], (1..=6).map(|key| owned(key, "b"))).counts(0, 2);
    let surplus = (3..=7).map(|key| owned(key, "b"));
    fleet(["a", "b", "c"], [owned(1, "a"), owned(2, "c")].into_iter().chain(surplus)).counts(0, 1);
    // The surplus lease is for the first id.
    let surplus = (3..=5).map(|key| owned(key, "b"));
    fleet(["A", "a", "b"], [owned(1, "A"), owned(2, "a")].into_iter().chain(surplus)).plans([], []);
}

#[test]
fn open_handover_counts_for_its_target() {
    let rows = [
        owned(1, "b"),
        owned(2, "b").asked_by("c"),
        owned(3, "b"),
        owned(4, "b").asked_by("a"),
        owned(5, "b"),
        owned(6, "c"),
    ];
    fleet(["a", "b", "c"], rows).counts(0, 1);
    let rows = [
        owned(1, "b"),
        owned(2, "b"),
        owned(3, "b").asked_by("a"),
        owned(4, "b").asked_by("a").requested(),
    ];
    fleet(["a", "b"], rows).plans([], []);
    fleet(["a", "b"], [owned(1, "a").asked_by("b"), owned(2, "a"), owned(3, "b")]).plans([], []);
}

#[test]
fn handover_to_an_absent_worker_counts_for_the_holder() {
    fleet(["a", "b"], [owned(1, "b").asked_by("c"), owned(2, "b"), owned(3, "a")]).plans([], []);
    fleet(["a", "b"], [owned(1, "a").asked_by("c"), owned(2, "b"), owned(3, "a")]).plans([], []);
}

#[test]
fn open_requests_count_as_mine_and_are_capped() {
    let rows = |more| {
        let open = [owned(1, "b").requested(), owned(2, "b").requested()];
        open.into_iter().chain((3..=more).map(|key| owned(key, "b")))
    };
    fleet(["a", "b"], rows(4)).plans([], []);
    fleet(["a", "b"], rows(8)).requests_max(3).counts(0, 1);
    fleet(["a", "b"], rows(8)).requests_max(2).plans([], []);
}

#[test]
fn free_leases_come_before_requests() {
    let rows = [free(1), owned(2, "b"), owned(3, "b"), owned(4, "b")];
    let plan = fleet(["a", "b"], rows).plan();
    assert_eq!((plan.take[0].key.as_str(), plan.take.len(), plan.ask.len()), ("1", 1, 1));
    fleet(["a", "b"], [free(1), free(2), owned(3, "b"), owned(4, "b")]).plans([1, 2], []);
}

#[test]
fn leases_of_an_absent_owner_wait_for_their_expiry() {
    let rows = || [owned(1, "c"), owned(2, "c"), owned(3, "b"), owned(4, "b")];
    fleet(["a", "b"], rows()).plans([], []);
    let [first, second, third, fourth] = rows();
    fleet(["a", "b"], [first.expired(), second, third, fourth]).plans([1], []);
}

#[test]
fn blocked_leases_are_neither_taken_nor_asked_for() {
    fleet(["a"], [free(1).blocked(), free(2)]).plans([2], []);
    fleet(["a", "b"], [owned(1, "b").blocked(), owned(2, "b")]).plans([], [2]);
}

#[test]
fn refused_lease_may_be_taken_but_not_asked_for() {
    fleet(["a", "b"], [owned(1, "b").refused(), owned(2, "b")]).plans([], [2]);
    fleet(["a", "b"], [free(1).refused(), owned(2, "b")]).plans([1], []);
    fleet(["a", "b"], [owned(1, "c").expired().refused(), owned(2, "b")]).plans([1], []);
}

#[test]
fn handover_of_a_dead_holder_goes_to_its_requester() {
    // The victim of a's own request is dead.
    fleet(["a", "b"], [owned(1, "c").asked_by("a").requested().expired()]).plans([1], []);
    fleet(["a", "b"], [owned(1, "c").asked_by("a").expired()]).plans([1], []);
    fleet(["a", "b"], [owned(1, "c").asked_by("b").expired(), free(2)]).plans([2], []);
    // b does not take it.
    let rows = [owned(1, "c").asked_by("b").expired().leftover(), owned(2, "b")];
    fleet(["a", "b"], rows).plans([1], []);
    // Both sides are dead.
    fleet(["a", "b"], [owned(1, "c").asked_by("d").expired(), owned(2, "b")]).plans([1], []);
}

#[test]
fn leftovers_are_taken_above_the_share() {
    let rows = || [owned(1, "a"), owned(2, "a"), owned(3, "b")];
    fleet(["a", "b"], rows().into_iter().chain([free(4)])).plans([], []);
    fleet(["a", "b"], rows().into_iter().chain([free(4).leftover()])).plans([4], []);
    fleet(["a", "b"], rows().into_iter().chain([free(4).leftover()])).leases_max(2).plans([], []);
    // b takes the other one.
    let rows = [
        owned(1, "a"),
        owned(2, "b"),
        free(3).leftover(),
        free(4).leftover(),
        owned(5, "a"),
        owned(6, "b"),
    ];
    fleet(["a", "b", "c"], rows).counts(1, 0);
}

#[test]
fn maximum_is_never_exceeded() {
    fleet(["a"], [owned(1, "a"), free(2), free(3)]).leases_max(2).counts(1, 0);
    fleet(["a", "b"], (1..=4).map(|key| owned(key, "b"))).leases_max(1).counts(0, 1);
    // The lease is leaving but still held.
    fleet(["a", "b"], [owned(1, "a").asked_by("b"), free(2)]).leases_max(1).plans([], []);
    // It lost the leases whose rows still name it.
    let rows = || [owned(1, "a"), owned(2, "a").handed_over(), owned(3, "a").handed_over()];
    fleet(["a", "b"], rows()).leases_max(1).plans([], []);
    fleet(["a", "b"], rows()).leases_max(2).counts(1, 0);
    fleet(["a", "b"], rows().map(Row::expired)).leases_max(1).plans([], []);
    // A request has its room already.
    let rows = [owned(1, "c").asked_by("a").requested().expired(), owned(2, "a").handed_over()];
    fleet(["a", "b"], rows).leases_max(1).plans([1], []);
}

#[test]
fn take_in_flight_counts_as_held() {
    let rows = || [free(1).taking(), free(2), free(3), free(4)];
    fleet(["a"], rows()).leases_max(1).counts(0, 0);
    fleet(["a"], rows()).leases_max(3).counts(2, 0);
    fleet(["a", "b"], rows()).counts(1, 0);
    // A lease that cannot be worked on any more may still be arriving.
    let rows = [free(1).taking().not_workable(), owned(2, "b").requested().not_workable(), free(3)];
    fleet(["a"], rows.clone()).leases_max(2).counts(0, 0);
    fleet(["a"], rows).leases_max(3).counts(1, 0);
}

#[test]
fn held_lease_is_mine_whatever_its_row_says() {
    let mut held = owned(1, "b");
    held.state.part = Part::Holds;
    let plan = fleet(["a", "b"], [held, free(2)]).plan();
    assert_eq!((plan.mine, plan.fair_share, plan.take.len()), (1, (1, 1), 0));
}

#[test]
fn other_free_leases_are_alternatives() {
    let plan = fleet(["a", "b"], [free(1), free(2), free(3), free(4), owned(5, "a")]).plan();
    assert_eq!((plan.mine, plan.fair_share), (1, (2, 3)));
    let all: BTreeSet<_> =
        plan.take.iter().chain(&plan.alternatives).map(|take| &take.key).collect();
    assert_eq!((plan.take.len(), plan.alternatives.len(), all.len()), (2, 2, 4));
    let has_its_share = fleet(["a", "b"], [owned(1, "a"), free(2)]).plan();
    assert_eq!(has_its_share.alternatives, []);
}

#[test]
fn joining_workers_choose_different_leases() {
    let mut scene = fleet(["a", "b"], (0..100).map(free));
    let first: BTreeSet<_> = scene.plan().take.into_iter().map(|take| take.key).collect();
    scene.me = "b".into();
    let both = scene.plan().take.into_iter().filter(|take| first.contains(&take.key)).count();
    assert!((15..35).contains(&both), "{both} of 50 candidates are the same");
}

#[test]
fn take_has_a_reason_and_counts_owner_switches() {
    let taken = |mut row: Row, writer: &str| {
        let counter = row.lease.counter;
        row.lease.last_write = Some(WriteStamp { counter, worker: writer.into(), number: 0 });
        let take = fleet(["a"], [row]).plan().take.remove(0);
        assert_eq!(take.counter, counter);
        (take.why, take.owner_switches)
    };
    let expired = TakeReason::Expired { silent_for: SILENT };
    assert_eq!(taken(free(1), "b"), (TakeReason::Unowned, 2));
    assert_eq!(taken(owned(1, "b").expired(), "b"), (expired, 3));
    assert_eq!(taken(owned(1, "b").asked_by("a").expired(), "b"), (expired, 3));
    assert_eq!(taken(owned(1, "a").handed_over(), "b"), (TakeReason::HandedOver, 3));
    // A hand-over that a itself cancelled.
    assert_eq!(taken(owned(1, "a").handed_over(), "a"), (TakeReason::HandedOver, 2));
}
