//! Bad input on real endpoints: a clear error that names the thing and the way out.

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Arc;
    use std::time::Duration;

    use aws_config::SdkConfig;
    use kcl_core::context::ShardContext;
    use kcl_core::event::{Event, Observer};
    use kcl_core::{BoxError, RecordBatch, RecordProcessor, Worker};
    use kcl_dynamo::DynamoLeaseStore;
    use kcl_kinesis::KinesisSource;
    use kcl_local::{LocalStack, sdk_config};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    const LIMIT: Duration = Duration::from_secs(20);

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

    /// Notices that a call failed, and that the worker said what it was doing.
    #[derive(Clone, Debug, Default)]
    struct Failed(Arc<Notify>);

    impl Observer for Failed {
        fn on_event(&self, event: &Event) {
            if let Event::CallFailed { doing: "prepare the lease table", .. } = event {
                self.0.notify_one();
            }
        }
    }

    fn worker(records: &SdkConfig, leases: DynamoLeaseStore) -> Worker {
        Worker::builder("worker")
            .records(KinesisSource::new(records, "orders"))
            .leases(leases)
            .processor(|_: &ShardContext| Nothing)
            .build()
            .unwrap()
    }

    /// What a worker says, with all causes, when it cannot work.
    async fn refusal(worker: Worker) -> String {
        let end = timeout(LIMIT, worker.run()).await.expect("it ends by itself");
        let mut text = String::new();
        let error = end.expect_err("it cannot work");
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            text.push('\n');
            cause = error.source();
        }
        text
    }

    #[track_caller]
    fn check(text: &str, words: &[&str]) {
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_stream_is_named() {
        let stack = LocalStack::start().unwrap();
        let aws = stack.sdk_config();
        let leases = DynamoLeaseStore::new(&aws, "leases").create_if_missing();
        let text = refusal(worker(&aws, leases)).await;
        check(&text, &["\"orders\" does not exist", "check its name and the region"]);
    }

    #[tokio::test]
    async fn a_missing_table_is_named_with_the_way_out() {
        let stack = LocalStack::start().unwrap();
        let aws = stack.sdk_config();
        let text = refusal(worker(&aws, DynamoLeaseStore::new(&aws, "leases"))).await;
        check(&text, &["\"leases\" does not exist", "allow its creation"]);
    }

    #[tokio::test]
    async fn a_stream_that_is_deleted_while_it_is_consumed_ends_the_worker() {
        let stack = LocalStack::start().unwrap();
        let aws = stack.sdk_config();
        let kinesis = aws_sdk_kinesis::Client::new(&aws);
        kinesis.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
        let leases = DynamoLeaseStore::new(&aws, "leases").create_if_missing();
        let worker = worker(&aws, leases);
        let mut handle = worker.handle();
        let run = refusal(worker);
        let delete = async {
            while handle.changed().await.held.is_empty() {}
            kinesis.delete_stream().stream_name("orders").send().await.unwrap();
        };
        let (text, ()) = tokio::join!(run, delete);
        check(&text, &["orders"]);
    }

    /// A worker that cannot reach its table keeps trying, says what is wrong, and stops when asked.
    /// `seen` is ready once it has tried.
    async fn keeps_trying(endpoint: &str, failed: Failed, seen: impl Future<Output = ()>) {
        let aws = sdk_config(endpoint);
        let worker = Worker::builder("worker")
            .records(KinesisSource::new(&aws, "orders"))
            .leases(DynamoLeaseStore::new(&aws, "leases"))
            .processor(|_: &ShardContext| Nothing)
            .observer(failed)
            .build()
            .unwrap();
        let handle = worker.handle();
        let stop = async {
            seen.await;
            handle.shut_down();
        };
        let (end, ()) = tokio::join!(timeout(LIMIT, worker.run()), stop);
        assert!(
            end.expect("it stops when asked").expect("nothing is wrong here").shards.is_empty()
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_tried_until_the_worker_is_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let failed = Failed::default();
        let told = failed.clone();
        keeps_trying(&endpoint, failed, async move { told.0.notified().await }).await;
    }

    #[tokio::test]
    async fn an_endpoint_that_never_answers_does_not_keep_the_worker_from_stopping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut silent = None;
        let called = async { silent = Some(listener.accept().await.unwrap()) };
        keeps_trying(&endpoint, Failed::default(), called).await;
        drop(silent);
    }
}
