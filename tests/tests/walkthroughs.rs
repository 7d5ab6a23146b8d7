//! The Java KCL's classic tables, lived through by whole fleets in virtual time.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use kcl_core::event::{Event, LeaseEnd, TakeReason};
    use kcl_core::model::{Checkpoint, LeaseCounter, Position};
    use kcl_tests::world::{Act, Asked, World};

    const SECOND: Duration = Duration::from_secs(1);

    fn counter(world: &World, shard: usize) -> u64 {
        world.lease(shard).counter.0
    }

    fn owner(world: &World, shard: usize) -> String {
        let lease = world.lease(shard);
        lease.owner.map(|owner| owner.name().to_owned()).unwrap_or_default()
    }

    /// The only shard of two that `worker` owns.
    fn shard_of(world: &World, worker: &str) -> usize {
        (0..2).find(|shard| owner(world, *shard) == worker).expect("it owns one")
    }

    /// The counters as the table of the fail-over story has them.
    fn set_counters(world: &World, counters: [(usize, u64); 2]) {
        for (shard, number) in counters {
            let mut lease = world.lease(shard);
            let counter = LeaseCounter(number);
            let last_write = lease.last_write.clone().map(|stamp| {
                let number = stamp.number;
                kcl_core::model::WriteStamp { counter, worker: stamp.worker, number }
            });
            (lease.counter, lease.last_write) = (counter, last_write);
            world.store.insert_lease(lease);
        }
    }

    /// The table of the fail-over story: a lease whose owner died, and that of its next owner.
    #[derive(Debug, PartialEq, Eq)]
    struct FailedOver {
        /// The dead owner's counter, as the next owner took it, and after its checkpoint and a renewal.
        left: [u64; 3],
        /// The other lease's at the last two of these times.
        renewed: [u64; 2],
        /// Which shard the other lease is of.
        living: usize,
    }

    /// One of two workers dies when its lease is at 85.
    async fn fail_over(counters: [(usize, u64); 2]) -> FailedOver {
        let world = World::new(2);
        // The fleet is stopped, the table is brought to the story's counters, the fleet starts.
        let first = world.start("w");
        world.until("held", SECOND * 10, |world| world.owned_by("w") == Some(2)).await;
        first.stop().await.unwrap();
        set_counters(&world, counters);
        // As Java's processors do, the next owner checkpoints what it gets.
        let checkpoints = |asked: &Asked| asked.delivers("left behind");
        world.script(
            move |asked| if checkpoints(asked) { Act::Checkpoint(0) } else { Act::Succeed },
        );

        let one = world.start("one");
        let _two = world.start("two");
        let shared =
            |world: &World| world.owned_by("one") == Some(1) && world.owned_by("two") == Some(1);
        world.until("shared", SECOND * 60, shared).await;
        let (dying, living) = (shard_of(&world, "one"), shard_of(&world, "two"));
        world.until("at 85", SECOND * 60, |world| counter(world, dying) == 85).await;
        one.crash();
        world.put(dying, ["left behind"]);

        // The dead worker's counter stands still; the other lease is renewed all the while.
        let before = counter(&world, living);
        world.pass(SECOND * 9).await;
        assert_eq!((owner(&world, dying).as_str(), counter(&world, dying)), ("one", 85));
        assert!(counter(&world, living) >= before + 2, "it goes on being renewed");

        // The next owner's take is the next number, and its token.
        world.until("taken", SECOND * 3, |world| owner(world, dying) == "two").await;
        let renewed = counter(&world, living);
        let tokens = world.journal.events(|event| {
            if let Event::LeaseTaken { key, token, why, .. } = event {
                Some((key.clone(), token.get(), *why))
            } else {
                None
            }
        });
        let (_, who, (key, taken, why)) = tokens.last().unwrap();
        assert_eq!((who.as_str(), key), ("two", &world.key(dying)));
        assert!(matches!(why, TakeReason::Expired { .. }), "{why:?}");
        world.until("delivered", SECOND * 3, |world| world.journal.has("left behind")).await;
        let stored = |world: &World| world.lease(dying).checkpoint.has_progressed();
        world.until("stored", SECOND * 3, stored).await;
        world.until("renewed", SECOND * 4, |world| counter(world, living) == renewed + 1).await;
        world.until("renewed", SECOND * 4, |world| counter(world, dying) == taken + 2).await;
        let left = [85, *taken, counter(&world, dying)];
        FailedOver { left, renewed: [renewed, counter(&world, living)], living }
    }

    #[tokio::test(start_paused = true)]
    async fn fail_over_goes_on_from_the_counter_at_which_the_owner_died() {
        // A first run tells how often the other lease is renewed until then, and which one it is.
        let FailedOver { renewed, living, .. } = fail_over([(0, 80), (1, 80)]).await;
        let begin = 80 + 94 - renewed[0];
        let table = fail_over([(living, begin), (1 - living, 80)]).await;
        assert_eq!(table, FailedOver { left: [85, 86, 88], renewed: [94, 95], living });
    }

    #[tokio::test(start_paused = true)]
    async fn load_balancing_hands_leases_to_the_worker_that_joins() {
        let world = World::new(4);
        let _one = world.start("one");
        world.until("held", SECOND * 10, |world| world.owned_by("one") == Some(4)).await;
        for shard in 0..4 {
            world.put(shard, [format!("r{shard}").as_str()]);
        }
        world.until("delivered", SECOND * 10, |w| w.journal.delivered().len() == 4).await;
        let _two = world.start("two");
        world.until("balanced", SECOND * 20, |world| world.owned_by("two") == Some(2)).await;
        assert_eq!(world.owned_by("one"), Some(2));
        // Asked for, finished, handed over: nothing was robbed, and nothing comes twice.
        let ends = world.journal.events(|event| {
            if let Event::LeaseEnded { how, .. } = event { Some(*how) } else { None }
        });
        let handed =
            |(_, who, how): &(_, String, LeaseEnd)| who == "one" && *how == LeaseEnd::HandedOver;
        assert!(ends.len() == 2 && ends.iter().all(handed), "{ends:?}");
        for lease in world.store.leases() {
            let moved = lease.owner.as_ref().is_some_and(|owner| owner.name() == "two");
            assert!(!moved || lease.checkpoint.has_progressed(), "stored first: {lease:?}");
            assert_eq!(lease.checkpoint_owner, None);
        }
        world.pass(SECOND * 30).await;
        assert_eq!(world.journal.delivered().len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn resharding_ends_the_parent_creates_the_children_and_deletes_the_parent_later() {
        let world = World::new(1);
        let last = world.put(0, ["p1", "p2"]);
        let one = world.start("one");
        let stored = Checkpoint::After(Position::of(last));
        let is_stored = |world: &World| world.find(0).is_some_and(|row| row.checkpoint == stored);
        world.until("stored", SECOND * 10, is_stored).await;
        let [low, high] = world.split(0);
        world.until("ended", SECOND * 10, |world| world.lease(0).is_ended()).await;

        // The moment SHARD_END is stored, its children have rows that nobody has touched yet.
        let parent = world.lease(0);
        assert_eq!(parent.children, BTreeSet::from([world.shard(low), world.shard(high)]));
        for child in [low, high] {
            let row = world.lease(child);
            assert_eq!(row.parents, BTreeSet::from([world.shard(0)]));
            assert_eq!((row.checkpoint, row.counter), (Checkpoint::TrimHorizon, LeaseCounter(0)));
            assert_eq!(row.hash_range, Some(world.hash_range(child)));
        }
        world.until("taken", SECOND * 2, |world| world.owned_by("one") == Some(2)).await;
        assert!(world.find(0).is_some(), "the children have not progressed");
        world.put(low, ["c1"]);
        world.put(high, ["c2"]);
        world.until("deleted", SECOND * 160, |world| world.find(0).is_none()).await;
        one.stop().await.unwrap();
        assert_eq!(world.journal.delivered()[..2], ["p1", "p2"]);
        assert_eq!(world.journal.delivered().len(), 4);
    }
}
