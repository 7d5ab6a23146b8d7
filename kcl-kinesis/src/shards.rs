//! `ListShards`: all its pages, as shards of the model.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types;
use kcl_core::backend::{ShardFilter, SourceError};
use kcl_core::model::{ChildShard, HashKeyRange, SequenceNumber, Shard, ShardId};

use crate::config::StreamId;
use crate::error::{Failure, Kind, Unreadable};
use crate::exchange::Exchange;
use crate::record::date_time;

/// The most shards on one page, whatever a request asks for.
///
/// Source: Kinesis API reference, `ListShards`, parameter `MaxResults`.
const SHARDS_PER_PAGE: i32 = 1_000;

/// The most pages of one list: a million shards.
const PAGES_MAX: usize = 1_000;

const TOO_LONG: &str = "the list of shards has more than 1,000 pages of up to 1,000 shards, which \
                        is the bound of this library";

const ACTION: &str = "kinesis:ListShards";

/// Lists the shards of a stream.
pub(crate) async fn list(
    client: &Client,
    stream: &StreamId,
    filter: &ShardFilter,
) -> Result<Vec<Shard>, SourceError> {
    let failed = |failure: Failure| match (failure.kind, filter) {
        // The service refuses a time ahead of its clock; a retry succeeds.
        (Kind::Argument, ShardFilter::OpenAt(_)) => {
            Failure::new(Kind::Unavailable, failure.into_source())
        }
        _ => failure,
    };
    let mut shards = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        // The service accepts the stream and the filter for the first page only.
        let request = match &token {
            Some(token) => client.list_shards().next_token(token),
            None => stream.list(client).shard_filter(sdk_filter(filter)),
        };
        let exchange = Exchange::default();
        let page = request
            .max_results(SHARDS_PER_PAGE)
            .customize()
            .interceptor(exchange.clone())
            .send()
            .await
            .map_err(|error| Failure::of(error, &exchange))
            .map_err(|failure| failed(failure).into_error(stream.as_str(), ACTION))?;
        for sent in page.shards.unwrap_or_default() {
            shards.push(shard(sent).map_err(|error| refused(stream, error))?);
        }
        if page.next_token.is_none() {
            return Ok(shards);
        }
        if page.next_token == token {
            return Err(refused(stream, Unreadable::new("list of shards repeats a page")));
        }
        token = page.next_token;
    }
    Err(Failure::new(Kind::Refused, TOO_LONG).into_error(stream.as_str(), ACTION))
}

impl StreamId {
    fn list(
        &self,
        client: &Client,
    ) -> aws_sdk_kinesis::operation::list_shards::builders::ListShardsFluentBuilder {
        match self {
            Self::Name(name) => client.list_shards().stream_name(name.as_str()),
            Self::Arn(arn) => client.list_shards().stream_arn(arn.as_str()),
        }
    }
}

fn refused(stream: &StreamId, error: Unreadable) -> SourceError {
    Failure::new(Kind::Refused, error).into_error(stream.as_str(), ACTION)
}

fn sdk_filter(filter: &ShardFilter) -> types::ShardFilter {
    let builder = types::ShardFilter::builder();
    let builder = match filter {
        ShardFilter::All => builder.r#type(types::ShardFilterType::FromTrimHorizon),
        ShardFilter::AtTrimHorizon => builder.r#type(types::ShardFilterType::AtTrimHorizon),
        ShardFilter::OpenAt(time) => {
            builder.r#type(types::ShardFilterType::AtTimestamp).timestamp(date_time(*time))
        }
    };
    builder.build().expect("the type is set")
}

fn shard(sent: types::Shard) -> Result<Shard, Unreadable> {
    let sequences = sent.sequence_number_range.ok_or(Unreadable::new("shard without sequence"))?;
    let starting_sequence = sequence(&sequences.starting_sequence_number)?;
    let hash_range = hash_range(sent.hash_key_range)?;
    let mut shard = Shard::new(ShardId::from(sent.shard_id), hash_range, starting_sequence);
    let parents = [sent.parent_shard_id, sent.adjacent_parent_shard_id];
    shard.parents = parents.into_iter().flatten().map(ShardId::from).collect();
    shard.ending_sequence =
        sequences.ending_sequence_number.as_deref().map(sequence).transpose()?;
    Ok(shard)
}

/// Converts a child that a closed parent reports.
pub(crate) fn child(sent: types::ChildShard) -> Result<ChildShard, Unreadable> {
    Ok(ChildShard {
        id: ShardId::from(sent.shard_id),
        parents: sent.parent_shards.into_iter().map(ShardId::from).collect(),
        hash_range: hash_range(sent.hash_key_range)?,
    })
}

fn hash_range(sent: Option<types::HashKeyRange>) -> Result<HashKeyRange, Unreadable> {
    let sent = sent.ok_or(Unreadable::new("shard without hash range"))?;
    HashKeyRange::parse(&sent.starting_hash_key, &sent.ending_hash_key)
        .map_err(|error| Unreadable::because("hash range of a shard", error))
}

fn sequence(text: &str) -> Result<SequenceNumber, Unreadable> {
    text.parse().map_err(|error| Unreadable::because("sequence number of a shard", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> types::HashKeyRange {
        types::HashKeyRange::builder()
            .starting_hash_key("0")
            .ending_hash_key("340282366920938463463374607431768211455")
            .build()
            .unwrap()
    }

    fn sent() -> types::builders::ShardBuilder {
        types::Shard::builder().shard_id("shardId-000000000002").hash_key_range(range())
    }

    #[test]
    fn merged_shard_has_both_parents() {
        let sequences =
            types::SequenceNumberRange::builder().starting_sequence_number("7").build().unwrap();
        let sent = sent()
            .parent_shard_id("shardId-000000000000")
            .adjacent_parent_shard_id("shardId-000000000001")
            .sequence_number_range(sequences)
            .build()
            .unwrap();
        let shard = shard(sent).unwrap();
        assert_eq!(shard.parents, ["shardId-000000000000".into(), "shardId-000000000001".into()]);
        assert_eq!((shard.hash_range, shard.is_closed()), (HashKeyRange::FULL, false));
    }

    #[test]
    fn missing_ranges_are_errors() {
        assert!(shard(sent().build().unwrap()).is_err());
        let child = |range| {
            let child = types::ChildShard::builder().shard_id("shardId-000000000003");
            super::child(
                child.set_parent_shards(Some(vec![])).set_hash_key_range(range).build().unwrap(),
            )
        };
        assert!(child(Some(range())).is_ok());
        assert!(child(None).is_err());
    }
}
