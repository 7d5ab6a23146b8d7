//! Reshards during writes: every record arrives, once and in order.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use aws_sdk_kinesis::Client;
    use aws_sdk_kinesis::primitives::Blob;
    use aws_sdk_kinesis::types::{
        ChildShard, Shard, ShardFilter, ShardFilterType, ShardIteratorType,
    };
    use futures::future::join_all;
    use kcl_local::{LocalStack, LocalStackOptions};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    const STREAM: &str = "orders";
    const WRITERS: usize = 8;
    const RECORDS_PER_WRITER: usize = 30;

    /// Reads every shard from its start, children after the end of all their parents.
    #[derive(Default)]
    struct Reader {
        started: BTreeSet<String>,
        ended: BTreeSet<String>,
        open: Vec<Cursor>,
        seen: BTreeSet<Vec<u8>>,
    }

    struct Cursor {
        shard: String,
        iterator: String,
        last: String,
    }

    impl Reader {
        async fn start(&mut self, client: &Client, shard: &str) {
            if !self.started.insert(shard.to_owned()) {
                return;
            }
            let call = client.get_shard_iterator().stream_name(STREAM).shard_id(shard);
            let call = call.shard_iterator_type(ShardIteratorType::TrimHorizon);
            let iterator = call.send().await.unwrap().shard_iterator.unwrap();
            self.open.push(Cursor { shard: shard.to_owned(), iterator, last: String::new() });
        }

        async fn round(&mut self, client: &Client) {
            for mut cursor in std::mem::take(&mut self.open) {
                let call = client.get_records().shard_iterator(&cursor.iterator);
                let page = call.send().await.unwrap();
                for record in page.records() {
                    assert!(record.sequence_number() > cursor.last.as_str(), "{record:?}");
                    record.sequence_number().clone_into(&mut cursor.last);
                    assert!(self.seen.insert(record.data().as_ref().to_vec()), "{record:?} again");
                }
                if let Some(next) = page.next_shard_iterator {
                    cursor.iterator = next;
                    self.open.push(cursor);
                    continue;
                }
                self.ended.insert(cursor.shard);
                let children = page.child_shards.unwrap_or_default();
                let ended = |parent| self.ended.contains(parent);
                let ready = children.iter().filter(|child| child.parent_shards().iter().all(ended));
                let ready: Vec<&str> = ready.map(ChildShard::shard_id).collect();
                for child in ready {
                    self.start(client, child).await;
                }
            }
        }
    }

    async fn write(client: Client, writer: usize) {
        for record in 0..RECORDS_PER_WRITER {
            let name = format!("{writer}-{record}");
            let call = client.put_record().stream_name(STREAM).partition_key(&name);
            call.data(Blob::new(name)).send().await.unwrap();
        }
    }

    async fn open_shards(client: &Client) -> Vec<Shard> {
        let filter = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().unwrap();
        let call = client.list_shards().stream_name(STREAM).shard_filter(filter);
        let mut shards = call.send().await.unwrap().shards.unwrap();
        shards.sort_by_key(|shard| range(shard).0);
        shards
    }

    fn range(shard: &Shard) -> (u128, u128) {
        let range = shard.hash_key_range().unwrap();
        (range.starting_hash_key().parse().unwrap(), range.ending_hash_key().parse().unwrap())
    }

    /// Keeps the disk busy with other writes, until `stop`.
    async fn tag_another_stream(client: Client, stop: &CancellationToken) {
        let create = client.create_stream().stream_name("other").shard_count(1);
        create.send().await.unwrap();
        while !stop.is_cancelled() {
            // The service refuses tags until the stream is active, which is fine here.
            drop(client.add_tags_to_stream().stream_name("other").tags("a", "b").send().await);
        }
    }

    /// Alternates splits and merges.
    async fn reshard(client: Client) {
        for split in [true, false, true, false, true] {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let shards = open_shards(&client).await;
            let (first, second) = (&shards[0], &shards[1]);
            if split {
                let (low, high) = range(first);
                let middle = (low + (high - low) / 2).to_string();
                let call = client.split_shard().stream_name(STREAM).new_starting_hash_key(middle);
                call.shard_to_split(first.shard_id()).send().await.unwrap();
            } else {
                let call = client.merge_shards().stream_name(STREAM);
                let call = call.adjacent_shard_to_merge(second.shard_id());
                call.shard_to_merge(first.shard_id()).send().await.unwrap();
            }
        }
    }

    async fn every_record_arrives(options: LocalStackOptions) {
        let stack = LocalStack::start_with(&options).unwrap();
        let client = Client::new(&stack.sdk_config());
        client.create_stream().stream_name(STREAM).shard_count(2).send().await.unwrap();
        while open_shards(&client).await.len() < 2 {}
        let mut reader = Reader::default();
        for shard in open_shards(&client).await {
            reader.start(&client, shard.shard_id()).await;
        }
        let writers = (0..WRITERS).map(|writer| write(Client::new(&stack.sdk_config()), writer));
        let all_read = CancellationToken::new();
        let reading = async {
            let deadline = Instant::now() + Duration::from_mins(1);
            while reader.seen.len() < WRITERS * RECORDS_PER_WRITER && Instant::now() < deadline {
                reader.round(&client).await;
            }
            all_read.cancel();
        };
        tokio::join!(
            Box::pin(reading),
            Box::pin(join_all(writers)),
            Box::pin(reshard(client.clone())),
            Box::pin(tag_another_stream(client.clone(), &all_read)),
        );
        assert_eq!(reader.seen.len(), WRITERS * RECORDS_PER_WRITER);
    }

    #[tokio::test]
    async fn in_memory_every_record_arrives() {
        every_record_arrives(LocalStackOptions::default()).await;
    }

    #[tokio::test]
    async fn in_a_folder_every_record_arrives() {
        let folder = tempfile::tempdir().unwrap();
        every_record_arrives(LocalStackOptions::default().with_folder(folder.path())).await;
    }
}
