//! Processors of one's own on a simulated fleet: what users of `kcl_local::sim::World` rely on.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::pending;
    use std::time::Duration;

    use kcl_core::config::WorkerConfig;
    use kcl_core::context::ShardContext;
    use kcl_core::{BoxError, RecordBatch, RecordProcessor};
    use kcl_local::sim::{Fault, Oracle, SimError, Tally, Weather, World};
    use tokio::time::sleep;

    /// Takes its time, or for ever.
    struct Patient {
        hangs: bool,
    }

    impl RecordProcessor for Patient {
        async fn process_records(
            &mut self,
            _batch: RecordBatch,
            _shard: &ShardContext,
        ) -> Result<(), BoxError> {
            if self.hangs {
                pending::<()>().await;
            }
            sleep(Duration::from_millis(20)).await;
            Ok(())
        }
    }

    fn fleet(seed: u64, hangs: bool) -> World {
        let mut world = World::new(seed, 3).unwrap();
        for name in ["ann", "ben"] {
            let config = WorkerConfig::default();
            world.start(name, config, move |_: &ShardContext| Patient { hangs }).unwrap();
        }
        world
    }

    /// How often each record was handed over, by its data.
    fn times(world: &World) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for delivery in world.deliveries() {
            let data = String::from_utf8(delivery.record.data.to_vec()).unwrap();
            *times.entry(data).or_default() += 1;
        }
        times
    }

    #[test]
    fn records_arrive_as_they_were_put_once_each_where_nothing_goes_wrong() {
        let mut world = fleet(1, false);
        for number in 0..100 {
            world.put(&format!("key {}", number % 7), format!("record {number}")).unwrap();
        }
        assert_eq!(world.backlog(), 100);
        world.heal().unwrap();
        assert_eq!(world.backlog(), 0);
        let once = (0..100).map(|number| (format!("record {number}"), 1)).collect();
        assert_eq!(times(&world), once);
        let key = |number: usize| format!("key {}", number % 7);
        for delivery in world.deliveries() {
            let data = String::from_utf8(delivery.record.data.to_vec()).unwrap();
            let number = data.strip_prefix("record ").unwrap().parse().unwrap();
            assert_eq!(delivery.record.partition_key.to_string(), key(number));
            assert_eq!(delivery.attempt, 1);
        }
    }

    #[test]
    fn what_was_finished_and_not_stored_comes_again() {
        for seed in 0..20 {
            let mut world = fleet(seed, false);
            let mut slow = Weather::default();
            slow.slow = 0.5; // So that some writes are on their way when the worker is killed.
            world.set_weather(slow);
            world.put_every(Duration::from_millis(50), |number| {
                (format!("key {number}"), format!("record {number}"))
            });
            world.run_for(Duration::from_secs(15)).unwrap();
            assert!(times(&world).values().all(|times| *times == 1), "seed {seed}");
            let again = world.redeliver("ann").unwrap();
            world.heal().unwrap();
            let repeated = times(&world).values().filter(|times| **times > 1).count();
            assert!(repeated >= again && again > 0, "seed {seed}: {repeated}, not {again}");
            assert_eq!(times(&world).len(), world.records().count());
        }
    }

    #[test]
    fn a_processor_that_hangs_for_ever_is_found() {
        let mut world = fleet(1, true);
        world.put("key", "record").unwrap();
        let error = world.heal().unwrap_err();
        let SimError::Broken { violation, .. } = error else { panic!("{error:?}") };
        assert_eq!(violation.oracle, Oracle::AllDone, "{violation}");
    }

    #[test]
    fn who_strikes_a_worker_that_was_never_started_is_told() {
        let strikes: [fn(&mut World); 5] = [
            |world| world.crash("bert"),
            |world| world.stop("bert"),
            |world| world.freeze("bert", Duration::from_secs(1)),
            |world| world.suspend("bert", Duration::from_secs(1)),
            |world| world.cut("bert", Duration::ZERO, Duration::from_secs(1)),
        ];
        for strike in strikes {
            let mut world = fleet(1, false);
            strike(&mut world);
            let error = world.run_for(Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, SimError::NoSuchWorker { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_storm_strikes_and_every_record_comes_through_it() {
        let mut struck = Tally::default();
        for seed in 0..20 {
            let mut world = fleet(seed, false);
            world.put_every(Duration::from_millis(200), |number| ("key", number.to_string()));
            world.storm(Duration::from_mins(5)).unwrap();
            assert_eq!(world.workers().len(), 2, "seed {seed}");
            world.heal().unwrap();
            assert_eq!(times(&world).len(), world.records().count(), "seed {seed}");
            struck.add(world.tally());
        }
        for fault in [Fault::Crash, Fault::CleanStop, Fault::Freeze, Fault::Split, Fault::Merge] {
            assert!(struck.of(fault) > 0, "{fault} never came to pass");
        }
    }

    #[test]
    fn a_stopped_producer_puts_no_more_and_another_one_goes_on_alone() {
        let mut world = fleet(1, false);
        world.put_every(Duration::from_millis(100), |number| ("key", number.to_string()));
        world.run_for(Duration::from_secs(10)).unwrap();
        world.send_no_more();
        let before = world.records().count();
        world.put_every(Duration::from_millis(100), |number| ("key", number.to_string()));
        world.run_for(Duration::from_secs(100)).unwrap();
        let after = world.records().count() - before;
        assert!((800..1_200).contains(&after), "{after}");
    }
}
