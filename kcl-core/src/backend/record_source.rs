//! Sources of records: [`RecordSource`], [`ShardReader`] and their errors.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kcl_proto::consumer::read_size::COPIES_DEFAULT;
use kcl_proto::model::{
    ChildShard, ReadFrom, Record, Shard, ShardFilter, ShardId, StreamDescription,
};
use thiserror::Error;

use crate::BoxError;
use crate::config::InvalidSetting;

/// A stream of sharded records.
///
/// # Contract
///
/// 1. Within a shard, positions rise; a reader opened [`ReadFrom::At`] a sequence number yields the
///    record with that number, if it still exists, and all later ones in order, none twice.
/// 2. A shard's end is announced once, with [`Fetched::end`], after its last record.
/// 3. [`list_shards`](Self::list_shards) may be stale.
/// 4. Every call ends within a bounded time of the source's own choosing.
///
/// `kcl_core::testing::record_source` (feature `test-util`) checks all of it but 4.
#[async_trait]
pub trait RecordSource: fmt::Debug + Send + Sync + 'static {
    /// Returns the source's own settings that cannot work. [`WorkerBuilder::build`] reports them
    /// with all others.
    ///
    /// [`WorkerBuilder::build`]: crate::WorkerBuilder::build
    fn validate(&self) -> Vec<InvalidSetting> {
        Vec::new()
    }

    /// Describes the stream.
    async fn describe(&self) -> Result<StreamDescription, SourceError>;

    /// Lists shards, all pages.
    async fn list_shards(&self, filter: ShardFilter) -> Result<Vec<Shard>, SourceError>;

    /// Opens a reader of a shard.
    async fn open(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Box<dyn ShardReader>, SourceError>;
}

/// Reads one shard, from the position at which it was opened.
#[async_trait]
pub trait ShardReader: fmt::Debug + Send + 'static {
    /// Returns how many copies of a reply exist at once while it is read, at least 1: the memory
    /// that a read reserves is a multiple of what its records keep.
    ///
    /// Default: [`COPIES_DEFAULT`].
    fn copies(&self) -> u64 {
        COPIES_DEFAULT
    }

    /// Waits until there is something to read, and returns how many bytes it takes, if that is
    /// known: the engine reserves memory only then. The default is ready at once, as a reader that
    /// polls is. One that is pushed to waits for the next event, a heartbeat at the latest.
    ///
    /// The engine may read without asking, after it has opened a reader again.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready loses no record.
    async fn ready(&mut self) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }

    /// Reads the next records: at most about `records_max`, possibly none. What was pushed comes
    /// whole, however many records it has.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready loses no record: the next call reads again.
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError>;
}

/// The result of one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched {
    /// Records in order, possibly none.
    pub records: Vec<Record>,
    /// How far the last of them is behind the end of the shard; zero when caught up.
    pub behind_latest: Option<Duration>,
    /// The end of the shard, once the shard is closed and all its records have been read.
    pub end: Option<ShardClosed>,
    /// How many bytes the records keep in memory beside their list, or `None` if that is what their
    /// data and partition keys add up to. Records that are parts of one reply keep all of it.
    pub held: Option<u64>,
    /// How the records came.
    pub retrieval: Retrieval,
}

/// How records came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retrieval {
    /// The reader asked for them, which the service counts: reads are paced.
    #[default]
    Polled,
    /// The service sent them as they came. The next read follows at once.
    Pushed,
}

impl Fetched {
    /// The result of one read.
    #[must_use]
    pub const fn new(
        records: Vec<Record>,
        behind_latest: Option<Duration>,
        end: Option<ShardClosed>,
    ) -> Self {
        Self { records, behind_latest, end, held: None, retrieval: Retrieval::Polled }
    }

    /// Sets [`held`](Self::held) to `bytes`.
    #[must_use]
    pub const fn holding(mut self, bytes: u64) -> Self {
        self.held = Some(bytes);
        self
    }

    /// Sets [`retrieval`](Self::retrieval).
    #[must_use]
    pub const fn by(mut self, retrieval: Retrieval) -> Self {
        self.retrieval = retrieval;
        self
    }

    /// Whether the reader is at the end of the shard.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.end.is_some() || self.behind_latest.is_some_and(|behind| behind.is_zero())
    }
}

/// The end of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardClosed {
    /// Its children, as far as the service reports them: may be empty although there are some.
    pub children: Vec<ChildShard>,
}

impl ShardClosed {
    /// The end of a shard with these children.
    #[must_use]
    pub const fn new(children: Vec<ChildShard>) -> Self {
        Self { children }
    }
}

/// Why a call to a record source failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The service limits the rate of calls on this shard. Wait, then read again.
    #[error("reading is throttled: the shard's limits are shared by all who read it")]
    Throttled {
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// The reader is too old. Open another one after the last position.
    #[error("shard iterator expired")]
    Expired,
    /// The service could not be reached, did not answer in time, or failed. Retry later.
    #[error("stream {stream:?} did not answer: look at the network and the endpoint if it lasts")]
    Unavailable {
        /// The stream.
        stream: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The records of a read did not arrive in full, or not in time. Read again, and ask for fewer.
    #[error(
        "records of stream {stream:?} did not arrive in full: if the line is slow, raise \
         records.attempt_timeout or lower retrieval.records_max"
    )]
    Incomplete {
        /// The stream.
        stream: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The service does not understand the encoding that the source asks for, or its reply cannot be
    /// read. The source asks for another one from now on: read again. Reported once for a source.
    #[error(
        "stream {stream:?} is not read in {encoding}: the source asks for another encoding from \
         now on"
    )]
    EncodingRefused {
        /// The stream.
        stream: String,
        /// The encoding, such as `CBOR`.
        encoding: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// A reader announced the shard's end, and the list of shards shows the shard open. Open
    /// another reader after the last position.
    #[error(
        "the end of shard {shard} is not confirmed: it is listed as open, and is read on after its \
         last record"
    )]
    EndUnconfirmed {
        /// The shard.
        shard: ShardId,
    },
    /// The stream does not exist.
    #[error("stream {stream:?} does not exist: check its name and the region")]
    StreamMissing {
        /// The stream.
        stream: String,
    },
    /// The shard does not exist.
    #[error("shard {shard} of stream {stream:?} does not exist")]
    ShardMissing {
        /// The stream.
        stream: String,
        /// The shard.
        shard: ShardId,
    },
    /// The position is refused, such as a time that lies in the future by the service's clock.
    #[error("position {from:?} of shard {shard} is refused")]
    PositionRefused {
        /// The shard.
        shard: ShardId,
        /// The position.
        from: ReadFrom,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// The credentials do not allow this. Grant the action.
    #[error("access denied to {action} on stream {stream:?}: grant it to this worker's role")]
    AccessDenied {
        /// The stream.
        stream: String,
        /// The action to grant, such as `kinesis:GetRecords`.
        action: &'static str,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// No credentials could be loaded, or the service refuses them. A start waits for them for a
    /// minute.
    #[error(
        "no valid credentials for stream {stream:?}: look at this worker's role and its environment"
    )]
    Credentials {
        /// The stream.
        stream: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// No source of credentials is configured, or its configuration is wrong. Correct it.
    #[error("no credentials are configured for stream {stream:?}: correct the SDK's configuration")]
    CredentialsNotConfigured {
        /// The stream.
        stream: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The service refused the signature. Set the machine's clock, or correct the secret key.
    #[error(
        "stream {stream:?} refused the signature: look at the machine's clock, and at the \
         secret key if the clock is right"
    )]
    Clock {
        /// The stream.
        stream: String,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// The service refused the request, or its answer cannot be read.
    #[error("stream {stream:?} refused the request")]
    Refused {
        /// The stream.
        stream: String,
        /// The service's error.
        #[source]
        source: BoxError,
    },
}

impl SourceError {
    /// Returns whether a retry may succeed without a change to the setup.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Expired
            | Self::Unavailable { .. }
            | Self::Incomplete { .. }
            | Self::EncodingRefused { .. }
            | Self::EndUnconfirmed { .. }
            | Self::PositionRefused { .. }
            | Self::Clock { .. } => true,
            Self::StreamMissing { .. }
            | Self::ShardMissing { .. }
            | Self::AccessDenied { .. }
            | Self::Credentials { .. }
            | Self::CredentialsNotConfigured { .. }
            | Self::Refused { .. } => false,
        }
    }
}
