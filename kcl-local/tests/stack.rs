//! Start, stop, both services and counts of a stack.

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
        // The best of ten: other tests run at the same time.
        let start = |_| {
            let before = Instant::now();
            let stack = LocalStack::start().unwrap();
            let started = before.elapsed();
            drop(stack);
            started
        };
        let best = (0..10).map(start).min().unwrap();
        println!("started in {best:?}");
        assert!(best.as_millis() < 50, "{best:?}");
    }

    #[tokio::test]
    async fn stacks_run_side_by_side_and_stop_when_dropped() {
        let stacks: Vec<_> = (0..5).map(|_| LocalStack::start().unwrap()).collect();
        let clients = stacks.iter().map(|stack| aws_sdk_kinesis::Client::new(&stack.sdk_config()));
        let clients: Vec<_> = clients.collect();
        for (index, client) in clients.iter().enumerate() {
            let name = format!("stream-{index}");
            client.create_stream().stream_name(&name).shard_count(1).send().await.unwrap();
        }
        for (index, client) in clients.iter().enumerate() {
            let streams = client.list_streams().send().await.unwrap();
            assert_eq!(streams.stream_names(), [format!("stream-{index}")]);
        }
        let address = stacks[0].endpoint_url().trim_start_matches("http://").to_owned();
        drop(stacks);
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn port_in_use_is_named() {
        let first = LocalStack::start().unwrap();
        let port = first.endpoint_url().rsplit(':').next().unwrap().parse().unwrap();
        let second = LocalStack::start_with(&LocalStackOptions::default().with_port(port));
        assert!(matches!(second, Err(StartError::PortInUse { port: named }) if named == port));
        drop(first);
        LocalStack::start_with(&LocalStackOptions::default().with_port(port)).unwrap();
    }
}
