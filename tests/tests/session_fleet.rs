//! Fleets of real processes whose leases live by sessions: every record is audited.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use kcl_core::model::Liveness;
    use kcl_tests::fleet::{Fleet, until};
    use rustix::process::Signal;

    const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

    /// A short expiry, so that a crash is noticed soon.
    const SESSIONS: [&str; 4] = ["--failover-ms", "2000", "--liveness", "session"];
    const COUNTERS: [&str; 4] = ["--failover-ms", "2000", "--liveness", "counter"];

    const LIMIT: Duration = Duration::from_secs(20);

    /// How old a delivered record may be at most until the session contains it: a third of the
    /// expiry, and as much again three times on a busy machine.
    const KEPT_WITHIN: Duration = Duration::from_millis(2_700);

    /// A fleet of 6 shards and three workers.
    async fn fleet(extra: &[&str]) -> Fleet {
        let mut fleet = Fleet::start(Path::new(WORKER), 6, extra).await.unwrap();
        let workers = ["a", "b", "c"];
        for worker in workers {
            fleet.spawn(worker).unwrap();
        }
        fleet.balanced(&workers, 2, LIMIT).await.unwrap();
        fleet
    }

    /// Waits until all leases live by `kind`: a row of a fleet that is balanced may still wait for
    /// its next owner's take.
    async fn all_live_by(fleet: &Fleet, kind: Liveness) {
        until("all leases live by one kind", LIMIT, async || {
            Ok(fleet.leases().await?.iter().all(|lease| lease.lives_by() == kind))
        })
        .await
        .unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn crashed_session_is_condemned_and_what_it_kept_is_adopted() {
        let mut fleet = fleet(&SESSIONS).await;
        all_live_by(&fleet, Liveness::Session).await;
        let producer = fleet.produce(100);
        fleet.works_for("b", KEPT_WITHIN * 2, LIMIT).await.unwrap();
        let killed_at = fleet.signal("b", Signal::KILL).unwrap();
        fleet.gone("b", LIMIT).await.unwrap();
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        let kept_by = killed_at - i64::try_from(KEPT_WITHIN.as_millis()).unwrap();
        for delivery in audit.first_of_repeated() {
            assert_eq!(delivery.worker, "b");
            assert!(delivery.at >= kept_by, "{delivery:?} before {kept_by}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stalled_session_is_condemned_and_its_worker_rejoins_under_another_id() {
        let fleet = fleet(&SESSIONS).await;
        let producer = fleet.produce(100);
        let stalled_at = fleet.signal("b", Signal::STOP).unwrap();
        fleet.balanced(&["a", "c"], 3, LIMIT).await.unwrap();
        let woken_at = fleet.signal("b", Signal::CONT).unwrap();
        fleet.balanced(&["a", "b", "c"], 2, LIMIT).await.unwrap();
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.stale("b", &(stalled_at..woken_at)), None);
        assert!(audit.by("b").any(|delivery| delivery.at > woken_at), "b is a member again");
    }

    /// Classical, then sessions, then classical again, while records arrive.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn fleet_changes_its_mode_and_back_by_rolling_restarts() {
        let mut fleet = fleet(&COUNTERS).await;
        let producer = fleet.produce(100);
        for (extra, replacements, kind) in [
            (&SESSIONS, [("a", "d"), ("b", "e"), ("c", "f")], Liveness::Session),
            (&COUNTERS, [("d", "g"), ("e", "h"), ("f", "i")], Liveness::Counter),
        ] {
            fleet.set_extra(extra);
            for (old, new) in replacements {
                fleet.replace(old, new, LIMIT).await.unwrap();
            }
            let now = replacements.map(|(_, new)| new);
            fleet.balanced(&now, 2, LIMIT).await.unwrap();
            all_live_by(&fleet, kind).await;
        }
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
    }
}
