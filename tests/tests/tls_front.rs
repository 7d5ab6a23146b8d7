//! Many shards through TLS and HTTP/2, as in front of Kinesis.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::pending;
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use aws_sdk_kinesis::Client;
    use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
    use aws_sdk_kinesis::primitives::Blob;
    use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StartingPosition};
    use futures::future::join_all;
    use kcl_core::config::WorkerConfig;
    use kcl_core::model::{InitialPosition, ShardId};
    use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext, Worker};
    use kcl_kinesis::KinesisSource;
    use kcl_local::{LocalStack, LocalStackOptions, SubscriptionRules};
    use kcl_sim::memory::MemoryLeaseStore;
    use kcl_tests::fleet::until;
    use kcl_tests::tls_front::TlsFront;
    use tokio::time::timeout;

    const STREAM: &str = "orders";
    const SHARDS: usize = 300;
    const BLOCKED: usize = 3;
    const LIMIT: Duration = Duration::from_mins(2);

    async fn stream(client: &Client, shards: usize) {
        let count = i32::try_from(shards).unwrap();
        client.create_stream().stream_name(STREAM).shard_count(count).send().await.unwrap();
    }

    /// Puts a record of this size into each shard.
    async fn put_to_all(client: &Client, shards: usize, size: usize) {
        let entry = |shard: usize| {
            let key = u128::MAX / shards as u128 * shard as u128 + 1;
            let entry = PutRecordsRequestEntry::builder().partition_key("k");
            let entry = entry.explicit_hash_key(key.to_string());
            entry.data(Blob::new(vec![b'x'; size])).build().unwrap()
        };
        let put = client.put_records().stream_name(STREAM);
        let put = put.set_records(Some((0..shards).map(entry).collect()));
        assert_eq!(put.send().await.unwrap().failed_record_count(), Some(0));
    }

    /// How many records each shard's processor finished. Clones share it.
    #[derive(Clone, Debug, Default)]
    struct Finished(Arc<Mutex<BTreeMap<ShardId, usize>>>);

    impl Finished {
        fn counts(&self) -> BTreeMap<ShardId, usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    /// Never ends its first batch if its shard is one of the first [`BLOCKED`].
    struct Processor {
        finished: Finished,
        blocks: bool,
    }

    impl RecordProcessor for Processor {
        async fn process_records(
            &mut self,
            batch: RecordBatch,
            shard: &ShardContext,
        ) -> Result<(), BoxError> {
            if self.blocks {
                pending::<()>().await;
            }
            let mut finished = self.finished.0.lock().unwrap_or_else(PoisonError::into_inner);
            *finished.entry(shard.shard_id().clone()).or_default() += batch.len();
            Ok(())
        }
    }

    fn blocks(shard: &ShardId) -> bool {
        shard.as_str().rsplit('-').next().and_then(|number| number.parse().ok()) < Some(BLOCKED)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[expect(clippy::disallowed_methods, reason = "the test's runtime owns the worker")]
    async fn polled_shards_go_on_while_others_block() {
        let stack = LocalStack::start().unwrap();
        let client = Client::new(&stack.sdk_config());
        stream(&client, SHARDS).await;
        let front = TlsFront::to(&stack).await.unwrap();
        let finished = Finished::default();
        let mut config = WorkerConfig::default();
        config.retrieval.initial_position = InitialPosition::TrimHorizon;
        config.retrieval.poll_every = Duration::from_secs(3);
        config.shutdown.drain = Duration::from_secs(1);
        let processors = finished.clone();
        let worker = Worker::builder("w")
            .records(KinesisSource::new(&front.sdk_config().unwrap(), STREAM))
            .leases(MemoryLeaseStore::new())
            .processor(move |context: &ShardContext| Processor {
                finished: processors.clone(),
                blocks: blocks(context.shard_id()),
            })
            .config(config)
            .build()
            .unwrap();
        let handle = worker.handle();
        let run = tokio::spawn(worker.run_until(pending()));
        for round in 1..=3 {
            put_to_all(&client, SHARDS, 10_000).await;
            let others = async || {
                let counts = finished.counts();
                Ok(counts.len() == SHARDS - BLOCKED && counts.values().all(|count| *count >= round))
            };
            until("all others go on", LIMIT, others).await.unwrap();
        }
        assert!(finished.counts().keys().all(|shard| !blocks(shard)));
        assert!(front.connections() < 10, "{}", front.connections());
        handle.shut_down();
        timeout(LIMIT, run).await.unwrap().unwrap().unwrap();
    }

    async fn iterator(client: &Client) -> String {
        let call = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
        let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
        call.send().await.unwrap().shard_iterator.unwrap()
    }

    #[tokio::test]
    async fn front_stalls_its_connections_and_serves_new_ones() {
        let stack = LocalStack::start().unwrap();
        stream(&Client::new(&stack.sdk_config()), 1).await;
        let front = TlsFront::to(&stack).await.unwrap();
        let client = Client::new(&front.sdk_config().unwrap());
        iterator(&client).await;
        assert_eq!(front.connections(), 1);
        front.stall();
        let stalled = timeout(Duration::from_secs(1), iterator(&client)).await;
        assert!(stalled.is_err(), "{stalled:?}");
        iterator(&Client::new(&front.sdk_config().unwrap())).await;
        assert_eq!(front.connections(), 2);
    }

    /// Registers a consumer and subscribes to the first shards from their start.
    async fn subscribe(client: &Client, shards: usize) -> Vec<SubscribeToShardOutput> {
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
        let register = client.register_stream_consumer().stream_arn(arn).consumer_name("c");
        let consumer = register.send().await.unwrap().consumer.unwrap().consumer_arn;
        let start = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon);
        let (start, mut subscriptions) = (start.build().unwrap(), Vec::new());
        for shard in 0..shards {
            let call = client.subscribe_to_shard().consumer_arn(&consumer);
            let call = call.shard_id(format!("shardId-{shard:012}"));
            subscriptions.push(call.starting_position(start.clone()).send().await.unwrap());
        }
        subscriptions
    }

    #[tokio::test]
    async fn subscriptions_share_a_connection_and_end_when_they_are_dropped() {
        let shards = 100;
        let rules = SubscriptionRules { creating: Duration::ZERO, ..Default::default() };
        let options = LocalStackOptions::default().with_subscriptions(rules);
        let stack = LocalStack::start_with(&options).unwrap();
        let direct = Client::new(&stack.sdk_config());
        stream(&direct, shards).await;
        let front = TlsFront::to(&stack).await.unwrap();
        let client = Client::new(&front.sdk_config().unwrap());
        let mut subscriptions = subscribe(&client, shards).await;
        assert_eq!((front.connections(), front.streams()), (1, shards));
        assert_eq!(stack.subscriptions().len(), shards);
        put_to_all(&direct, shards, 1000).await;
        for subscription in &mut subscriptions {
            let mut records = 0;
            while records == 0 {
                let event = subscription.event_stream.recv().await.unwrap().unwrap();
                records = event.as_subscribe_to_shard_event().unwrap().records().len();
            }
            assert_eq!(records, 1);
        }
        drop(subscriptions);
        until("all have ended", LIMIT, async || Ok(stack.subscriptions().is_empty()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn front_counts_its_streams() {
        let stack = LocalStack::start().unwrap();
        stream(&Client::new(&stack.sdk_config()), 1).await;
        let front = TlsFront::with_streams(&stack, 2).await.unwrap();
        let client = Client::new(&front.sdk_config().unwrap());
        // One connection, which carries two calls at once.
        iterator(&client).await;
        join_all((0..20).map(|_| iterator(&client))).await;
        assert_eq!((front.connections(), front.streams_most()), (1, 2));
        until("no stream is open", LIMIT, async || Ok(front.streams() == 0)).await.unwrap();
    }
}
