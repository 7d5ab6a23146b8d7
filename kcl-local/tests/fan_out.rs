//! Subscriptions of CBOR clients, on the wire.

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use aws_sdk_kinesis::Client;
    use aws_sdk_kinesis::primitives::Blob;
    use ciborium::Value as Cbor;
    use kcl_local::LocalStack;

    const STREAM: &str = "orders";
    const ROOT: &str = "shardId-000000000000";

    /// Creates a stream with one record and splits its only shard. Returns a consumer's ARN.
    async fn ended_shard(client: &Client) -> String {
        client.create_stream().stream_name(STREAM).shard_count(1).send().await.unwrap();
        let put = || client.put_record().stream_name(STREAM).partition_key("k");
        while put().data(Blob::new("last")).send().await.is_err() {}
        let split = client.split_shard().stream_name(STREAM).shard_to_split(ROOT);
        split.new_starting_hash_key("1000").send().await.unwrap();
        let register = client.register_stream_consumer().consumer_name("reader");
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
        let consumer = register.stream_arn(arn).send().await.unwrap().consumer.unwrap();
        // A consumer becomes active half a second after its registration.
        tokio::time::sleep(Duration::from_millis(700)).await;
        consumer.consumer_arn
    }

    /// Subscribes from the start of the shard. Returns the payloads of all frames.
    fn subscribe(stack: &LocalStack, consumer: &str) -> Vec<Cbor> {
        let body = map([
            ("ConsumerARN", Cbor::from(consumer)),
            ("ShardId", Cbor::from(ROOT)),
            ("StartingPosition", map([("Type", Cbor::from("TRIM_HORIZON"))])),
        ]);
        let mut request = Vec::new();
        ciborium::into_writer(&body, &mut request).unwrap();
        // HTTP/1.0: the answer has no chunks.
        let head = format!(
            "POST / HTTP/1.0\r\ncontent-type: application/x-amz-cbor-1.1\r\ncontent-length: {}\r\n\
             x-amz-target: Kinesis_20131202.SubscribeToShard\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c\r\n\r\n",
            request.len()
        );
        let address = stack.endpoint_url();
        let mut connection = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        connection.write_all(&[head.as_bytes(), &request].concat()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        payloads(&answer[end + 4..])
    }

    fn payloads(mut frames: &[u8]) -> Vec<Cbor> {
        let mut payloads = Vec::new();
        while !frames.is_empty() {
            let length = |at: usize| {
                usize::try_from(u32::from_be_bytes(frames[at..at + 4].try_into().unwrap())).unwrap()
            };
            let (total, headers) = (length(0), length(4));
            let payload = &frames[12 + headers..total - 4];
            if !payload.is_empty() {
                payloads.push(ciborium::from_reader(payload).unwrap());
            }
            frames = &frames[total..];
        }
        payloads
    }

    fn map<const N: usize>(fields: [(&str, Cbor); N]) -> Cbor {
        Cbor::Map(fields.into_iter().map(|(name, value)| (Cbor::from(name), value)).collect())
    }

    fn field<'a>(value: &'a Cbor, name: &str) -> &'a Cbor {
        let mut fields = value.as_map().unwrap().iter();
        &fields.find(|(key, _)| key.as_text() == Some(name)).unwrap().1
    }

    fn items<'a>(event: &'a Cbor, name: &str) -> &'a [Cbor] {
        field(event, name).as_array().unwrap()
    }

    #[tokio::test]
    async fn cbor_events_have_millis_and_children_at_the_end_only() {
        let stack = LocalStack::start().unwrap();
        let consumer = ended_shard(&Client::new(&stack.sdk_config())).await;
        let events = subscribe(&stack, &consumer);
        let [first, end] = events.as_slice() else { panic!("{events:?}") };
        let [record] = items(first, "Records") else { panic!("{first:?}") };
        assert_eq!(field(record, "Data").as_bytes().unwrap(), b"last");
        let arrived = field(record, "ApproximateArrivalTimestamp").as_integer().unwrap();
        assert!(i128::from(arrived) > 1_700_000_000_000, "{arrived:?}");
        assert!(items(first, "ChildShards").is_empty());
        assert!(field(first, "ContinuationSequenceNumber").is_text());
        assert!(items(end, "Records").is_empty());
        assert_eq!(items(end, "ChildShards").len(), 2);
        assert!(field(end, "ContinuationSequenceNumber").is_null());
    }
}
