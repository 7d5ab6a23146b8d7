//! Real processes, real signals: every record is audited.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use kcl_core::backend::{Clock as _, SystemClock};
    use kcl_tests::fleet::Fleet;
    use rustix::process::Signal;
    use tokio::time::{Instant, sleep};

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
    async fn crashed_workers_shards_are_delivered_elsewhere() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(100);
        fleet.signal("b", Signal::KILL).unwrap();
        fleet.gone("b", LIMIT).await.unwrap();
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        fleet.delivered(&produced, LIMIT).await.unwrap();
    }

    fn now() -> i64 {
        SystemClock.time_of_day().epoch_millis()
    }

    /// Watches all leases for `time`. Returns when each was last seen before its last renewal.
    async fn last_renewals(fleet: &Fleet, time: Duration) -> BTreeMap<String, i64> {
        let (mut renewals, mut looked_at) = (BTreeMap::new(), now());
        let end = Instant::now() + time;
        while Instant::now() < end {
            let before = looked_at;
            looked_at = now();
            for lease in fleet.leases().await.unwrap() {
                let known =
                    renewals.entry(lease.key.to_string()).or_insert((lease.counter, before));
                if known.0 != lease.counter {
                    *known = (lease.counter, before);
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        renewals.into_iter().map(|(shard, (_, before))| (shard, before)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn crash_repeats_only_records_since_the_last_renewal() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(200);
        let renewed_after = last_renewals(&fleet, Duration::from_millis(2_900)).await;
        fleet.signal("b", Signal::KILL).unwrap();
        fleet.gone("b", LIMIT).await.unwrap();
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        for delivery in audit.first_of_repeated() {
            assert_eq!(delivery.worker, "b");
            // The time from a batch in hand to the renewal that stores it, on a busy machine.
            let bound = renewed_after[&delivery.shard] - 300;
            assert!(delivery.at >= bound, "{delivery:?} before {bound}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stopping_worker_hands_over_without_repeats() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(100);
        fleet.signal("b", Signal::TERM).unwrap();
        assert!(fleet.gone("b", LIMIT).await.unwrap(), "{}", fleet.errors("b"));
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rolling_replacement_causes_no_repeats() {
        let mut fleet = fleet(6, &["a", "b", "c"]).await;
        let producer = fleet.produce(100);
        for (old, new) in [("a", "d"), ("b", "e"), ("c", "f")] {
            fleet.replace(old, new, LIMIT).await.unwrap();
        }
        fleet.balanced(&["d", "e", "f"], 2, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn joining_workers_get_shares_without_repeats() {
        let mut fleet = fleet(6, &["a"]).await;
        let producer = fleet.produce(100);
        fleet.spawn("b").unwrap();
        fleet.spawn("c").unwrap();
        fleet.balanced(&["a", "b", "c"], 2, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stream_is_resharded_under_load() {
        let fleet = fleet(4, &["a", "b"]).await;
        let producer = fleet.produce(100);
        let kinesis = fleet.kinesis();
        fleet.split(&kinesis, "shardId-000000000000").await.unwrap();
        fleet.merge(&kinesis, "shardId-000000000001", "shardId-000000000002").await.unwrap();
        // Two children of the split, one of the merge, and the shard that stayed.
        fleet.balanced(&["a", "b"], 2, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stalled_worker_stops_delivering_and_rejoins() {
        let fleet = fleet(4, &["a", "b"]).await;
        let producer = fleet.produce(100);
        let stalled_at = fleet.signal("b", Signal::STOP).unwrap();
        fleet.balanced(&["a"], 4, LIMIT).await.unwrap();
        let woken_at = fleet.signal("b", Signal::CONT).unwrap();
        fleet.balanced(&["a", "b"], 2, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.stale("b", &(stalled_at..woken_at)), None);
        assert!(audit.by("b").any(|delivery| delivery.at > woken_at), "b is a member again");
    }
}
