//! Which leases are expired: their counter was seen unchanged for a whole expiry, on this clock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Lease, LeaseCounter, LeaseKey, Moment, WorkerId, WriteStamp};

/// When each lease was first seen with the counter that it has now.
///
/// Give it the moment *after* the reply that a row came with: a row counts from when it is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct CounterWatch {
    seen: BTreeMap<LeaseKey, Sighting>,
}

/// A row as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sighting {
    counter: LeaseCounter,
    /// Who set it with which write: tells it from the same counter of a row that was deleted by
    /// hand and created again.
    written: Option<WriteStamp>,
    /// When it was first seen with this counter.
    first: Moment,
    /// How long it must stand still to be expired.
    expiry: Duration,
    /// Whether somebody must renew it.
    is_awaited: bool,
}

impl Sighting {
    fn of(lease: &Lease, earlier: Option<&Self>, own_expiry: Duration, now: Moment) -> Self {
        let first = match earlier {
            Some(earlier) if earlier.shows(lease) => earlier.first,
            Some(_) | None => now,
        };
        let stated = lease.expiry.filter(|_| lease.is_ours()).unwrap_or_default();
        Self {
            counter: lease.counter,
            written: lease.last_write.clone(),
            first,
            expiry: stated.max(own_expiry),
            is_awaited: is_awaited(lease),
        }
    }

    fn shows(&self, lease: &Lease) -> bool {
        self.counter == lease.counter && self.written == lease.last_write
    }

    fn expires_at(&self) -> Moment {
        self.first + self.expiry
    }
}

impl CounterWatch {
    /// Takes in a whole scan. Leases that are not in it are forgotten.
    pub fn observe_scan(&mut self, leases: &[Lease], own_expiry: Duration, now: Moment) {
        let earlier = std::mem::take(&mut self.seen);
        let sight = |lease: &Lease| {
            let sighting = Sighting::of(lease, earlier.get(&lease.key), own_expiry, now);
            (lease.key.clone(), sighting)
        };
        self.seen = leases.iter().map(sight).collect();
    }

    /// Takes in one row that was read on its own, or that a lost write returned.
    pub fn observe(&mut self, lease: &Lease, own_expiry: Duration, now: Moment) {
        let sighting = Sighting::of(lease, self.seen.get(&lease.key), own_expiry, now);
        self.seen.insert(lease.key.clone(), sighting);
    }

    /// For how long the lease's counter has stood still; none if the lease was never seen.
    #[must_use]
    pub fn silent_for(&self, key: &LeaseKey, now: Moment) -> Option<Duration> {
        self.seen.get(key).map(|sighting| now.since(sighting.first))
    }

    /// Whether the lease, as this row shows it, is expired: its holder is dead.
    ///
    /// Nobody renews the lease of a finished shard, although its row keeps the last owner: that one
    /// may be well.
    #[must_use]
    pub fn is_expired(&self, lease: &Lease, now: Moment) -> bool {
        is_awaited(lease)
            && self
                .seen
                .get(&lease.key)
                .is_some_and(|sighting| sighting.shows(lease) && sighting.expires_at() <= now)
    }

    /// The next moment after `now` at which an owned lease of an unfinished shard will be expired,
    /// if it stays silent: when to plan again, without another scan.
    #[must_use]
    pub fn next_expiry(&self, now: Moment) -> Option<Moment> {
        self.seen
            .values()
            .filter(|sighting| sighting.is_awaited)
            .map(Sighting::expires_at)
            .filter(|at| *at > now)
            .min()
    }
}

/// Whether somebody must renew a lease: it is owned, and its shard is not finished.
const fn is_awaited(lease: &Lease) -> bool {
    lease.owner.is_some() && !lease.is_ended()
}

/// From whom a lease was taken because it was expired, by two looks at its row; none if it was not,
/// or that cannot be seen.
///
/// Every way from one holder to another that is not by force has a write of the former holder in
/// between. So a taker's write right after the counter of another holder says that this one is dead,
/// to whoever came too late to see it by itself.
#[must_use]
pub fn taken_from<'a>(before: &'a Lease, after: &Lease) -> Option<&'a WorkerId> {
    let former = before.holder()?;
    let taker =
        after.owner.as_ref().filter(|_| after.checkpoint_owner.is_none() && after.is_ours());
    let writer = after.last_write.as_ref().map(|stamp| &stamp.worker);
    let is_taken = after.counter == before.counter.next() && taker == writer;
    (is_taken && taker.is_some_and(|taker| taker != former)).then_some(former)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lease::write::{LeaseWrite, WriteKind};
    use crate::model::{Checkpoint, WorkerId, WriteStamp};

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    /// A row of `other` with this counter; `stated` is the expiry of a row that is ours.
    fn row(counter: u64, stated: Option<u64>) -> Lease {
        let (counter, owner) = (LeaseCounter(counter), WorkerId::new("other"));
        Lease {
            key: LeaseKey::new("shard"),
            owner: Some(owner.clone()),
            checkpoint_owner: None,
            counter,
            owner_switches: 0,
            checkpoint: Checkpoint::TrimHorizon,
            pending: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
            start_at: None,
            expiry: stated.map(Duration::from_secs),
            caught_up_at: None,
            last_write: stated.map(|_| WriteStamp { counter, worker: owner, number: 0 }),
        }
    }

    /// A worker with an expiry of 10 s saw these rows, each at its second.
    fn watch(seen: &[(u64, Lease)]) -> CounterWatch {
        let mut watch = CounterWatch::default();
        for (second, lease) in seen {
            watch.observe_scan(std::slice::from_ref(lease), Duration::from_secs(10), at(*second));
        }
        watch
    }

    /// The row seen last is expired at `second`, and no second earlier.
    #[track_caller]
    fn check(seen: &[(u64, Lease)], second: u64) {
        let (last_seen, lease) = seen.last().unwrap();
        let watch = watch(seen);
        assert!(!watch.is_expired(lease, at(second - 1)), "expired too early");
        assert!(watch.is_expired(lease, at(second)), "not expired");
        assert_eq!(watch.next_expiry(at(*last_seen)), Some(at(second)));
        assert_eq!(watch.next_expiry(at(second)), None, "expired already");
    }

    #[test]
    fn a_lease_expires_when_its_counter_stood_still_for_a_whole_expiry() {
        check(&[(5, row(1, None)), (9, row(1, None))], 15);
    }

    #[test]
    fn a_counter_that_changed_in_any_direction_restarts_the_wait() {
        check(&[(5, row(1, None)), (9, row(2, None))], 19);
        check(&[(5, row(2, None)), (9, row(1, None))], 19);
        check(&[(5, row(1, None)), (7, row(2, None)), (9, row(1, None))], 19);
    }

    #[test]
    fn the_start_of_a_hand_over_is_no_sign_of_the_holder() {
        let asked = Lease { checkpoint_owner: Some("third".into()), ..row(1, None) };
        check(&[(5, row(1, None)), (9, asked)], 15);
    }

    #[test]
    fn the_longer_expiry_counts_if_the_row_is_ours() {
        check(&[(5, row(1, Some(30)))], 35);
        check(&[(5, row(1, Some(2)))], 15);
        let foreign = Lease { counter: LeaseCounter(2), ..row(1, Some(30)) };
        check(&[(5, foreign)], 15);
    }

    #[test]
    fn a_row_that_is_not_as_it_was_watched_is_not_expired() {
        let watch = watch(&[(5, row(1, None))]);
        assert!(!watch.is_expired(&row(2, None), at(100)));
        assert!(!CounterWatch::default().is_expired(&row(1, None), at(100)));
    }

    #[test]
    fn nothing_awaits_an_unowned_or_finished_lease() {
        let unowned = Lease { owner: None, ..row(1, None) };
        let finished = Lease { checkpoint: Checkpoint::ShardEnd, ..row(1, None) };
        assert_eq!(watch(&[(5, unowned.clone())]).next_expiry(at(5)), None);
        assert_eq!(watch(&[(5, finished)]).next_expiry(at(5)), None);
        assert!(!watch(&[(5, unowned.clone())]).is_expired(&unowned, at(100)));
    }

    #[test]
    fn the_last_owner_of_a_finished_shard_is_not_dead() {
        let children = BTreeSet::from(["child".into()]);
        let kind = WriteKind::EndShard { counter: LeaseCounter(1), next: None, children };
        let end = LeaseWrite { key: "shard".into(), worker: "other".into(), number: 1, kind };
        let finished = end.apply(Some(&row(1, None))).unwrap().unwrap();
        assert_eq!(finished.owner, Some("other".into()));
        assert!(!watch(&[(5, finished.clone())]).is_expired(&finished, at(100)));
    }

    /// Rows of a lease that `other` holds, one after the other, as these writes make them.
    fn history<const N: usize>(writes: [(&str, WriteKind); N]) -> Vec<Lease> {
        let mut rows = vec![row(1, Some(10))];
        for (number, (worker, kind)) in (1..).zip(writes) {
            let write = LeaseWrite { key: "shard".into(), worker: worker.into(), number, kind };
            let made = write.apply(rows.last()).expect("its precondition holds");
            rows.push(made.expect("it leaves a row"));
        }
        rows
    }

    fn take(counter: u64) -> WriteKind {
        let expiry = Duration::from_secs(10);
        WriteKind::Take { counter: LeaseCounter(counter), expiry, owner_switches: 1 }
    }

    /// Whether `other` is taken for dead by two looks, at the first row and at the last one.
    fn is_dead(rows: &[Lease]) -> bool {
        let (before, after) = (rows.first().unwrap(), rows.last().unwrap());
        let from = taken_from(before, after);
        assert!(from.is_none_or(|from| from.as_str() == "other"));
        from.is_some()
    }

    #[test]
    fn a_take_right_after_the_holders_counter_says_that_it_is_dead() {
        assert!(is_dead(&history([("me", take(1))])));
        let renewal = || WriteKind::Renew { counter: LeaseCounter(2), next: None, progress: None };
        assert!(!is_dead(&history([("me", take(1)), ("me", renewal())])), "seen too late");
        let renewal = WriteKind::Renew { counter: LeaseCounter(1), next: None, progress: None };
        assert!(!is_dead(&history([("other", renewal)])));
        assert!(!is_dead(&history([])));
    }

    #[test]
    fn a_holder_that_let_go_is_not_dead() {
        let counter = LeaseCounter(1);
        let release = WriteKind::Release { counter, progress: None };
        assert!(!is_dead(&history([("other", release), ("me", take(2))])));
        let begin = || WriteKind::BeginHandOver { counter, victim: "other".into() };
        let next = || "me".into();
        let complete = || WriteKind::CompleteHandOver { counter, next: next(), progress: None };
        assert!(!is_dead(&history([("me", begin())])));
        assert!(!is_dead(&history([("me", begin()), ("other", complete())])));
        let taken = history([("me", begin()), ("other", complete()), ("me", take(2))]);
        assert!(!is_dead(&taken));
        let withdrawn = WriteKind::Withdraw { counter, victim: "other".into() };
        assert!(!is_dead(&history([("me", begin()), ("me", withdrawn)])));
        let cancelled = WriteKind::CancelHandOver { counter };
        assert!(!is_dead(&history([("me", begin()), ("other", cancelled)])));
    }

    #[test]
    fn a_row_that_vanished_is_forgotten() {
        let mut watch = watch(&[(5, row(1, None))]);
        assert_eq!(watch.silent_for(&"shard".into(), at(8)), Some(Duration::from_secs(3)));
        watch.observe_scan(&[], Duration::from_secs(10), at(9));
        assert_eq!(watch.silent_for(&"shard".into(), at(9)), None);
    }

    #[test]
    fn a_row_read_on_its_own_leaves_the_others_alone() {
        let mut watch = watch(&[(5, row(1, None))]);
        let second = Lease { key: "second".into(), ..row(1, None) };
        watch.observe(&second, Duration::from_secs(10), at(7));
        watch.observe(&row(2, None), Duration::from_secs(10), at(8));
        assert_eq!(watch.silent_for(&"shard".into(), at(9)), Some(Duration::from_secs(1)));
        assert_eq!(watch.silent_for(&"second".into(), at(9)), Some(Duration::from_secs(2)));
        assert_eq!(watch.next_expiry(at(9)), Some(at(17)));
    }
}
