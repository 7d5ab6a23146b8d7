//! A service's own processor on a simulated fleet: a worker is killed, another one stalls, a shard
//! is split, records come again, and still every order counts once.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use kinesis_consumer::ShardContext;
    use kinesis_consumer::config::WorkerConfig;
    use kinesis_consumer::model::{InitialPosition, Position, ShardId};
    use kinesis_consumer::sim::{SimError, World};
    use kinesis_consumer::{BoxError, RecordBatch, RecordProcessor};

    /// What the service keeps; it stands for a database with transactions.
    #[derive(Default)]
    struct Ledger {
        /// How many orders each customer has placed.
        orders: BTreeMap<String, usize>,
        /// Up to where each shard is counted, stored together with the counts.
        counted: BTreeMap<ShardId, Position>,
    }

    #[derive(Clone, Default)]
    struct OrderCounter {
        ledger: Arc<Mutex<Ledger>>,
    }

    impl RecordProcessor for OrderCounter {
        async fn process_records(
            &mut self,
            batch: RecordBatch,
            shard: &ShardContext,
        ) -> Result<(), BoxError> {
            tokio::time::sleep(Duration::from_millis(30)).await; // the way to the database
            let mut ledger = self.ledger.lock().expect("no panic");
            let counted = ledger.counted.get(shard.shard_id()).copied();
            for record in batch.iter().filter(|record| Some(record.position) > counted) {
                *ledger.orders.entry(record.partition_key.to_string()).or_default() += 1;
                ledger.counted.insert(shard.shard_id().clone(), record.position);
            }
            Ok(())
        }
    }

    #[test]
    fn every_order_counts_once_whatever_becomes_of_the_workers() -> Result<(), SimError> {
        let counter = OrderCounter::default();
        let mut world = World::new(7, 4)?; // a seed, and how many shards
        for name in ["ann", "ben", "cid"] {
            let counter = counter.clone();
            let mut config = WorkerConfig::default(); // better the settings you ship
            config.retrieval.initial_position = InitialPosition::TrimHorizon;
            world.start(name, config, move |_: &ShardContext| counter.clone())?;
        }
        world.put_every(Duration::from_millis(50), |nth| {
            (format!("customer {}", nth % 20), "order")
        });
        world.run_for(Duration::from_secs(20))?;
        let again = world.redeliver("ann")?; // killed before its checkpoint
        world.freeze("ben", Duration::from_secs(30))?;
        world.split(&world.open_shards()[0].id)?;
        world.run_for(Duration::from_mins(1))?;
        world.heal()?; // every record is processed and checkpointed, each shard has an owner
        assert!(world.deliveries().len() >= world.records().count() + again);
        let ledger = counter.ledger.lock().expect("no panic");
        assert_eq!(ledger.orders.values().sum::<usize>(), world.records().count());
        Ok(())
    }
}
