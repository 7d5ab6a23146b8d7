//! Small fleets of real processes on Kinesis emulators, which `ci/real_servers.sh` starts.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use kcl_tests::fleet::Fleet;
    use rustix::process::Signal;

    const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

    const LIMIT: Duration = Duration::from_mins(1);

    /// A fleet of two shards on the emulator whose endpoint the variable names; `None`, with a line
    /// that says so, if it is not set.
    async fn fleet(variable: &str) -> Option<Fleet> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the servers to test against are no setting of the library"
        )]
        let endpoint = std::env::var(variable).ok().filter(|value| !value.is_empty());
        let Some(endpoint) = endpoint else {
            println!("skipped: set {variable}=http://...");
            return None;
        };
        Some(Fleet::start_on(&endpoint, Path::new(WORKER), 2).await.unwrap())
    }

    /// Starts a worker, adds a second one, splits a shard if asked to, replaces the first worker,
    /// and checks that every record is delivered once and in order.
    async fn works_on(variable: &str, splits: bool) {
        let Some(mut fleet) = fleet(variable).await else { return };
        let producer = fleet.produce(20);
        fleet.spawn("a").unwrap();
        fleet.balanced(&["a"], 2, LIMIT).await.unwrap();
        fleet.spawn("b").unwrap();
        fleet.balanced(&["a", "b"], 1, LIMIT).await.unwrap();
        if splits {
            let kinesis = fleet.kinesis();
            fleet.split(&kinesis, "shardId-000000000000").await.unwrap();
            fleet.split(&kinesis, "shardId-000000000001").await.unwrap();
        }
        let each = if splits { 2 } else { 1 };
        fleet.balanced(&["a", "b"], each, LIMIT).await.unwrap();
        fleet.signal("a", Signal::TERM).unwrap();
        assert!(fleet.gone("a", LIMIT).await.unwrap(), "{}", fleet.errors("a"));
        fleet.spawn("c").unwrap();
        fleet.balanced(&["b", "c"], each, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn fleet_works_on_kinesis_mock() {
        works_on("KCL_TEST_KINESIS_MOCK", true).await;
    }

    /// Without a split: moto stores new records in closed shards.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn fleet_works_on_moto() {
        works_on("KCL_TEST_MOTO", false).await;
    }
}
