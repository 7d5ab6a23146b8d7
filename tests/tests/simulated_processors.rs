//! Custom processors on a simulated fleet: what users of `kcl_sim::World` rely on.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::pending;
    use std::time::Duration;

    use futures::StreamExt;
    use kcl_core::ShardContext;
    use kcl_core::config::{CheckpointPolicy, FailurePolicy, OnExhausted, WorkerConfig};
    use kcl_core::error::RunError;
    use kcl_core::model::{InitialPosition, ShardId};
    use kcl_core::{
        BoxError, ProcessorFactory, Record, RecordBatch, RecordProcessor, for_each, for_stream,
    };
    use kcl_sim::{Fault, Oracle, SimError, Tally, Weather, World};
    use tokio::time::sleep;

    /// Sleeps for each batch, or hangs.
    struct Sleeper {
        hangs: bool,
    }

    impl RecordProcessor for Sleeper {
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

    /// Returns settings that start at the oldest record.
    fn from_the_oldest() -> WorkerConfig {
        let mut config = WorkerConfig::default();
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config
    }

    fn fleet(seed: u64, hangs: bool) -> World {
        let mut world = World::new(seed, 3).unwrap();
        for name in ["ann", "ben"] {
            let sleeper = move |_: &ShardContext| Sleeper { hangs };
            world.start(name, from_the_oldest(), sleeper).unwrap();
        }
        world
    }

    /// Returns how often each record was delivered, by its data.
    fn times(world: &World) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for delivery in world.deliveries() {
            let data = String::from_utf8(delivery.record.data.to_vec()).unwrap();
            *times.entry(data).or_default() += 1;
        }
        times
    }

    #[test]
    fn each_record_arrives_once_without_faults() {
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
    fn unstored_records_are_delivered_again() {
        for seed in 0..20 {
            let mut world = fleet(seed, false);
            let mut slow = Weather::default();
            slow.slow = 0.5; // Some writes are in flight when the worker is killed.
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
    fn hanging_processor_is_detected() {
        let mut world = fleet(1, true);
        world.put("key", "record").unwrap();
        let error = world.heal().unwrap_err();
        let SimError::Broken { violation, .. } = error else { panic!("{error:?}") };
        assert_eq!(violation.oracle, Oracle::AllDone, "{violation}");
    }

    type Strike = fn(&mut World, &str) -> Result<(), SimError>;
    const STRIKES: [Strike; 5] = [
        |world, name| world.crash(name),
        |world, name| world.stop(name),
        |world, name| world.freeze(name, Duration::from_secs(1)),
        |world, name| world.suspend(name, Duration::from_secs(1)),
        |world, name| world.redeliver(name).map(drop),
    ];

    #[test]
    fn faults_need_a_running_worker() {
        let mut world = fleet(1, false);
        world.crash("ben").unwrap();
        for strike in STRIKES {
            let error = strike(&mut world, "bert").unwrap_err();
            assert!(matches!(error, SimError::NoSuchWorker { .. }), "{error:?}");
            let error = strike(&mut world, "ben").unwrap_err();
            assert!(matches!(error, SimError::NotRunning { .. }), "{error:?}");
        }
        let error = world.cut("bert", Duration::ZERO, Duration::ZERO).unwrap_err();
        assert!(matches!(error, SimError::NoSuchWorker { .. }), "{error:?}");
        world.freeze("ann", Duration::from_secs(1)).unwrap();
        for strike in [STRIKES[2], STRIKES[3]] {
            let error = strike(&mut world, "ann").unwrap_err();
            assert!(matches!(error, SimError::StandsStill { .. }), "{error:?}");
        }
        world.restart("ben").unwrap();
        world.heal().unwrap();
    }

    #[test]
    fn faults_need_a_suitable_shard() {
        let mut world = World::new(1, 2).unwrap();
        let [low, high] = [0, 1].map(|place| world.open_shards()[place].id.clone());
        world.merge(&high).unwrap_err(); // No shard lies above it.
        world.trim(&low).unwrap_err(); // It never had a record.
        world.delete_row(&low).unwrap_err(); // No worker has run.
        world.split(&low).unwrap();
        for closed in [low, ShardId::from("shardId-000000000099")] {
            world.split(&closed).unwrap_err();
            let error = world.merge(&closed).unwrap_err();
            assert!(error.to_string().contains("open_shards()"), "{error}");
        }
        assert_eq!(world.open_shards().len(), 3);
    }

    /// Fails each batch.
    struct Fails;

    impl RecordProcessor for Fails {
        async fn process_records(
            &mut self,
            _batch: RecordBatch,
            _shard: &ShardContext,
        ) -> Result<(), BoxError> {
            Err("no way".into())
        }
    }

    fn fleet_stopped_by_policy() -> World {
        let mut config = from_the_oldest();
        config.delivery.failure = FailurePolicy::attempts(2, OnExhausted::StopWorker);
        let mut world = World::new(1, 1).unwrap();
        for name in ["ann", "ben"] {
            world.start(name, config.clone(), |_: &ShardContext| Fails).unwrap();
        }
        world.put("key", "record").unwrap();
        world
    }

    #[test]
    fn workers_stopped_by_policy_can_be_awaited() {
        let mut world = fleet_stopped_by_policy();
        let mut names = Vec::new();
        for _ in 0..2 {
            let (name, end) = world.next_end().unwrap();
            assert!(matches!(end, Err(RunError::RecordsFailed { .. })), "{name}: {end:?}");
            names.push(name);
        }
        names.sort();
        assert_eq!(names, ["ann", "ben"]);
        assert!(matches!(world.next_end(), Err(SimError::NoWorkerEnds)));
    }

    #[test]
    fn unexpected_stop_breaks_a_promise() {
        let error = fleet_stopped_by_policy().run_for(Duration::from_mins(1)).unwrap_err();
        let SimError::Broken { violation, .. } = error else { panic!("{error:?}") };
        assert_eq!(violation.oracle, Oracle::WorkersRun, "{violation}");
    }

    #[test]
    fn stopped_worker_reports_its_shards() {
        let mut world = fleet(1, false);
        world.run_for(Duration::from_secs(30)).unwrap();
        world.stop("ann").unwrap();
        let (name, end) = world.next_end().unwrap();
        assert_eq!(name, "ann");
        assert!(!end.unwrap().shards.is_empty());
        world.heal().unwrap();
    }

    #[test]
    fn storm_loses_no_record() {
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
        for fault in [
            Fault::Crash,
            Fault::CleanStop,
            Fault::Freeze,
            Fault::Suspend,
            Fault::LeasesCut,
            Fault::RecordsCut,
            Fault::Throttled,
            Fault::StaleList,
            Fault::Split,
            Fault::Merge,
        ] {
            assert!(struck.of(fault) > 0, "{fault} never happened");
        }
    }

    #[test]
    fn stopped_producer_leaves_the_other_running() {
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

    #[test]
    fn rolling_restart_drains_without_repeats() {
        for seed in 0..10 {
            let mut world = fleet(seed, false);
            world.put_every(Duration::from_millis(50), |number| {
                (format!("key {number}"), number.to_string())
            });
            world.run_for(Duration::from_secs(15)).unwrap();
            for name in ["ann", "ben"] {
                world.stop(name).unwrap();
                world.restart(name).unwrap();
                world.run_for(Duration::from_secs(15)).unwrap();
            }
            world.heal().unwrap();
            assert_eq!(world.tally().of(Fault::Crash), 0, "seed {seed}");
            assert_eq!(times(&world).len(), world.records().count());
            assert!(times(&world).values().all(|times| *times == 1), "seed {seed}");
        }
    }

    /// Replaces two workers one by one, and expects each record to be done within `most`.
    fn roll_out(most: Duration) -> Result<(), SimError> {
        let mut world = fleet(3, false);
        world.put_every(Duration::from_millis(50), |number| (format!("key {number}"), ""));
        world.run_for(Duration::from_secs(15))?;
        world.expect_within(most);
        for name in ["ann", "ben"] {
            world.stop(name)?;
            world.restart(name)?;
            world.run_for(Duration::from_secs(15))?;
        }
        world.crash("ann")?;
        world.run_for(Duration::from_secs(5))
    }

    #[test]
    fn late_record_is_detected_before_and_after_it_is_done() {
        let late = |most: u64| {
            let error = roll_out(Duration::from_millis(most)).unwrap_err();
            let SimError::Broken { violation, .. } = error else { panic!("{error:?}") };
            assert_eq!(violation.oracle, Oracle::WaitsBounded, "{violation}");
            violation.at.millis()
        };
        roll_out(Duration::from_secs(6)).unwrap(); // A crash takes until the expiry.
        assert!(late(100) < 20_000, "late in the roll-out");
        let at = late(4_000);
        assert!((49_000..54_000).contains(&at), "{at}: not after the crash");
    }

    #[test]
    fn storm_spares_stopping_workers() {
        for seed in 0..20 {
            let mut world = fleet(seed, false);
            world.keep_trace();
            world.storm(Duration::from_mins(5)).unwrap();
            let mut stopping = BTreeMap::new();
            for line in world.trace() {
                let mut words = line.split_whitespace().skip(1);
                let who = words.next().unwrap().to_owned();
                let what: Vec<_> = words.collect();
                if what == ["is", "asked", "to", "stop"] {
                    stopping.insert(who, ());
                } else if what.first() == Some(&"ended:") {
                    stopping.remove(&who);
                } else if what == ["crashes"] {
                    assert!(!stopping.contains_key(&who), "seed {seed}: {line}");
                }
            }
        }
    }

    #[test]
    fn latest_skips_only_records_before_the_first_start() {
        for seed in 0..20 {
            let mut world = World::new(seed, 2).unwrap();
            for number in 0..10 {
                world.put(&number.to_string(), "before").unwrap();
            }
            world.split(&world.open_shards()[0].id).unwrap();
            for number in 0..10 {
                world.put(&number.to_string(), "before").unwrap();
            }
            world.run_for(Duration::from_secs(5)).unwrap();
            let sleeper = |_: &ShardContext| Sleeper { hangs: false };
            world.start("ann", WorkerConfig::default(), sleeper).unwrap();
            world.run_for(Duration::from_secs(5)).unwrap();
            for number in 0..10 {
                world.put(&number.to_string(), format!("after {number}")).unwrap();
            }
            assert_eq!(world.backlog(), 10, "seed {seed}");
            world.crash("ann").unwrap();
            world.restart("ann").unwrap();
            world.heal().unwrap();
            let after = (0..10).map(|number| (format!("after {number}"), 1)).collect();
            assert_eq!(times(&world), after, "seed {seed}");
            world.shut_down().unwrap();
        }
    }

    /// Redelivers records to a worker of `factory`, and checks that they arrive.
    fn redelivers(factory: impl ProcessorFactory<Processor: RecordProcessor>) {
        let mut world = World::new(1, 2).unwrap();
        world.start("ann", from_the_oldest(), factory).unwrap();
        world.put_every(Duration::from_millis(50), |number| {
            (format!("key {}", number % 9), number.to_string())
        });
        world.run_for(Duration::from_secs(15)).unwrap();
        assert!(times(&world).values().all(|times| *times == 1));
        let again = world.redeliver("ann").unwrap();
        world.heal().unwrap();
        let repeated = times(&world).values().filter(|times| **times > 1).count();
        assert!(repeated >= again && again > 0, "{repeated}, not {again}");
        assert_eq!(times(&world).len(), world.records().count());
    }

    /// Acknowledges each record from a separate task.
    struct Acknowledges;

    impl RecordProcessor for Acknowledges {
        #[expect(clippy::disallowed_methods, reason = "applications have tasks of their own")]
        async fn process_records(
            &mut self,
            batch: RecordBatch,
            _shard: &ShardContext,
        ) -> Result<(), BoxError> {
            for (_, ack) in batch.into_acks() {
                tokio::spawn(async move {
                    sleep(Duration::from_millis(20)).await;
                    ack.done();
                });
            }
            Ok(())
        }
    }

    #[test]
    fn acknowledged_records_are_redelivered_too() {
        redelivers(|_: &ShardContext| Acknowledges);
        redelivers(for_each(|_: Record| async {
            sleep(Duration::from_millis(20)).await;
            Ok::<(), BoxError>(())
        }));
        redelivers(for_stream(|mut records| async move {
            while let Some((_, ack)) = records.next().await {
                sleep(Duration::from_millis(5)).await;
                ack.done();
            }
            Ok(())
        }));
    }

    #[test]
    fn fleet_heals_after_any_freeze() {
        let mut world = fleet(1, false);
        world.run_for(Duration::from_secs(30)).unwrap();
        world.freeze("ann", Duration::from_mins(10)).unwrap();
        let healed_in = world.heal().unwrap();
        assert!(world.now().millis() >= 600_000);
        assert!(healed_in < Duration::from_mins(3), "{healed_in:?}");
    }

    #[test]
    fn processor_without_checkpoints_is_detected() {
        let mut world = World::new(1, 2).unwrap();
        let mut config = from_the_oldest();
        config.delivery.checkpoints = CheckpointPolicy::Manual;
        world.start("ann", config, |_: &ShardContext| Sleeper { hangs: false }).unwrap();
        world.put("key", "record").unwrap();
        let error = world.heal().unwrap_err();
        let SimError::Broken { violation, .. } = error else { panic!("{error:?}") };
        assert_eq!(violation.oracle, Oracle::AllDone, "{violation}");
    }
}
