//! A processor that blocks every thread of the application's runtime: real threads, the real SDK.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use aws_sdk_kinesis::primitives::Blob;
    use kcl_core::ShardContext;
    use kcl_core::backend::{LeaseStore as _, Reading};
    use kcl_core::config::WorkerConfig;
    use kcl_core::event::{Event, EventContext, LeaseEnd, Observer};
    use kcl_core::model::{InitialPosition, LeaseCounter, LeaseKey};
    use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
    use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
    use kcl_kinesis::KinesisSource;
    use kcl_local::LocalStack;
    use kcl_tests::fleet::until;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::Barrier;
    use tokio::task::yield_now;

    /// Three expiries.
    const BLOCKED_FOR: Duration = Duration::from_secs(6);

    const LIMIT: Duration = Duration::from_secs(30);

    /// What happened, in order. Clones share it.
    #[derive(Clone, Debug, Default)]
    struct Journal(Arc<Mutex<Vec<Entry>>>);

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Entry {
        Event(Event),
        Blocked,
        Released,
    }

    impl Journal {
        fn note(&self, entry: Entry) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }

        fn count(&self, matches: impl Fn(&Entry) -> bool) -> usize {
            let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            entries.iter().filter(|entry| matches(entry)).count()
        }
    }

    impl Observer for Journal {
        fn on_event(&self, event: &Event, _: &EventContext) {
            self.note(Entry::Event(event.clone()));
        }
    }

    /// Longer than any test takes.
    const FOR_GOOD: Duration = Duration::from_mins(2);

    /// Blocks its thread once the processors of both shards have their records. A runtime whose
    /// first thread is blocked may not run the second processor.
    struct Blocker(Journal, Duration, Arc<Barrier>);

    impl RecordProcessor for Blocker {
        #[expect(clippy::disallowed_methods, reason = "to block a thread is what is tested")]
        async fn process_records(
            &mut self,
            _: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            self.2.wait().await;
            yield_now().await; // Otherwise one thread may resume both.
            self.0.note(Entry::Blocked);
            std::thread::sleep(self.1);
            self.0.note(Entry::Released);
            Ok(())
        }
    }

    fn worker(stack: &LocalStack, journal: &Journal, blocked_for: Duration) -> Worker {
        let aws = stack.sdk_config();
        let mut config = WorkerConfig::default();
        config.lease.expiry = Duration::from_secs(2);
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config.delivery.slow_after = Duration::from_secs(1);
        if blocked_for > BLOCKED_FOR {
            config.shutdown.drain = Duration::from_secs(1);
        }
        let table = DynamoLeaseStoreConfig::new("leases");
        let table = table.with_operation_timeout(config.lease.expiry / 3);
        let (processors, both) = (journal.clone(), Arc::new(Barrier::new(2)));
        Worker::builder("w")
            .records(KinesisSource::new(&aws, "orders"))
            .leases(DynamoLeaseStore::new(&aws, table).create_if_missing())
            .processor(move |_| Blocker(processors.clone(), blocked_for, Arc::clone(&both)))
            .config(config)
            .observer(journal.clone())
            .build()
            .unwrap()
    }

    async fn create_stream_with_a_record_in_each_shard(stack: &LocalStack) {
        let kinesis = aws_sdk_kinesis::Client::new(&stack.sdk_config());
        kinesis.create_stream().stream_name("orders").shard_count(2).send().await.unwrap();
        for hash_key in ["0", "340282366920938463463374607431768211455"] {
            let put = kinesis.put_record().stream_name("orders").partition_key("key");
            let put = put.explicit_hash_key(hash_key).data(Blob::new("a"));
            put.send().await.unwrap();
        }
    }

    async fn counters(stack: &LocalStack) -> BTreeMap<LeaseKey, LeaseCounter> {
        let store = DynamoLeaseStore::new(&stack.sdk_config(), "leases");
        let leases = store.scan(None, Reading::Eventual).await.unwrap().leases;
        leases.into_iter().map(|lease| (lease.key, lease.counter)).collect()
    }

    /// The application's runtime.
    fn application(threads: usize) -> Runtime {
        Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
    }

    fn how(entry: &Entry) -> Option<LeaseEnd> {
        let Entry::Event(Event::LeaseEnded { how, .. }) = entry else { return None };
        Some(*how)
    }

    #[tokio::test]
    async fn blocked_threads_do_not_stop_renewals() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let journal = Journal::default();
        let (application, worker) = (application(2), worker(&stack, &journal, BLOCKED_FOR));
        let handle = worker.handle();
        let run = application.spawn(worker.run_until(std::future::pending()));
        let blocked = async || Ok(journal.count(|entry| *entry == Entry::Blocked) == 2);
        until("both threads are blocked", LIMIT, blocked).await.unwrap();
        let before = counters(&stack).await;
        let slow = |entry: &Entry| matches!(entry, Entry::Event(Event::ProcessorSlow { .. }));
        let reported = async || Ok(journal.count(slow) >= 2);
        until("both are reported while they block", LIMIT, reported).await.unwrap();
        tokio::time::sleep(BLOCKED_FOR / 2).await;
        assert_eq!(journal.count(|entry| *entry == Entry::Released), 0, "they still block");
        let after = counters(&stack).await;
        for (key, counter) in before {
            assert!(after[&key].0 >= counter.0 + 3, "{key}: {counter} then {after:?}");
        }
        handle.shut_down();
        run.await.unwrap().unwrap();
        let lost = journal.count(|entry| how(entry).is_some_and(|how| how != LeaseEnd::Released));
        assert_eq!(lost, 0, "no lease was lost");
        assert_eq!(
            journal.count(|entry| *entry == Entry::Blocked),
            2,
            "each record was delivered once"
        );
        application.shutdown_background();
    }

    #[tokio::test]
    async fn worker_stops_while_processors_block_their_threads() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let journal = Journal::default();
        // More threads than shards, so that one is left for the worker.
        let (application, worker) = (application(4), worker(&stack, &journal, FOR_GOOD));
        let handle = worker.handle();
        let run = application.spawn(worker.run_until(std::future::pending()));
        let blocked = async || Ok(journal.count(|entry| *entry == Entry::Blocked) == 2);
        until("both shards block", LIMIT, blocked).await.unwrap();
        handle.shut_down();
        let report = tokio::time::timeout(LIMIT, run).await.expect("the worker returns in time");
        let ends: Vec<_> = report.unwrap().unwrap().shards.iter().map(|it| it.how).collect();
        assert_eq!(ends, [LeaseEnd::Released; 2]);
        assert_eq!(journal.count(|entry| *entry == Entry::Released), 0, "they still block");
        application.shutdown_background();
    }
}
