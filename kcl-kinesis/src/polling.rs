//! `GetShardIterator` and `GetRecords`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_records::builders::GetRecordsFluentBuilder;
use aws_sdk_kinesis::types::ShardIteratorType;
use kcl_core::backend::{COPIES_DEFAULT, Fetched, ReadFrom, ShardClosed, ShardReader, SourceError};
use kcl_core::model::{Record, ShardId, Timestamp};
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::config::StreamId;
use crate::description::exists;
use crate::encoding::{EncodingInUse, Refusal};
use crate::error::{Failure, Kind, Unreadable};
use crate::exchange::Exchange;
use crate::record::{date_time, lag, record, timestamp};
use crate::shards::child;
use crate::wire::{InCbor, Page, RECORDS_PER_CALL_MAX, Request};

/// How far the clocks of a service's machines may differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);

const OPEN: &str = "kinesis:GetShardIterator";
const READ: &str = "kinesis:GetRecords";

/// A shard and the client to read it with.
#[derive(Clone, Debug)]
pub(crate) struct ShardPoller {
    pub(crate) client: Client,
    pub(crate) encoding: Arc<EncodingInUse>,
    pub(crate) stream: Arc<StreamId>,
    pub(crate) shard: ShardId,
}

/// A call for an iterator that returned none.
struct NoIterator {
    failure: Failure,
    /// The service's time.
    at: Option<Timestamp>,
}

impl ShardPoller {
    /// Opens a reader at `from`.
    pub(crate) async fn open(self, from: ReadFrom) -> Result<PollingReader, SourceError> {
        let refused = match self.iterator(from).await {
            Ok(iterator) => return Ok(PollingReader::new(self, iterator)),
            Err(refused) => refused,
        };
        match self.oldest_instead(from, &refused).await {
            Some(iterator) => {
                let mut reader = PollingReader::new(self, iterator);
                reader.not_before = Some(from);
                Ok(reader)
            }
            None if refused.failure.kind == Kind::Argument => {
                let source = refused.failure.into_source();
                Err(SourceError::PositionRefused { shard: self.shard, from, source })
            }
            None => Err(self.failed(refused.failure, OPEN).await),
        }
    }

    async fn iterator(&self, from: ReadFrom) -> Result<String, NoIterator> {
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
        let exchange = Exchange::default();
        let failure = match request.customize().interceptor(exchange.clone()).send().await {
            Ok(reply) => match reply.shard_iterator {
                Some(iterator) => return Ok(iterator),
                None => Failure::new(Kind::Refused, Unreadable::new("no iterator")),
            },
            Err(error) => Failure::of(error, &exchange),
        };
        Err(NoIterator { failure, at: exchange.time().as_ref().map(timestamp) })
    }

    /// Returns an iterator at the oldest record, if the service has none at `from` although AWS
    /// would have.
    ///
    /// Some imitations of Kinesis know no times, and some do not find a number whose record they do
    /// not store. Where AWS refuses a position, this returns `None`: a time ahead of its clock is
    /// right soon, and a shard that is gone has no iterator at all.
    async fn oldest_instead(&self, from: ReadFrom, refused: &NoIterator) -> Option<String> {
        match (from, refused.failure.kind) {
            (ReadFrom::AtTimestamp(time), Kind::Argument | Kind::Refused)
                if refused.at?.before(CLOCKS_DIFFER_MAX) > time =>
            {
                self.iterator(ReadFrom::TrimHorizon).await.ok()
            }
            (ReadFrom::At(_), Kind::Missing) => {
                let oldest = self.iterator(ReadFrom::TrimHorizon).await.ok()?;
                // The first answer may have been wrong, and the way from the oldest record is long.
                let again = self.iterator(from).await.err()?;
                (again.failure.kind == Kind::Missing).then_some(oldest)
            }
            _ => None,
        }
    }

    async fn read(&self, iterator: &str, records_max: usize) -> Result<Read, SourceError> {
        if !self.encoding.is_cbor() {
            return self.read_json(iterator, records_max).await;
        }
        let refused = match self.read_cbor(iterator, records_max).await {
            Ok(read) => return read,
            Err(refused) => refused,
        };
        match self.encoding.refused() {
            Refusal::OfTheCall => Err(refused.into_error(self.stream.as_str(), READ)),
            Refusal::OfTheEncoding => Err(SourceError::EncodingRefused {
                stream: self.stream.as_str().to_owned(),
                encoding: "CBOR",
                source: refused.into_source(),
            }),
            Refusal::Known => self.read_json(iterator, records_max).await,
        }
    }

    /// Reads in JSON.
    async fn read_json(&self, iterator: &str, records_max: usize) -> Result<Read, SourceError> {
        let exchange = Exchange::default();
        let call = self.get_records(iterator, limit(records_max)).customize();
        match call.interceptor(exchange.clone()).send().await {
            Ok(reply) => read(reply).map_err(|error| self.refused(READ, error)),
            Err(error) => Err(self.read_failed(Failure::of(error, &exchange)).await),
        }
    }

    /// Reads in CBOR. Returns the failure if the service did not understand the request, or its
    /// reply cannot be read.
    async fn read_cbor(
        &self,
        iterator: &str,
        records_max: usize,
    ) -> Result<Result<Read, SourceError>, Failure> {
        let limit = limit(records_max);
        let in_cbor = InCbor::new(Request { iterator, limit, stream: self.arn() }.encode());
        let exchange = Exchange::default();
        let call = self.get_records(iterator, limit).customize();
        let call = call.interceptor(exchange.clone()).interceptor(in_cbor.clone());
        let reply = match call.send().await {
            Ok(reply) => reply,
            Err(error) => {
                let failure = Failure::of(error, &exchange);
                if matches!(failure.kind, Kind::NotUnderstood | Kind::Foreign) {
                    return Err(failure);
                }
                return Ok(Err(self.read_failed(failure).await));
            }
        };
        let Some(held) = in_cbor.take_reply() else {
            return Ok(read(reply).map_err(|error| self.refused(READ, error)));
        };
        let page = Page::read(&held).map_err(|error| Failure::new(Kind::Refused, error))?;
        self.encoding.understood();
        let held = u64::try_from(held.len()).unwrap_or(u64::MAX);
        let (fetched, next) = page.into_read();
        Ok(Ok((fetched.holding(held), next)))
    }

    fn get_records(&self, iterator: &str, limit: u16) -> GetRecordsFluentBuilder {
        let request = self.client.get_records().shard_iterator(iterator).limit(limit.into());
        request.set_stream_arn(self.arn().map(str::to_owned))
    }

    /// The stream's ARN, if the source was made with it.
    fn arn(&self) -> Option<&str> {
        match &*self.stream {
            StreamId::Name(_) => None,
            StreamId::Arn(arn) => Some(arn.as_str()),
        }
    }

    /// Returns the error of a read that failed.
    async fn read_failed(&self, failure: Failure) -> SourceError {
        if failure.kind == Kind::Incomplete {
            let (stream, source) = (self.stream.as_str().to_owned(), failure.into_source());
            return SourceError::Incomplete { stream, source };
        }
        // The service does not know this iterator. A new one fails too if the position is at
        // fault. Source: Java KCL `PrefetchRecordsPublisher`.
        if failure.kind == Kind::Argument {
            return SourceError::Expired;
        }
        self.failed(failure, READ).await
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

    /// Reads in a task of its own, which ends with the handle.
    ///
    /// All replies share the window of one HTTP/2 connection: a caller that does not poll must not
    /// hold up the replies of other shards.
    #[expect(clippy::disallowed_methods, reason = "the handle aborts the task when it is dropped")]
    fn spawn_read(
        self,
        iterator: String,
        records_max: usize,
    ) -> AbortOnDropHandle<Result<Read, SourceError>> {
        let read = async move { self.read(&iterator, records_max).await };
        AbortOnDropHandle::new(tokio::spawn(read))
    }

    /// Returns the error of a read whose task panicked or was aborted with its runtime.
    fn unfinished(&self, error: JoinError) -> SourceError {
        let (stream, source) = (self.stream.as_str().to_owned(), error.into());
        SourceError::Unavailable { stream, source }
    }

    fn refused(&self, action: &'static str, error: Unreadable) -> SourceError {
        Failure::new(Kind::Refused, error).into_error(self.stream.as_str(), action)
    }
}

/// Reads a shard by polling.
pub(crate) struct PollingReader {
    shard: ShardPoller,
    next: Next,
    /// Set while the records before this position are dropped, because the iterator started with
    /// the oldest record.
    not_before: Option<ReadFrom>,
}

impl PollingReader {
    const fn new(shard: ShardPoller, iterator: String) -> Self {
        Self { shard, next: Next::Iterator(iterator), not_before: None }
    }

    fn drop_earlier(&mut self, records: &mut Vec<Record>) {
        let Some(from) = self.not_before else { return };
        let earlier = records.iter().take_while(|record| is_before(record, from)).count();
        if earlier < records.len() {
            self.not_before = None;
        }
        records.drain(..earlier);
    }
}

/// Whether a record lies before a position. One whose time is unknown does not.
fn is_before(record: &Record, from: ReadFrom) -> bool {
    match from {
        ReadFrom::At(number) => record.position.sequence < number,
        ReadFrom::AtTimestamp(time) => record.arrived.is_some_and(|arrived| arrived < time),
        ReadFrom::TrimHorizon | ReadFrom::Latest => false,
    }
}

/// What the next read asks for.
enum Next {
    Iterator(String),
    Nothing(ShardClosed),
}

#[async_trait]
impl ShardReader for PollingReader {
    fn copies(&self) -> u64 {
        if self.shard.encoding.is_proven() { 1 } else { COPIES_DEFAULT }
    }

    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        let iterator = match &self.next {
            Next::Iterator(iterator) => iterator.clone(),
            Next::Nothing(end) => return Ok(Fetched::new(Vec::new(), None, Some(end.clone()))),
        };
        let read = self.shard.clone().spawn_read(iterator, records_max);
        let (mut fetched, next) = read.await.map_err(|error| self.shard.unfinished(error))??;
        self.next = next;
        self.drop_earlier(&mut fetched.records);
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

/// Returns how many records a call asks for.
fn limit(records_max: usize) -> u16 {
    u16::try_from(records_max.clamp(1, RECORDS_PER_CALL_MAX)).unwrap_or(u16::MAX)
}

impl Page {
    /// The result of a read.
    fn into_read(self) -> Read {
        let Self { records, next, behind_latest, children } = self;
        let (end, next) = match next {
            Some(iterator) => (None, Next::Iterator(iterator)),
            None => {
                let end = ShardClosed::new(children);
                (Some(end.clone()), Next::Nothing(end))
            }
        };
        (Fetched::new(records, behind_latest, end), next)
    }
}

/// Converts a reply that the SDK has read. Children count at the end of the shard alone.
fn read(reply: GetRecordsOutput) -> Result<Read, Unreadable> {
    let next = reply.next_shard_iterator;
    let children = reply.child_shards.filter(|_| next.is_none()).unwrap_or_default();
    let page = Page {
        records: reply.records.into_iter().map(record).collect::<Result<_, _>>()?,
        next,
        behind_latest: reply.millis_behind_latest.map(lag),
        children: children.into_iter().map(child).collect::<Result<_, _>>()?,
    };
    Ok(page.into_read())
}
