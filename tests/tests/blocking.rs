//! Processors, observers and logs that block or panic: real threads and processes, the real SDK.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use aws_sdk_kinesis::primitives::Blob;
    use kcl_core::ShardContext;
    use kcl_core::backend::{LeaseStore as _, Reading};
    use kcl_core::config::WorkerConfig;
    use kcl_core::event::{Event, EventContext, LeaseEnd, Observer, WorkerState};
    use kcl_core::model::{InitialPosition, LeaseCounter, LeaseKey};
    use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker, WorkerBuilder};
    use kcl_dynamo::{DynamoLeaseStore, DynamoLeaseStoreConfig};
    use kcl_kinesis::KinesisSource;
    use kcl_local::LocalStack;
    use kcl_tests::fleet::{Fleet, until};
    use rustix::process::Signal;
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
        let (processors, both) = (journal.clone(), Arc::new(Barrier::new(2)));
        builder(stack, blocked_for)
            .processor(move |_| Blocker(processors.clone(), blocked_for, Arc::clone(&both)))
            .observer(journal.clone())
            .build()
            .unwrap()
    }

    fn builder(stack: &LocalStack, blocked_for: Duration) -> WorkerBuilder {
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
        Worker::builder("w")
            .records(KinesisSource::new(&aws, "orders"))
            .leases(DynamoLeaseStore::new(&aws, table).create_if_missing())
            .config(config)
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

    /// Holds its batch, without blocking its thread, for longer than any test takes.
    struct Waits;

    impl RecordProcessor for Waits {
        async fn process_records(
            &mut self,
            _: RecordBatch,
            _: &ShardContext,
        ) -> Result<(), BoxError> {
            tokio::time::sleep(FOR_GOOD).await;
            Ok(())
        }
    }

    /// An observer that blocks in its first `ProcessorSlow` until the gate is dropped.
    #[derive(Debug)]
    struct BlocksWhenSlow {
        entered: Sender<()>,
        gate: Mutex<Receiver<()>>,
    }

    impl Observer for BlocksWhenSlow {
        fn on_event(&self, event: &Event, _: &EventContext) {
            if matches!(event, Event::ProcessorSlow { .. }) {
                _ = self.entered.send(());
                _ = self.gate.lock().unwrap_or_else(PoisonError::into_inner).recv();
            }
        }
    }

    async fn counters_rise(stack: &LocalStack, by: u64) {
        let before = counters(stack).await;
        let risen = async || {
            let after = counters(stack).await;
            Ok(before.iter().all(|(key, counter)| after[key].0 >= counter.0 + by))
        };
        until("leases are renewed", LIMIT, risen).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn blocked_observer_costs_no_lease() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let journal = Journal::default();
        let ((entered, has_entered), (open, gate)) = (channel(), channel());
        let worker = builder(&stack, FOR_GOOD)
            .processor(|_| Waits)
            .observer(BlocksWhenSlow { entered, gate: Mutex::new(gate) })
            .observer(journal.clone())
            .build()
            .unwrap();
        let handle = worker.handle();
        let application = application(2);
        let run = application.spawn(worker.run_until(std::future::pending()));
        until("the observer blocks", LIMIT, async || Ok(has_entered.try_recv().is_ok()))
            .await
            .unwrap();
        counters_rise(&stack, 9).await; // Three expiries.
        handle.shut_down();
        let report = tokio::time::timeout(LIMIT, run).await.expect("the worker returns in time");
        let ends: Vec<_> = report.unwrap().unwrap().shards.iter().map(|it| it.how).collect();
        assert_eq!(ends, [LeaseEnd::Released; 2]);
        assert_eq!(journal.count(|entry| how(entry).is_some()), 0, "the observer still blocks");
        drop(open);
        let delivered = async || Ok(journal.count(|entry| how(entry).is_some()) == 2);
        until("later events are delivered", LIMIT, delivered).await.unwrap();
        application.shutdown_background();
    }

    /// An observer that panics in each call.
    #[derive(Debug)]
    struct Panics(Journal);

    impl Observer for Panics {
        fn on_event(&self, event: &Event, context: &EventContext) {
            self.0.on_event(event, context);
            panic!("on purpose");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn panicking_observer_ends_nothing() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let (journal, panicked) = (Journal::default(), Journal::default());
        let worker = builder(&stack, BLOCKED_FOR)
            .processor(|_| Waits)
            .observer(Panics(panicked.clone()))
            .observer(journal.clone())
            .build()
            .unwrap();
        let handle = worker.handle();
        let application = application(2);
        let run = application.spawn(worker.run_until(std::future::pending()));
        let taken = |entry: &Entry| matches!(entry, Entry::Event(Event::LeaseTaken { .. }));
        let both = async || Ok(journal.count(taken) == 2);
        until("both leases are taken", LIMIT, both).await.unwrap();
        counters_rise(&stack, 3).await;
        handle.shut_down();
        run.await.unwrap().unwrap();
        let panics = |entry: &Entry| matches!(entry, Entry::Event(Event::ObserverPanicked { .. }));
        assert_eq!(journal.count(panics), 1);
        assert_eq!(journal.count(|_| true), panicked.count(|_| true), "it is called again");
        application.shutdown_background();
    }

    const WORKER: &str = env!("CARGO_BIN_EXE_fleet_worker");

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn blocked_log_costs_no_lease_and_delays_no_stop() {
        let short = ["--failover-ms", "2000"];
        let mut fleet = Fleet::start(Path::new(WORKER), 4, &short).await.unwrap();
        fleet.spawn_with_blocked_log("a").unwrap();
        fleet.balanced(&["a"], 4, LIMIT).await.unwrap();
        let producer = fleet.produce(50);
        counters_of(&fleet, 9).await; // Three expiries.
        let produced = producer.stop().await.unwrap();
        let audit = fleet.delivered(&produced, LIMIT).await.unwrap();
        assert_eq!(audit.repeated(), 0);
        fleet.signal("a", Signal::TERM).unwrap();
        assert!(fleet.gone("a", LIMIT).await.unwrap());
        assert!(fleet.leases().await.unwrap().iter().all(|lease| lease.owner.is_none()));
    }

    async fn counters_of(fleet: &Fleet, by: u64) {
        let counters = async || -> BTreeMap<LeaseKey, LeaseCounter> {
            let leases = fleet.leases().await.unwrap();
            leases.into_iter().map(|lease| (lease.key, lease.counter)).collect()
        };
        let before = counters().await;
        let risen = async || {
            let after = counters().await;
            Ok(before.iter().all(|(key, counter)| after[key].0 >= counter.0 + by))
        };
        until("leases are renewed", LIMIT, risen).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn log_lines_name_worker_and_shard() {
        let mut fleet = Fleet::start(Path::new(WORKER), 1, &[]).await.unwrap();
        fleet.set_environment("NO_COLOR", "1");
        fleet.spawn("a").unwrap();
        fleet.balanced(&["a"], 1, LIMIT).await.unwrap();
        fleet.signal("a", Signal::TERM).unwrap();
        assert!(fleet.gone("a", LIMIT).await.unwrap());
        let log = fleet.errors("a");
        for line in ["lease taken", "lease ended"] {
            let line = log.lines().find(|it| it.contains(line)).unwrap();
            for part in ["application=", "worker_id=a", "stream=fleet-stream", "shard_id=shardId-"]
            {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dropped_worker_releases_nothing() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let worker = builder(&stack, BLOCKED_FOR).processor(|_| Waits).build().unwrap();
        let mut handle = worker.handle();
        let mut run = Box::pin(worker.run_until(std::future::pending()));
        let held =
            async { while handle.changed().await.is_some_and(|status| status.held.len() < 2) {} };
        tokio::select! {
            end = &mut run => panic!("{end:?}"),
            () = held => {}
        }
        drop(run);
        // The status ends with the lease thread.
        let gone = async { while handle.changed().await.is_some() {} };
        tokio::time::timeout(BLOCKED_FOR / 6, gone).await.expect("the thread ends at once");
        let store = DynamoLeaseStore::new(&stack.sdk_config(), "leases");
        let page = store.scan(None, Reading::Consistent).await.unwrap();
        assert_eq!(page.leases.iter().filter(|lease| lease.owner.is_some()).count(), 2);
        assert_eq!(page.sessions.len(), 1, "its presence stays as well");
        let before = counters(&stack).await;
        tokio::time::sleep(BLOCKED_FOR / 3).await;
        assert_eq!(counters(&stack).await, before, "nothing goes on");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn handle_of_an_ended_worker_returns_no_status() {
        let stack = LocalStack::start().unwrap();
        create_stream_with_a_record_in_each_shard(&stack).await;
        let worker = builder(&stack, BLOCKED_FOR).processor(|_| Waits).build().unwrap();
        let mut handle = worker.handle();
        handle.shut_down();
        worker.run_until(std::future::pending()).await.unwrap();
        let last = async {
            let mut last = None;
            while let Some(status) = handle.changed().await {
                last = Some(status.state);
            }
            last
        };
        let last = tokio::time::timeout(LIMIT, last).await.expect("the loop ends");
        assert_eq!(last, Some(WorkerState::Stopped));
        assert_eq!(handle.status().state, WorkerState::Stopped);
    }
}
