//! Each repair of the gateway, through the Rust SDK and on the wire.

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::{Duration, SystemTime};

    use aws_sdk_kinesis::Client;
    use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
    use aws_sdk_kinesis::primitives::{Blob, DateTime};
    use aws_sdk_kinesis::types::{
        PutRecordsRequestEntry, ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus,
    };
    use ciborium::Value as Cbor;
    use kcl_local::LocalStack;

    const STREAM: &str = "orders";
    const ROOT: &str = "shardId-000000000000";
    const MIDDLE: &str = "170141183460469231731687303715884105728";

    #[expect(clippy::disallowed_methods, reason = "the server's clock is the system's")]
    fn now() -> SystemTime {
        SystemTime::now()
    }

    async fn stream(shards: i32) -> (LocalStack, Client) {
        let stack = LocalStack::start().unwrap();
        let client = Client::new(&stack.sdk_config());
        client.create_stream().stream_name(STREAM).shard_count(shards).send().await.unwrap();
        active(&client).await;
        (stack, client)
    }

    async fn active(client: &Client) {
        for _ in 0..1000 {
            let summary =
                client.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
            if summary.stream_description_summary().unwrap().stream_status()
                == &StreamStatus::Active
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("stream stays inactive");
    }

    async fn put(client: &Client, data: &str) {
        let data = Blob::new(data.as_bytes());
        client.put_record().stream_name(STREAM).partition_key("k").data(data).send().await.unwrap();
    }

    async fn split(client: &Client, shard: &str) {
        client
            .split_shard()
            .stream_name(STREAM)
            .shard_to_split(shard)
            .new_starting_hash_key(MIDDLE)
            .send()
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        active(client).await;
    }

    async fn iterator(client: &Client, kind: ShardIteratorType) -> String {
        let call = client
            .get_shard_iterator()
            .stream_name(STREAM)
            .shard_id(ROOT)
            .shard_iterator_type(kind);
        call.send().await.unwrap().shard_iterator.unwrap()
    }

    async fn iterator_at(client: &Client, time: SystemTime) -> String {
        let call = client.get_shard_iterator().stream_name(STREAM).shard_id(ROOT);
        let call = call
            .shard_iterator_type(ShardIteratorType::AtTimestamp)
            .timestamp(DateTime::from(time));
        call.send().await.unwrap().shard_iterator.unwrap()
    }

    async fn read(client: &Client, iterator: &str) -> GetRecordsOutput {
        client.get_records().shard_iterator(iterator).send().await.unwrap()
    }

    fn texts(output: &GetRecordsOutput) -> Vec<String> {
        output
            .records()
            .iter()
            .map(|record| String::from_utf8_lossy(record.data().as_ref()).into_owned())
            .collect()
    }

    /// Sends a request without an SDK. Returns the head and body of the answer.
    fn post(
        stack: &LocalStack,
        operation: &str,
        content_type: &str,
        body: &[u8],
    ) -> (String, Vec<u8>) {
        let mut connection =
            TcpStream::connect(stack.endpoint_url().trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: local\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\nx-amz-target: Kinesis_20131202.{operation}\r\nx-amz-date: 20260101T000000Z\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=b, Signature=c\r\n\r\n",
            body.len()
        );
        connection.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
    }

    fn cbor(fields: &[(&str, Cbor)]) -> Vec<u8> {
        let fields = fields
            .iter()
            .map(|(name, value)| (Cbor::Text((*name).to_owned()), value.clone()))
            .collect();
        let mut body = Vec::new();
        ciborium::into_writer(&Cbor::Map(fields), &mut body).unwrap();
        body
    }

    fn field<'a>(value: &'a Cbor, name: &str) -> Option<&'a Cbor> {
        let (_, value) = value.as_map()?.iter().find(|(key, _)| key.as_text() == Some(name))?;
        Some(value)
    }

    #[tokio::test]
    async fn end_of_a_shard_lists_its_children() {
        let (_stack, client) = stream(1).await;
        put(&client, "last").await;
        split(&client, ROOT).await;
        let first = read(&client, &iterator(&client, ShardIteratorType::TrimHorizon).await).await;
        assert_eq!(texts(&first), ["last"]);
        assert!(first.child_shards().is_empty());
        let end = read(&client, first.next_shard_iterator().unwrap()).await;
        assert_eq!(end.next_shard_iterator(), None);
        assert_eq!(end.millis_behind_latest(), Some(0));
        let [low, high] = end.child_shards() else { panic!("{end:?}") };
        assert_eq!(low.shard_id(), "shardId-000000000001");
        assert_eq!(low.parent_shards(), [ROOT]);
        assert_eq!(low.hash_key_range().unwrap().starting_hash_key(), "0");
        assert_eq!(high.shard_id(), "shardId-000000000002");
        assert_eq!(high.hash_key_range().unwrap().starting_hash_key(), MIDDLE);
    }

    #[tokio::test]
    async fn merged_child_lists_both_parents() {
        let (_stack, client) = stream(2).await;
        let call = client.merge_shards().stream_name(STREAM).shard_to_merge(ROOT);
        call.adjacent_shard_to_merge("shardId-000000000001").send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        active(&client).await;
        let end = read(&client, &iterator(&client, ShardIteratorType::TrimHorizon).await).await;
        let [child] = end.child_shards() else { panic!("{end:?}") };
        assert_eq!(child.parent_shards(), [ROOT, "shardId-000000000001"]);
    }

    #[tokio::test]
    async fn cbor_records_have_bytes_millis_and_children() {
        let (stack, client) = stream(1).await;
        put(&client, "last").await;
        split(&client, ROOT).await;
        let start = iterator(&client, ShardIteratorType::TrimHorizon).await;
        let request = cbor(&[("ShardIterator", Cbor::Text(start))]);
        let (head, body) = post(&stack, "GetRecords", "application/x-amz-cbor-1.1", &request);
        assert!(head.contains("content-type: application/x-amz-cbor-1.1"), "{head}");
        let first: Cbor = ciborium::from_reader(body.as_slice()).unwrap();
        let record = &field(&first, "Records").unwrap().as_array().unwrap()[0];
        assert_eq!(field(record, "Data").unwrap().as_bytes().unwrap(), b"last");
        let arrived =
            i128::from(field(record, "ApproximateArrivalTimestamp").unwrap().as_integer().unwrap());
        assert!(arrived > 1_700_000_000_000, "{arrived}");
        let next = field(&first, "NextShardIterator").unwrap().clone();
        let request = cbor(&[("ShardIterator", next)]);
        let (_, body) = post(&stack, "GetRecords", "application/x-amz-cbor-1.1", &request);
        let end: Cbor = ciborium::from_reader(body.as_slice()).unwrap();
        assert_eq!(field(&end, "NextShardIterator"), None);
        let children = field(&end, "ChildShards").unwrap().as_array().unwrap();
        assert_eq!(field(&children[1], "ShardId").unwrap().as_text(), Some("shardId-000000000002"));
        let range = field(&children[1], "HashKeyRange").unwrap();
        assert_eq!(field(range, "StartingHashKey").unwrap().as_text(), Some(MIDDLE));
        assert_eq!(field(&children[1], "ParentShards").unwrap().as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn cbor_timestamps_are_millis() {
        let (stack, client) = stream(1).await;
        put(&client, "before").await;
        let millis =
            now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_millis(1);
        let millis = Cbor::Integer(u64::try_from(millis.as_millis()).unwrap().into());
        tokio::time::sleep(Duration::from_millis(2)).await;
        let request = cbor(&[
            ("StreamName", Cbor::Text(STREAM.to_owned())),
            ("ShardId", Cbor::Text(ROOT.to_owned())),
            ("ShardIteratorType", Cbor::Text("AT_TIMESTAMP".to_owned())),
            ("Timestamp", Cbor::Tag(1, Box::new(millis))),
        ]);
        let (head, _) = post(&stack, "GetShardIterator", "application/x-amz-cbor-1.1", &request);
        assert!(head.starts_with("http/1.1 200"), "{head}");
    }

    #[tokio::test]
    async fn lag_is_zero_only_when_caught_up() {
        let (_stack, client) = stream(1).await;
        put(&client, "a").await;
        put(&client, "b").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = iterator(&client, ShardIteratorType::TrimHorizon).await;
        let behind = client.get_records().shard_iterator(&start).limit(1).send().await.unwrap();
        assert!(behind.millis_behind_latest().unwrap() >= 20, "{behind:?}");
        let caught_up = read(&client, behind.next_shard_iterator().unwrap()).await;
        assert_eq!(texts(&caught_up), ["b"]);
        assert_eq!(caught_up.millis_behind_latest(), Some(0));
    }

    #[tokio::test]
    async fn pages_have_a_size_limit_and_every_record_once() {
        let (_stack, client) = stream(1).await;
        let large = Blob::new(vec![7; 900_000]);
        for _ in 0..3 {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key("k")
                .data(large.clone())
                .build()
                .unwrap();
            client
                .put_records()
                .stream_name(STREAM)
                .set_records(Some(vec![entry; 4]))
                .send()
                .await
                .unwrap();
        }
        let mut next = iterator(&client, ShardIteratorType::TrimHorizon).await;
        let mut numbers = Vec::new();
        let mut sizes = Vec::new();
        loop {
            let page = read(&client, &next).await;
            next = page.next_shard_iterator().unwrap().to_owned();
            if page.records().is_empty() {
                break;
            }
            sizes.push(page.records().len());
            numbers.extend(page.records().iter().map(|record| record.sequence_number().to_owned()));
        }
        assert_eq!(sizes, [11, 1]);
        assert!(numbers.is_sorted());
        numbers.dedup();
        assert_eq!(numbers.len(), 12);
    }

    #[tokio::test]
    async fn timestamp_after_the_last_record_starts_at_the_end() {
        let (_stack, client) = stream(1).await;
        put(&client, "old").await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let start = iterator_at(&client, now()).await;
        let nothing = read(&client, &start).await;
        assert!(texts(&nothing).is_empty());
        put(&client, "new").await;
        assert_eq!(texts(&read(&client, nothing.next_shard_iterator().unwrap()).await), ["new"]);
        assert_eq!(texts(&read(&client, &start).await), ["new"]);
    }

    #[tokio::test]
    async fn timestamp_within_a_second_skips_nothing() {
        let (_stack, client) = stream(1).await;
        let before = now();
        put(&client, "after").await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        put(&client, "later").await;
        let start = iterator_at(&client, before).await;
        assert_eq!(texts(&read(&client, &start).await), ["after", "later"]);
    }

    async fn listed(client: &Client, filter: ShardFilter) -> Vec<String> {
        let shards =
            client.list_shards().stream_name(STREAM).shard_filter(filter).send().await.unwrap();
        shards
            .shards()
            .iter()
            .map(|shard| shard.shard_id().trim_start_matches("shardId-00000000000").to_owned())
            .collect()
    }

    fn filter(kind: ShardFilterType) -> ShardFilter {
        ShardFilter::builder().r#type(kind).build().unwrap()
    }

    #[tokio::test]
    async fn list_respects_the_filter() {
        use ShardFilterType::{
            AfterShardId, AtLatest, AtTimestamp, AtTrimHorizon, FromTimestamp, FromTrimHorizon,
        };
        let (_stack, client) = stream(1).await;
        let start = now();
        split(&client, ROOT).await;
        // Children open a second after the split, by the emulator's own clock.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let after_split = now();
        let at = |kind, time| {
            ShardFilter::builder().r#type(kind).timestamp(DateTime::from(time)).build().unwrap()
        };
        assert_eq!(listed(&client, filter(AtTrimHorizon)).await, ["0"]);
        assert_eq!(listed(&client, filter(FromTrimHorizon)).await, ["0", "1", "2"]);
        assert_eq!(listed(&client, filter(AtLatest)).await, ["1", "2"]);
        assert_eq!(listed(&client, at(AtTimestamp, start)).await, ["0"]);
        assert_eq!(listed(&client, at(AtTimestamp, after_split)).await, ["1", "2"]);
        assert_eq!(listed(&client, at(FromTimestamp, start)).await, ["0", "1", "2"]);
        assert_eq!(listed(&client, at(FromTimestamp, after_split)).await, ["1", "2"]);
        let after = ShardFilter::builder()
            .r#type(AfterShardId)
            .shard_id("shardId-000000000001")
            .build()
            .unwrap();
        assert_eq!(listed(&client, after).await, ["2"]);
    }

    #[tokio::test]
    async fn list_continues_at_its_token() {
        let (_stack, client) = stream(5).await;
        let first = client
            .list_shards()
            .stream_name(STREAM)
            .shard_filter(filter(ShardFilterType::AtLatest));
        let first = first.max_results(3).send().await.unwrap();
        assert_eq!(first.shards().len(), 3);
        let rest = client
            .list_shards()
            .next_token(first.next_token().unwrap())
            .max_results(3)
            .send()
            .await
            .unwrap();
        assert_eq!(rest.shards()[0].shard_id(), "shardId-000000000003");
        assert_eq!((rest.shards().len(), rest.next_token()), (2, None));
        let wrong = client
            .list_shards()
            .next_token("nonsense")
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        assert!(wrong.is_invalid_argument_exception());
    }

    #[tokio::test]
    async fn calls_accept_an_arn_without_a_name() {
        let (_stack, client) = stream(1).await;
        put(&client, "a").await;
        let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
        let summary = client.describe_stream_summary().stream_arn(arn).send().await.unwrap();
        assert_eq!(summary.stream_description_summary().unwrap().stream_name(), STREAM);
        assert_eq!(client.list_shards().stream_arn(arn).send().await.unwrap().shards().len(), 1);
        let call = client.get_shard_iterator().stream_arn(arn).shard_id(ROOT);
        let start = call.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        assert_eq!(texts(&read(&client, start.shard_iterator().unwrap()).await), ["a"]);
        client.delete_stream().stream_arn(arn).send().await.unwrap();
    }

    #[tokio::test]
    async fn update_shard_count_is_refused() {
        let (_stack, client) = stream(1).await;
        let call = client.update_shard_count().stream_name(STREAM).target_shard_count(2);
        let refusal =
            call.scaling_type(aws_sdk_kinesis::types::ScalingType::UniformScaling).send().await;
        let refusal = refusal.unwrap_err().into_service_error();
        assert!(refusal.is_invalid_argument_exception());
        assert!(refusal.to_string().contains("SplitShard"), "{refusal}");
    }

    #[tokio::test]
    async fn every_answer_has_the_date() {
        let (stack, client) = stream(1).await;
        let start = iterator(&client, ShardIteratorType::TrimHorizon).await;
        let request = format!("{{\"ShardIterator\":\"{start}\"}}");
        for (operation, body) in
            [("GetRecords", request.as_str()), ("ListStreams", "{}"), ("ListShards", "{}")]
        {
            let (head, _) = post(&stack, operation, "application/x-amz-json-1.1", body.as_bytes());
            assert!(head.contains("\r\ndate: "), "{head}");
        }
    }

    #[tokio::test]
    async fn cbor_clients_read_creation_times() {
        let (stack, _client) = stream(1).await;
        let request = cbor(&[("StreamName", Cbor::Text(STREAM.to_owned()))]);
        let (head, body) =
            post(&stack, "DescribeStreamSummary", "application/x-amz-cbor-1.1", &request);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let answer: Cbor = ciborium::from_reader(body.as_slice()).unwrap();
        let summary = field(&answer, "StreamDescriptionSummary").unwrap();
        let created = field(summary, "StreamCreationTimestamp").unwrap().as_integer().unwrap();
        assert!(i128::from(created) > 1_700_000_000_000, "{created:?}");
    }
}
