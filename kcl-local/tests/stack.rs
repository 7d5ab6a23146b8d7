//! Start, stop, both services and counts of a stack.

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, KeySchemaElement,
        KeyType, KeysAndAttributes, ReturnConsumedCapacity, ScalarAttributeType,
    };
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

    /// As DynamoDB: at most 100 keys, each once, and none that is missing.
    #[tokio::test]
    async fn batch_reads_are_served() {
        let stack = LocalStack::start().unwrap();
        let dynamo = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
        let key = |nth: usize| AttributeValue::S(format!("row-{nth}"));
        let attribute = AttributeDefinition::builder().attribute_name("key");
        let attribute = attribute.attribute_type(ScalarAttributeType::S).build().unwrap();
        let hash = KeySchemaElement::builder().attribute_name("key").key_type(KeyType::Hash);
        let create = dynamo.create_table().table_name("rows").attribute_definitions(attribute);
        let create = create.key_schema(hash.build().unwrap());
        create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
        for nth in 0..2 {
            dynamo.put_item().table_name("rows").item("key", key(nth)).send().await.unwrap();
        }
        let read = async |keys: Vec<usize>| {
            let keys = keys.into_iter().map(|nth| [("key".to_owned(), key(nth))].into());
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys.collect()));
            let call = dynamo.batch_get_item();
            let call = call.request_items("rows", wanted.consistent_read(true).build().unwrap());
            call.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await
        };
        let answer = read((0..100).collect()).await.unwrap();
        assert_eq!(answer.responses().unwrap()["rows"].len(), 2);
        assert_eq!(answer.unprocessed_keys().into_iter().flatten().count(), 0);
        let units: Vec<_> =
            answer.consumed_capacity().iter().map(ConsumedCapacity::capacity_units).collect();
        assert_eq!(units, [Some(100.0)], "a key that is missing costs a unit as well");
        for refused in [(0..101).collect(), vec![1, 1]] {
            let error = read(refused).await.unwrap_err().into_service_error();
            assert_eq!(error.code(), Some("ValidationException"));
        }
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
