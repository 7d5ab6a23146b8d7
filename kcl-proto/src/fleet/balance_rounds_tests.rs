//! Whole fleets that plan in rounds: from any start they settle with equal counts.

use proptest::prelude::*;

use super::*;
use crate::model::Lease;

/// A fleet that plans in rounds over one table. Hand-overs are completed between rounds.
#[derive(Debug)]
struct World {
    rows: BTreeMap<LeaseKey, Lease>,
    live: Vec<WorkerId>,
    leases_max: Vec<Option<usize>>,
    requests_max: usize,
    /// What each live worker holds, what it asks for, and what it saw free in its last round.
    held: Vec<BTreeSet<LeaseKey>>,
    asked: Vec<BTreeSet<LeaseKey>>,
    free: Vec<BTreeSet<LeaseKey>>,
    round: usize,
}

/// The round in which the leases of dead workers expire.
const EXPIRY_ROUND: usize = 3;

impl World {
    /// Each row has an owner and an outgoing owner: 0 for none, then the live workers, then three
    /// dead ones.
    fn new(leases_max: Vec<Option<usize>>, requests_max: usize, rows: &[(usize, usize)]) -> Self {
        let size = leases_max.len();
        let worker = |number: usize| WorkerId::new(format!("worker-{number}"));
        let name = |choice: usize| Some(worker((choice % (size + 4)).checked_sub(1)?));
        let row = |(number, (owner, outgoing)): (usize, &(usize, usize))| {
            let key = LeaseKey::new(format!("shard-{number}"));
            let mut row = Lease {
                key,
                counter: LeaseCounter(7),
                owner_switches: 2,
                owner: name(*owner),
                ..Lease::sample()
            };
            row.checkpoint_owner = name(*outgoing)
                .filter(|outgoing| row.owner.as_ref().is_some_and(|owner| owner != outgoing));
            (row.key.clone(), row)
        };
        let rows: BTreeMap<_, _> = rows.iter().enumerate().map(row).collect();
        let live: Vec<_> = (0..size).map(worker).collect();
        let holds = |worker: &WorkerId| {
            let held = rows.values().filter(|row| row.holder() == Some(worker));
            held.map(|row| row.key.clone()).collect()
        };
        let held = live.iter().map(holds).collect();
        let none = vec![BTreeSet::new(); size];
        Self {
            rows,
            live,
            leases_max,
            requests_max,
            held,
            asked: none.clone(),
            free: none,
            round: 0,
        }
    }

    fn is_live(&self, worker: Option<&WorkerId>) -> bool {
        worker.is_some_and(|worker| self.live.contains(worker))
    }

    fn plan_of(&mut self, number: usize, rows: &BTreeMap<LeaseKey, Lease>) -> BalancePlan {
        let is_dead = |row: &&Lease| row.owner.is_some() && !self.is_live(row.holder());
        let is_late = self.round >= EXPIRY_ROUND;
        let expired: BTreeMap<_, _> = rows
            .values()
            .filter(is_dead)
            .filter(|_| is_late)
            .map(|row| (row.key.clone(), SILENT))
            .collect();
        let unowned = rows.values().filter(|row| row.owner.is_none()).map(|row| row.key.clone());
        let free: BTreeSet<_> = unowned.chain(expired.keys().cloned()).collect();
        let leftover = &free & &self.free[number];
        self.free[number] = free;
        let present = self.live.iter().cloned().collect();
        let part = |key: &LeaseKey| {
            if self.held[number].contains(key) {
                Part::Holds
            } else if self.asked[number].contains(key) {
                Part::Requests
            } else {
                Part::None
            }
        };
        let state = |key: &LeaseKey| CandidateState {
            part: part(key),
            forsaken: expired
                .get(key)
                .map(|silent_for| Forsaken::Silent { silent_for: *silent_for }),
            is_leftover: leftover.contains(key),
            ..CandidateState::default()
        };
        let candidates: Vec<_> =
            rows.iter().map(|(key, lease)| Candidate { lease, state: state(key) }).collect();
        let fleet = Fleet {
            workers: Workers { me: &self.live[number], present: &present },
            candidates: &candidates,
            held: self.held[number].len(),
            requests: self.asked[number].len(),
        };
        let (leases_max, requests_max) = (self.leases_max[number], self.requests_max);
        plan(&fleet, &Limits { leases_max, requests_max })
    }

    /// Carries out a plan. Returns how many of its writes were made.
    fn carry_out(&mut self, number: usize, plan: BalancePlan) -> usize {
        let me = self.live[number].clone();
        let (planned, mut made) = (plan.take.len(), 0);
        for take in plan.take.into_iter().chain(plan.alternatives) {
            let row = self.rows.get_mut(&take.key).unwrap();
            if made < planned && row.counter == take.counter {
                assert!(
                    !self.held.iter().any(|held| held.contains(&take.key)),
                    "a live holder lost its lease"
                );
                row.owner = Some(me.clone());
                row.checkpoint_owner = None;
                row.counter = row.counter.next();
                self.held[number].insert(take.key.clone());
                self.asked[number].remove(&take.key);
                made += 1;
            }
        }
        for ask in plan.ask {
            let row = self.rows.get_mut(&ask.key).unwrap();
            if row.owner.as_ref() == Some(&ask.owner) && row.checkpoint_owner.is_none() {
                row.checkpoint_owner = row.owner.replace(me.clone());
                self.asked[number].insert(ask.key);
                made += 1;
            }
        }
        made
    }

    /// Lets all workers plan, each on the current table, or all at once on the same one. Returns
    /// how many writes were made.
    fn round(&mut self, is_at_once: bool) -> usize {
        let before = self.rows.clone();
        let mut made = 0;
        for turn in 0..self.live.len() {
            let number = (turn + self.round) % self.live.len();
            let rows = if is_at_once { before.clone() } else { self.rows.clone() };
            let plan = self.plan_of(number, &rows);
            made += self.carry_out(number, plan);
        }
        self.complete_handovers();
        self.round += 1;
        made
    }

    fn complete_handovers(&mut self) {
        let live = &self.live;
        let place = |worker: Option<&WorkerId>| live.iter().position(|live| Some(live) == worker);
        for row in self.rows.values_mut() {
            let Some(victim) = place(row.checkpoint_owner.as_ref()) else { continue };
            match place(row.owner.as_ref()) {
                Some(_) => drop(self.held[victim].remove(&row.key)),
                None => row.owner.clone_from(&row.checkpoint_owner),
            }
            row.checkpoint_owner = None;
            row.counter = row.counter.next();
        }
        // A request ends when its row no longer carries it, because the requester may have taken
        // the lease.
        let rows = &self.rows;
        let is_open = |key: &LeaseKey| rows[key].checkpoint_owner.is_some();
        self.asked.iter_mut().for_each(|asked| asked.retain(is_open));
    }

    /// Runs rounds until no lease moves. Returns how many leases each live worker holds.
    #[track_caller]
    fn settle(&mut self, is_at_once: bool) -> Vec<usize> {
        let rounds_max = EXPIRY_ROUND + 8 + 2 * self.rows.len() / self.requests_max;
        let mut still = 0;
        while still < 3 {
            assert!(self.round < rounds_max, "does not settle: {self:?}");
            let made = self.round(is_at_once);
            still = if made == 0 && self.round > EXPIRY_ROUND { still + 1 } else { 0 };
        }
        assert!(self.asked.iter().all(BTreeSet::is_empty), "{self:?}");
        self.held.iter().map(BTreeSet::len).collect()
    }
}

fn rows() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let outgoing = prop_oneof![3 => Just(0), 1 => 0_usize..12];
    proptest::collection::vec((0_usize..12, outgoing), 0..40)
}

fn are_even(counts: &[usize]) -> bool {
    counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
}

proptest! {
    #[test]
    fn fleet_settles_with_counts_that_differ_by_one(
        (workers, requests_max) in (1_usize..9, 1_usize..6),
        rows in rows(),
        is_at_once: bool,
    ) {
        let mut world = World::new(vec![None; workers], requests_max, &rows);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), rows.len());
        prop_assert!(are_even(&counts), "{:?}", counts);
    }

    #[test]
    fn fleet_with_equal_maxima_takes_what_they_allow(
        (workers, leases_max) in (1_usize..9, 1_usize..9),
        (leases, is_at_once) in (0_usize..40, any::<bool>()),
    ) {
        let mut world = World::new(vec![Some(leases_max); workers], 3, &vec![(0, 0); leases]);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), leases.min(workers * leases_max));
        prop_assert!(are_even(&counts), "{:?}", counts);
    }

    #[test]
    fn maxima_leave_no_lease_untaken(
        maxima in proptest::collection::vec(proptest::option::of(0_usize..6), 1..9),
        rows in rows(),
        is_at_once: bool,
    ) {
        // All start with no lease; the last worker has no maximum.
        let dead = maxima.len() + 2;
        let rows: Vec<_> = rows.iter().map(|(owner, _)| (owner % 2 * dead, 0)).collect();
        let maxima: Vec<_> = maxima.into_iter().chain([None]).collect();
        let floor = rows.len() / maxima.len();
        let mut world = World::new(maxima.clone(), 3, &rows);
        let counts = world.settle(is_at_once);
        prop_assert_eq!(counts.iter().sum::<usize>(), rows.len());
        for (count, leases_max) in counts.iter().zip(maxima) {
            prop_assert!(*count <= leases_max.unwrap_or(usize::MAX));
            prop_assert!(*count >= floor.min(leases_max.unwrap_or(usize::MAX)), "{:?}", counts);
        }
    }
}
