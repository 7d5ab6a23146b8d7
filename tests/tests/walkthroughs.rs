//! The lease tables of the Java KCL's documentation, reproduced by whole fleets in virtual time.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use kcl_core::event::{Event, LeaseEnd, TakeReason};
    use kcl_core::model::{Checkpoint, LeaseCounter, Position};
    use kcl_sim::story::{Act, Story};

    const SECOND: Duration = Duration::from_secs(1);

    fn counter(story: &Story, shard: usize) -> u64 {
        story.lease(shard).counter.0
    }

    fn owner(story: &Story, shard: usize) -> String {
        let lease = story.lease(shard);
        lease.owner.map(|owner| owner.name().to_owned()).unwrap_or_default()
    }

    /// Returns the only one of two shards that `worker` owns.
    fn shard_of(story: &Story, worker: &str) -> usize {
        (0..2).find(|shard| owner(story, *shard) == worker).expect("the worker owns one")
    }

    /// Sets the counters of the fail-over table.
    fn set_counters(story: &Story, counters: [(usize, u64); 2]) {
        for (shard, number) in counters {
            let mut lease = story.lease(shard);
            let counter = LeaseCounter(number);
            let last_write = lease.last_write.clone().map(|stamp| {
                let number = stamp.number;
                kcl_core::model::WriteStamp { counter, worker: stamp.worker, number }
            });
            (lease.counter, lease.last_write) = (counter, last_write);
            story.table.insert_lease(lease);
        }
    }

    /// The fail-over table: a lease whose owner died, and the lease of its next owner.
    #[derive(Debug, PartialEq, Eq)]
    struct FailedOver {
        /// The lease's counter at its owner's death, at the take, and after a checkpoint and a
        /// renewal.
        left: [u64; 3],
        /// The other lease's counter at the last two of these times.
        renewed: [u64; 2],
        /// The other lease's shard.
        living: usize,
    }

    /// One of two workers dies when its lease is at 85.
    fn fail_over(counters: [(usize, u64); 2]) -> FailedOver {
        let story = Story::new(2);
        // Stops the fleet, sets the counters of the table, and starts the fleet.
        let first = story.start("w");
        story.until("held", SECOND * 10, |story| story.owned_by("w") == Some(2));
        first.stop().unwrap();
        set_counters(&story, counters);
        // Like Java's processors, the next owner checkpoints its records.
        story.on(|call| call.delivers("left behind"), Act::Checkpoint(0));

        let one = story.start("one");
        story.start("two");
        let shared =
            |story: &Story| story.owned_by("one") == Some(1) && story.owned_by("two") == Some(1);
        story.until("shared", SECOND * 60, shared);
        let (dying, living) = (shard_of(&story, "one"), shard_of(&story, "two"));
        story.until("at 85", SECOND * 60, |story| counter(story, dying) == 85);
        one.crash();
        story.put(dying, ["left behind"]);

        // The dead worker's counter stands still; the other lease is renewed all the while.
        let before = counter(&story, living);
        story.pass(SECOND * 9);
        assert_eq!((owner(&story, dying).as_str(), counter(&story, dying)), ("one", 85));
        assert!(counter(&story, living) >= before + 2, "the other lease is renewed");

        // The next owner's take is the next number, and its token.
        story.until("taken", SECOND * 3, |story| owner(story, dying) == "two");
        let renewed = counter(&story, living);
        let tokens = story.journal.events(|event| {
            if let Event::LeaseTaken { key, token, why, .. } = event {
                Some((key.clone(), token.get(), *why))
            } else {
                None
            }
        });
        let (_, who, (key, taken, why)) = tokens.last().unwrap();
        assert_eq!((who.as_str(), key), ("two", &story.key(dying)));
        assert!(matches!(why, TakeReason::Expired { .. }), "{why:?}");
        story.until("delivered", SECOND * 3, |story| story.journal.has("left behind"));
        let stored = |story: &Story| story.lease(dying).checkpoint.has_progressed();
        story.until("stored", SECOND * 3, stored);
        // The two leases are renewed at times of their own.
        let (mut once, mut twice) = (None, None);
        story.until("renewed", SECOND * 8, |story| {
            let (living, dying) = (counter(story, living), counter(story, dying));
            once = once.or_else(|| (living > renewed).then_some(living));
            twice = twice.or_else(|| (dying > taken + 1).then_some(dying));
            once.is_some() && twice.is_some()
        });
        let (once, twice) = (once.unwrap(), twice.unwrap());
        FailedOver { left: [85, *taken, twice], renewed: [renewed, once], living }
    }

    #[test]
    fn failover_continues_the_counter() {
        // A first run shows how often the other lease is renewed until then, and which one it is.
        let FailedOver { renewed, living, .. } = fail_over([(0, 80), (1, 80)]);
        let begin = 80 + 94 - renewed[0];
        let table = fail_over([(living, begin), (1 - living, 80)]);
        assert_eq!(table, FailedOver { left: [85, 86, 88], renewed: [94, 95], living });
    }

    #[test]
    fn load_balancing_hands_leases_to_a_newcomer() {
        let story = Story::new(4);
        story.start("one");
        story.until("held", SECOND * 10, |story| story.owned_by("one") == Some(4));
        for shard in 0..4 {
            story.put(shard, [format!("r{shard}").as_str()]);
        }
        story.until("delivered", SECOND * 10, |w| w.journal.delivered().len() == 4);
        story.start("two");
        story.until("balanced", SECOND * 20, |story| story.owned_by("two") == Some(2));
        assert_eq!(story.owned_by("one"), Some(2));
        // Requested, finished, handed over: no lease was stolen, and no record is repeated.
        let ends = story.journal.events(|event| {
            if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
        });
        let handed =
            |(_, who, how): &(_, String, LeaseEnd)| who == "one" && *how == LeaseEnd::HandedOver;
        assert!(ends.len() == 2 && ends.iter().all(handed), "{ends:?}");
        for lease in story.table.leases() {
            let moved = lease.owner.as_ref().is_some_and(|owner| owner.name() == "two");
            assert!(!moved || lease.checkpoint.has_progressed(), "stored first: {lease:?}");
            assert_eq!(lease.checkpoint_owner, None);
        }
        story.pass(SECOND * 30);
        assert_eq!(story.journal.delivered().len(), 4);
    }

    #[test]
    fn reshard_replaces_the_parent_by_its_children() {
        let story = Story::new(1);
        let last = story.put(0, ["p1", "p2"]);
        let one = story.start("one");
        let stored = Checkpoint::After(Position::of(last));
        let is_stored = |story: &Story| story.find(0).is_some_and(|row| row.checkpoint == stored);
        story.until("stored", SECOND * 10, is_stored);
        let [low, high] = story.split(0);
        story.until("ended", SECOND * 10, |story| story.lease(0).is_ended());

        // When SHARD_END is stored, the children have rows that no worker has taken yet.
        let parent = story.lease(0);
        assert_eq!(parent.children, BTreeSet::from([story.shard(low), story.shard(high)]));
        for child in [low, high] {
            let row = story.lease(child);
            assert_eq!(row.parents, BTreeSet::from([story.shard(0)]));
            assert_eq!((row.checkpoint, row.counter), (Checkpoint::TrimHorizon, LeaseCounter(0)));
            assert_eq!(row.hash_range, Some(story.hash_range(child)));
        }
        story.until("taken", SECOND * 2, |story| story.owned_by("one") == Some(2));
        assert!(story.find(0).is_some(), "the children have not progressed");
        story.put(low, ["c1"]);
        story.put(high, ["c2"]);
        story.until("deleted", SECOND * 160, |story| story.find(0).is_none());
        one.stop().unwrap();
        assert_eq!(story.journal.delivered()[..2], ["p1", "p2"]);
        assert_eq!(story.journal.delivered().len(), 4);
    }
}
