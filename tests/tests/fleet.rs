//! Real processes, real signals: every record is audited.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use kcl_tests::fleet::Fleet;
    use rustix::process::Signal;

    const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

    /// A short expiry, so that a crash is noticed soon.
    const SHORT: [&str; 2] = ["--failover-ms", "2000"];

    const LIMIT: Duration = Duration::from_secs(20);

    async fn fleet(shards: i32, workers: &[&str]) -> Fleet {
        let mut fleet = Fleet::start(Path::new(WORKER), shards, &SHORT).await.unwrap();
        for worker in workers {
            fleet.spawn(worker).unwrap();
        }
        let each = usize::try_from(shards).unwrap() / workers.len();
        fleet.balanced(workers, each, LIMIT).await.unwrap();
        fleet
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_crashed_workers_shards_are_delivered_elsewhere() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(100);
        fleet.signal("b", Signal::KILL).unwrap();
        fleet.gone("b", LIMIT).await.unwrap();
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        fleet.delivered(&produced, LIMIT).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_worker_that_is_asked_to_stop_hands_over_without_a_repeat() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(100);
        fleet.signal("b", Signal::TERM).unwrap();
        assert!(fleet.gone("b", LIMIT).await.unwrap(), "{}", fleet.errors("b"));
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }
}
