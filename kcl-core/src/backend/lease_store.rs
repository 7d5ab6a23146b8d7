//! Storage of leases: [`LeaseStore`] and its errors.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use kcl_proto::lease::session_write::SessionWrite;
use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::model::{
    Bulletin, Conditional, JavaRow, Lease, LeaseKey, Presence, Publication, Session, StreamName,
    StreamStart, UnreadableRow, WorkerId,
};
use thiserror::Error;

use crate::BoxError;
use crate::config::{InvalidSetting, LeaseConfig};

/// The most rows that one call of [`LeaseStore::rows`] reads.
///
/// Source: DynamoDB API reference, `BatchGetItem`.
pub const ROWS_MAX: usize = 100;

/// A table of leases, with the few other rows that a fleet needs.
///
/// # Contract
///
/// 1. [`write`](Self::write) is atomic per lease: its precondition and its effect
///    ([`LeaseWrite::precondition`], [`LeaseWrite::effect`]) are evaluated on one row at one
///    moment. So is [`write_session`](Self::write_session) for a worker's own row.
/// 2. A lost condition returns the row as it was found at that moment.
/// 3. [`get`](Self::get) and [`session`](Self::session) see every write that was answered before
///    they were called.
/// 4. [`scan`](Self::scan) is no snapshot; each row is one that once existed. An eventual one may
///    be stale; a consistent one sees, in each page, every write that was answered before. The same
///    holds for [`rows`](Self::rows).
/// 5. An `Err` says that the outcome is unknown: the write may have been made, or may still be.
///    [`LeaseStoreError::Throttled`] is the exception: the write was not made, and will not be.
/// 6. Attributes and rows that the library does not know are kept.
/// 7. [`publish`](Self::publish) is atomic for the row of the stream, and so is
///    [`ring`](Self::ring).
/// 8. Every call ends within a bounded time of the store's own choosing.
///
/// `kcl_core::testing::lease_store` (feature `test-util`) checks all of it but 8.
#[async_trait]
pub trait LeaseStore: fmt::Debug + Send + Sync + 'static {
    /// Returns the store's own settings that cannot work, alone or with those of the leases.
    /// [`WorkerBuilder::build`] reports them with all others.
    ///
    /// [`WorkerBuilder::build`]: crate::WorkerBuilder::build
    fn validate(&self, leases: &LeaseConfig) -> Vec<InvalidSetting> {
        let _ = leases;
        Vec::new()
    }

    /// Checks that the table exists and has the right key; creates it if the store is set up to.
    /// Called first, until it succeeds: an error that [is retryable] means "not yet".
    ///
    /// [is retryable]: LeaseStoreError::is_retryable
    async fn prepare(&self) -> Result<(), LeaseStoreError>;

    /// Reads a page of the table: the first one, or the one that `from` names.
    async fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
    ) -> Result<Page, LeaseStoreError>;

    /// Reads the rows of these keys, of any kind. Those that do not exist are left out, and so are
    /// those that could not be read right now: the page has no next one. A key that occurs twice
    /// counts once; more than [`ROWS_MAX`] are [refused](LeaseStoreError::Refused).
    async fn rows(&self, keys: &[String], reading: Reading) -> Result<Page, LeaseStoreError>;

    /// Reads one lease, consistently.
    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError>;

    /// Makes a write if its precondition holds.
    async fn write(&self, write: &LeaseWrite) -> Result<Conditional, LeaseStoreError>;

    /// Reads where the application began to consume a stream, consistently.
    async fn stream_start(
        &self,
        stream: &StreamName,
    ) -> Result<Option<StreamStart>, LeaseStoreError>;

    /// Stores where the application begins, with an empty bulletin, unless that is stored already.
    /// Returns what is stored.
    async fn create_stream_start(
        &self,
        start: &StreamStart,
    ) -> Result<StreamStart, LeaseStoreError>;

    /// Stores that all first leases of a stream exist.
    async fn mark_bootstrapped(&self, stream: &StreamName) -> Result<(), LeaseStoreError>;

    /// Publishes a bulletin in the row of a stream. Returns the bulletin as it is then; `None` if
    /// another one or another copy of this one was published first, or if the stream has no row.
    async fn publish(
        &self,
        stream: &StreamName,
        publication: &Publication,
    ) -> Result<Option<Bulletin>, LeaseStoreError>;

    /// Adds news to the bulletin of a stream. If the stream has no row, this has no effect.
    async fn ring(
        &self,
        stream: &StreamName,
        news: &BTreeSet<String>,
    ) -> Result<(), LeaseStoreError>;

    /// Reads the row of one worker, consistently.
    async fn session(&self, worker: &WorkerId) -> Result<Option<Session>, LeaseStoreError>;

    /// Makes a write to a worker's own row if its precondition holds.
    async fn write_session(
        &self,
        write: &SessionWrite,
    ) -> Result<Conditional<Session>, LeaseStoreError>;

    /// Writes the own row of a worker whose leases live by their counters, whatever is there.
    async fn put_presence(&self, presence: &Presence) -> Result<(), LeaseStoreError>;

    /// Deletes such a row, if it exists and, unless `beat` is `None`, still has this
    /// [heartbeat](Presence::beat). A session stays: [`write_session`](Self::write_session) buries
    /// it.
    async fn delete_presence(
        &self,
        worker: &WorkerId,
        beat: Option<u64>,
    ) -> Result<(), LeaseStoreError>;
}

/// How fresh a scan must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the two that DynamoDB has")]
pub enum Reading {
    /// Rows may be stale, by a second or so. It costs half.
    Eventual,
    /// Every write that was answered before is included.
    Consistent,
}

/// Where the next page of a scan begins. Opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(pub String);

/// A part of the table.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// Leases.
    pub leases: Vec<Lease>,
    /// The own rows of this library's workers.
    pub sessions: Vec<Session>,
    /// Where the application began to consume streams.
    pub stream_starts: Vec<StreamStart>,
    /// Rows of the Java KCL that are not leases. The library keeps them, and reads them only to see
    /// whether Java workers are alive.
    pub java: Vec<JavaRow>,
    /// Rows that neither this library nor the Java KCL writes. The library keeps and reports them.
    pub unreadable: Vec<UnreadableRow>,
    /// The cost of the read in DynamoDB read units; 0 if the store does not count them.
    pub read_units: f64,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<PageToken>,
}

/// Why a call to a lease store failed. Whether it took effect is unknown, unless it was
/// [`Throttled`](Self::Throttled).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LeaseStoreError {
    /// The store limits the rate of calls. The call had no effect, and none of its copies will have
    /// one. Retry later; if it lasts, raise the table's capacity.
    #[error("lease table {table:?} is throttled: raise its capacity, or bill it by request")]
    Throttled {
        /// The table.
        table: String,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// The store could not be reached, did not answer in time, or failed. Retry later.
    #[error(
        "lease table {table:?} did not answer: look at the network and the endpoint if it lasts"
    )]
    Unavailable {
        /// The table.
        table: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The table does not exist. Create it, or let the store create it.
    #[error(
        "lease table {table:?} does not exist: create it with the string hash key \"leaseKey\", \
         or allow its creation"
    )]
    TableMissing {
        /// The table.
        table: String,
    },
    /// The table is being created, changed or deleted. Retry later.
    #[error("lease table {table:?} is {status}, not ready")]
    TableNotReady {
        /// The table.
        table: String,
        /// The service's name for its state.
        status: String,
    },
    /// The table is not a lease table. Name another one.
    #[error(
        "table {table:?} is not a lease table: its key is {found}, not the string hash key \
         \"leaseKey\" alone; name another table"
    )]
    WrongKey {
        /// The table.
        table: String,
        /// The key it has.
        found: String,
    },
    /// The table is replicated to other regions. Conditional writes hold within one region only, so
    /// workers of two regions would hold the same lease.
    #[error(
        "lease table {table:?} has replicas in {regions}, and its writes are conditional within \
         one region only: use a table without replicas, or set one_region if all workers run in \
         one region"
    )]
    Replicated {
        /// The table.
        table: String,
        /// The regions, separated by commas.
        regions: String,
    },
    /// The credentials do not allow this. Grant the action.
    #[error("access denied to {action} on lease table {table:?}: grant it to this worker's role")]
    AccessDenied {
        /// The table.
        table: String,
        /// The action to grant, such as `dynamodb:UpdateItem`.
        action: &'static str,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// No credentials could be loaded, or the service refuses them. A start waits for them for a
    /// minute.
    #[error(
        "no valid credentials for lease table {table:?}: look at this worker's role and its \
         environment"
    )]
    Credentials {
        /// The table.
        table: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// No source of credentials is configured, or its configuration is wrong. Correct it.
    #[error(
        "no credentials are configured for lease table {table:?}: correct the SDK's configuration"
    )]
    CredentialsNotConfigured {
        /// The table.
        table: String,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The service refused the signature. Set the machine's clock, or correct the secret key.
    #[error(
        "lease table {table:?} refused the signature: look at the machine's clock, and at the \
         secret key if the clock is right"
    )]
    Clock {
        /// The table.
        table: String,
        /// The service's error.
        #[source]
        source: BoxError,
    },
    /// A row cannot be read. Correct or delete it.
    #[error("row {key:?} of lease table {table:?} is unreadable: {problem}")]
    Unreadable {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// What is wrong with it, the attribute named.
        problem: String,
    },
    /// The service refused the request. A bug in this library, or a setting out of its range.
    #[error("lease table {table:?} refused the request")]
    Refused {
        /// The table.
        table: String,
        /// The service's error.
        #[source]
        source: BoxError,
    },
}

impl LeaseStoreError {
    /// Returns whether the store had no capacity for the call, which slower calls would mend.
    #[must_use]
    pub const fn is_throttled(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// Returns whether a retry may succeed without a change to the setup.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::TableNotReady { .. }
            | Self::Clock { .. } => true,
            Self::TableMissing { .. }
            | Self::WrongKey { .. }
            | Self::Replicated { .. }
            | Self::AccessDenied { .. }
            | Self::Credentials { .. }
            | Self::CredentialsNotConfigured { .. }
            | Self::Unreadable { .. }
            | Self::Refused { .. } => false,
        }
    }
}
