//! A worker that runs for weeks needs no more memory than one that runs for days.

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::time::Duration;

    use kcl_core::config::WorkerConfig;
    use kcl_core::model::{InitialPosition, ShardId};
    use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};
    use kcl_sim::World;
    use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    const HOUR: Duration = Duration::from_hours(1);

    /// How much more memory the worker of weeks may need, in bytes.
    const GROWTH_MAX: usize = 16 * 1024;

    struct Nothing;

    impl RecordProcessor for Nothing {
        async fn process_records(
            &mut self,
            _: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            Ok(())
        }
    }

    /// Settings with which as little happens as they allow.
    fn config() -> WorkerConfig {
        let mut config = WorkerConfig::default();
        config.lease.expiry = HOUR;
        config.lease.scan_units = 1;
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config.retrieval.poll_every = Duration::from_mins(1);
        config
    }

    /// A fleet in which the stream is resharded every two hours, and a worker comes for two of four.
    struct Fleet {
        world: World,
        hours: u64,
        closed: Vec<ShardId>,
    }

    impl Fleet {
        fn new() -> Self {
            let mut world = World::new(1, 4).expect("a world");
            // A scan costs so much that the budget allows one a minute.
            world.set_row_bytes(8_192);
            world.send_every(Duration::from_mins(5));
            Self { world, hours: 0, closed: Vec::new() }
        }

        fn start(&mut self, name: &str) {
            self.world.start(name, config(), |_: &ShardContext| Nothing).expect("a start");
        }

        fn pass(&mut self, hours: u64) {
            for _ in 0..hours {
                self.world.run_for(HOUR).expect("no broken promise");
                self.hours += 1;
                self.reshard();
                self.visit();
            }
        }

        /// Splits a shard or merges two, in turn. Shards that have ended vanish a day later.
        fn reshard(&mut self) {
            let open = self.world.open_shards();
            match self.hours % 4 {
                1 => {
                    self.world.split(&open[0].id).expect("an open shard");
                    self.closed.push(open[0].id.clone());
                }
                3 => {
                    let mut pairs =
                        open.iter().flat_map(|low| open.iter().map(move |high| (low, high)));
                    let next = |low: u128, high: u128| low.checked_add(1) == Some(high);
                    let pair =
                        pairs.find(|(low, high)| next(low.hash_range.end, high.hash_range.start));
                    let (low, high) = pair.expect("neighbours");
                    self.world.merge(&low.id).expect("open shards");
                    self.closed.extend([low.id.clone(), high.id.clone()]);
                }
                0 if self.closed.len() > 6 => {
                    for shard in self.closed.drain(..3) {
                        self.world.forget(&shard);
                    }
                }
                _ => {}
            }
        }

        /// A worker joins every four hours, and stops or crashes two hours later.
        fn visit(&mut self) {
            let name = format!("visitor {}", self.hours / 4);
            match self.hours % 4 {
                1 => self.start(&name),
                3 if self.hours % 8 == 3 => self.world.crash(&name).expect("it runs"),
                3 => self.world.stop(&name).expect("it runs"),
                _ => {}
            }
        }

        /// Kills a worker, and returns how much memory it had.
        fn footprint(&mut self, name: &str) -> usize {
            let live = || {
                let stats = ALLOCATOR.stats();
                stats.bytes_allocated - stats.bytes_deallocated
            };
            let before = live();
            self.world.crash(name).expect("it runs");
            before - live()
        }
    }

    #[test]
    fn worker_that_runs_for_weeks_needs_no_more_memory() {
        let mut fleet = Fleet::new();
        fleet.start("of days");
        fleet.start("of weeks");
        fleet.pass(48);
        let of_days = fleet.footprint("of days");
        fleet.start("its successor");
        fleet.pass(14 * 24);
        let of_weeks = fleet.footprint("of weeks");
        println!("after two days {of_days} bytes, after sixteen {of_weeks}");
        assert!(
            of_weeks <= of_days + GROWTH_MAX,
            "after two days {of_days} bytes, then {of_weeks}"
        );
    }
}
