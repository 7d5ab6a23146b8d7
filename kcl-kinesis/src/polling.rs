//! `GetShardIterator` and `GetRecords`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::ShardIteratorType;
use kcl_core::backend::{Fetched, ReadFrom, ShardClosed, ShardReader, SourceError};
use kcl_core::model::ShardId;

use crate::config::StreamId;
use crate::description::exists;
use crate::error::{Failure, Kind, Unreadable};
use crate::record::{date_time, lag, record};
use crate::shards::child;

/// The most records that one call returns.
///
/// Source: Kinesis API reference, `GetRecords`, parameter `Limit`.
const RECORDS_PER_CALL_MAX: usize = 10_000;

const OPEN: &str = "kinesis:GetShardIterator";
const READ: &str = "kinesis:GetRecords";

/// A shard and the client to read it with.
#[derive(Clone, Debug)]
pub(crate) struct ShardPoller {
    pub(crate) client: Client,
    pub(crate) stream: Arc<StreamId>,
    pub(crate) shard: ShardId,
}

impl ShardPoller {
    /// Gets an iterator at `from`.
    pub(crate) async fn open(self, from: ReadFrom) -> Result<PollingReader, SourceError> {
        let request = self.client.get_shard_iterator().shard_id(self.shard.as_str());
        let request = match &*self.stream {
            StreamId::Name(name) => request.stream_name(name.as_str()),
            StreamId::Arn(arn) => request.stream_arn(arn.as_str()),
        };
        let request = match from {
            ReadFrom::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadFrom::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            ReadFrom::AtTimestamp(time) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(date_time(time)),
            ReadFrom::At(sequence) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence.to_string()),
        };
        match request.send().await {
            Ok(reply) => match reply.shard_iterator {
                Some(iterator) => Ok(PollingReader { shard: self, next: Next::Iterator(iterator) }),
                None => Err(self.refused(OPEN, Unreadable::new("no iterator"))),
            },
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind == Kind::Argument {
                    let source = failure.into_source();
                    return Err(SourceError::PositionRefused { shard: self.shard, from, source });
                }
                Err(self.failed(failure, OPEN).await)
            }
        }
    }

    async fn read(&self, iterator: &str, records_max: usize) -> Result<Read, SourceError> {
        let limit = records_max.clamp(1, RECORDS_PER_CALL_MAX);
        let request = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let request = match &*self.stream {
            StreamId::Name(_) => request,
            StreamId::Arn(arn) => request.stream_arn(arn.as_str()),
        };
        match request.send().await {
            Ok(reply) => read(reply).map_err(|error| self.refused(READ, error)),
            Err(error) => {
                let failure = Failure::from(error);
                // The service does not know this iterator. A new one fails too if the position is
                // at fault. Source: Java KCL `PrefetchRecordsPublisher`.
                if failure.kind == Kind::Argument {
                    return Err(SourceError::Expired);
                }
                Err(self.failed(failure, READ).await)
            }
        }
    }

    /// Returns the error of a failed call. The service sends the same message for a missing shard
    /// and a missing stream, so a missing resource costs another call.
    async fn failed(&self, failure: Failure, action: &'static str) -> SourceError {
        if failure.kind != Kind::Missing {
            return failure.into_error(self.stream.as_str(), action);
        }
        match exists(&self.client, &self.stream).await {
            Ok(()) => SourceError::ShardMissing {
                stream: self.stream.as_str().to_owned(),
                shard: self.shard.clone(),
            },
            Err(error) => error,
        }
    }

    fn refused(&self, action: &'static str, error: Unreadable) -> SourceError {
        Failure::new(Kind::Refused, error).into_error(self.stream.as_str(), action)
    }
}

/// Reads a shard by polling.
pub(crate) struct PollingReader {
    shard: ShardPoller,
    next: Next,
}

/// What the next read asks for.
enum Next {
    Iterator(String),
    Nothing(ShardClosed),
}

#[async_trait]
impl ShardReader for PollingReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        let iterator = match &self.next {
            Next::Iterator(iterator) => iterator,
            Next::Nothing(end) => return Ok(Fetched::new(Vec::new(), None, Some(end.clone()))),
        };
        let (fetched, next) = self.shard.read(iterator, records_max).await?;
        self.next = next;
        Ok(fetched)
    }
}

impl fmt::Debug for PollingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollingReader")
            .field("stream", &self.shard.stream)
            .field("shard", &self.shard.shard)
            .finish_non_exhaustive()
    }
}

type Read = (Fetched, Next);

fn read(reply: GetRecordsOutput) -> Result<Read, Unreadable> {
    let records = reply.records.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let behind = reply.millis_behind_latest.map(lag);
    let Some(iterator) = reply.next_shard_iterator else {
        let children = reply.child_shards.unwrap_or_default();
        let end = ShardClosed::new(children.into_iter().map(child).collect::<Result<_, _>>()?);
        return Ok((Fetched::new(records, behind, Some(end.clone())), Next::Nothing(end)));
    };
    Ok((Fetched::new(records, behind, None), Next::Iterator(iterator)))
}
