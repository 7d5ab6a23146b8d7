//! The stack from outside: starting, stopping, both services, counts.

#[cfg(test)]
mod tests {
    use kcl_local::{LocalStack, LocalStackOptions, StartError};
    use tokio::time::Instant;

    #[test]
    fn both_services_answer_on_one_endpoint() {
        let stack = LocalStack::start().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = stack.sdk_config();
            let kinesis = aws_sdk_kinesis::Client::new(&config);
            let dynamo = aws_sdk_dynamodb::Client::new(&config);
            kinesis.create_stream().stream_name("orders").shard_count(2).send().await.unwrap();
            assert_eq!(kinesis.list_streams().send().await.unwrap().stream_names(), ["orders"]);
            assert!(dynamo.list_tables().send().await.unwrap().table_names().is_empty());
        });
        let calls: Vec<_> = stack.calls().into_iter().collect();
        let expected =
            [("DynamoDB.ListTables", 1), ("Kinesis.CreateStream", 1), ("Kinesis.ListStreams", 1)];
        assert_eq!(calls, expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn starting_takes_milliseconds() {
        drop(LocalStack::start().unwrap());
        let before = Instant::now();
        let stack = LocalStack::start().unwrap();
        let started = before.elapsed();
        drop(stack);
        println!("started in {started:?}, stopped after {:?}", before.elapsed());
        assert!(started.as_millis() < 50, "{started:?}");
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = LocalStack::start().unwrap();
        let port = first.endpoint_url().rsplit(':').next().unwrap().parse().unwrap();
        let second = LocalStack::start_with(&LocalStackOptions::default().with_port(port));
        assert!(matches!(second, Err(StartError::PortInUse { port: named }) if named == port));
        drop(first);
        LocalStack::start_with(&LocalStackOptions::default().with_port(port)).unwrap();
    }
}
