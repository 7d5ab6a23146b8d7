//! A worker's call on its way to the table or the stream.

use std::fmt;

use kcl_core::backend::{
    LeaseStoreError, LeaseWrite, PageToken, Publication, Reading, SessionWrite, SourceError,
    WriteKind,
};
use kcl_core::model::{Lease, LeaseKey, ShardId, WorkerId};
use tokio::sync::oneshot;

use super::stream::STREAM;
use super::weather::Answer;
use crate::memory::{MemoryLeaseStore, MemoryStream};

/// What a call asks for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Prepare,
    Scan(Reading),
    /// A further page of a scan.
    ScanOn(PageToken, Reading),
    /// A batch read of these rows.
    Rows(Vec<String>, Reading),
    Get(LeaseKey),
    Write(Box<LeaseWrite>),
    StreamStart,
    CreateStreamStart,
    MarkBootstrapped,
    Publish(Box<Publication>),
    /// A ring with this many news.
    Ring(usize),
    PutPresence {
        worker: WorkerId,
        is_leaving: bool,
    },
    DeletePresence(WorkerId),
    Session(WorkerId),
    WriteSession(Box<SessionWrite>),
    Describe,
    ListShards,
    Open(ShardId),
    Read(ShardId),
    /// Whether something was pushed.
    Await(ShardId),
    /// The event that was pushed.
    Event(ShardId),
}

impl Request {
    /// Whether the call goes to the stream, not the table.
    pub(crate) const fn is_to_stream(&self) -> bool {
        match self {
            Self::Describe
            | Self::ListShards
            | Self::Open(_)
            | Self::Read(_)
            | Self::Await(_)
            | Self::Event(_) => true,
            Self::Prepare
            | Self::Scan(_)
            | Self::ScanOn(..)
            | Self::Rows(..)
            | Self::Get(_)
            | Self::Write(_)
            | Self::StreamStart
            | Self::CreateStreamStart
            | Self::MarkBootstrapped
            | Self::Publish(_)
            | Self::Ring(_)
            | Self::PutPresence { .. }
            | Self::DeletePresence(_)
            | Self::Session(_)
            | Self::WriteSession(_) => false,
        }
    }

    /// Whether the call reads a page of a scan.
    pub(crate) const fn is_scan(&self) -> bool {
        matches!(self, Self::Scan(_) | Self::ScanOn(..))
    }

    /// Whether the call reads many rows, which may be stale.
    pub(crate) const fn reads_many(&self) -> bool {
        self.is_scan() || matches!(self, Self::Rows(..))
    }

    /// Whether a service may answer once that what the call names does not exist.
    pub(crate) const fn may_miss(&self) -> bool {
        let reads = matches!(self, Self::Read(_) | Self::Await(_) | Self::Event(_));
        !reads && !matches!(self, Self::Prepare | Self::Open(_))
    }

    /// Whether the result is too long for a trace.
    pub(crate) const fn has_long_result(&self) -> bool {
        self.reads_many()
            || matches!(self, Self::ListShards | Self::Read(_) | Self::Await(_) | Self::Event(_))
    }

    /// The kind of call, and the shard, lease or first row that it names. `None` if the size of the
    /// table, or how often the application checkpoints, bounds the number of such calls.
    pub(crate) fn kind(&self) -> Option<(&'static str, &str)> {
        Some(match self {
            Self::ScanOn(..) => return None,
            Self::Write(write) if matches!(write.kind, WriteKind::Renew { .. }) => return None,
            Self::Prepare => ("prepare", ""),
            Self::Scan(_) => ("scan", ""),
            Self::Rows(keys, _) => ("rows", keys.first().map_or("", String::as_str)),
            Self::Get(key) => ("get", key.as_str()),
            Self::Write(write) => ("write", write.key.as_str()),
            Self::StreamStart => ("stream start", ""),
            Self::CreateStreamStart => ("create stream start", ""),
            Self::MarkBootstrapped => ("mark bootstrapped", ""),
            Self::Publish(_) => ("publish", ""),
            Self::Ring(_) => ("ring", ""),
            Self::PutPresence { .. } => ("put presence", ""),
            Self::DeletePresence(worker) => ("delete presence", worker.as_str()),
            Self::Session(worker) => ("read a session", worker.as_str()),
            Self::WriteSession(write) => ("write a session", write.session.as_str()),
            Self::Describe => ("describe", ""),
            Self::ListShards => ("list shards", ""),
            Self::Open(shard) => ("open", shard.as_str()),
            Self::Read(shard) => ("read", shard.as_str()),
            Self::Await(shard) => ("await", shard.as_str()),
            Self::Event(shard) => ("event", shard.as_str()),
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(write) => {
                write!(f, "write {} #{} {:?}", write.key, write.number, write.kind)
            }
            Self::Get(key) => write!(f, "get {key}"),
            Self::Rows(keys, _) => write!(f, "read rows {}", keys.join(" ")),
            Self::Publish(publication) => {
                write!(f, "publish #{} {:?}", publication.number, publication.moves)
            }
            Self::Ring(news) => write!(f, "ring with {news} news"),
            Self::DeletePresence(worker) => write!(f, "delete presence of {worker}"),
            Self::Session(worker) => write!(f, "read session of {worker}"),
            Self::WriteSession(write) => {
                write!(f, "write session of {} {:?}", write.session, write.kind)
            }
            Self::Open(shard) => write!(f, "open {shard}"),
            Self::Read(shard) => write!(f, "read {shard}"),
            Self::Await(shard) => write!(f, "await {shard}"),
            Self::Event(shard) => write!(f, "event of {shard}"),
            Self::PutPresence { is_leaving: false, .. } => f.write_str("PutPresence"),
            Self::PutPresence { is_leaving: true, .. } => f.write_str("PutPresence, leaving"),
            Self::Scan(_) => f.write_str("Scan"),
            Self::ScanOn(..) => f.write_str("ScanOn"),
            Self::Prepare
            | Self::StreamStart
            | Self::CreateStreamStart
            | Self::MarkBootstrapped
            | Self::Describe
            | Self::ListShards => write!(f, "{self:?}"),
        }
    }
}

/// Whether a write that has changed nothing is a take that was lost.
pub(crate) fn is_lost_take(write: &LeaseWrite, row: Option<&Lease>) -> bool {
    matches!(write.kind, WriteKind::Take { .. }) && !row.is_some_and(|row| write.made(row))
}

/// What a call acts on when it lands.
pub(crate) struct Services<'a> {
    pub(crate) stream: &'a MemoryStream,
    pub(crate) table: &'a MemoryLeaseStore,
    /// How many of the last writes an eventual scan or batch read does not see.
    pub(crate) stale: usize,
    /// How many of its rows a batch read leaves out.
    pub(crate) unread: usize,
}

/// A call on its way.
pub(crate) trait Call: Send {
    fn request(&self) -> &Request;
    /// Performs the call on the services; again if it has landed before.
    fn land(&mut self, services: &Services<'_>);
    /// The result of the last landing, for a trace.
    fn result(&self) -> String;
    /// Answers the caller, unless it is gone.
    fn answer(&mut self, answer: Answer);
    /// Whether the caller waits for the answer.
    fn is_awaited(&self) -> bool;
}

impl fmt::Debug for dyn Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.request(), f)
    }
}

/// An error that a client returns by itself.
pub(crate) trait ClientError: fmt::Debug + Send + Sized + 'static {
    fn unavailable() -> Self;
    fn throttled() -> Self;
    fn expired() -> Self;
    fn denied() -> Self;
    fn no_credentials() -> Self;
    fn not_found() -> Self;
}

impl ClientError for LeaseStoreError {
    fn unavailable() -> Self {
        Self::Unavailable { table: STREAM.to_owned(), source: "no answer in time".into() }
    }

    fn throttled() -> Self {
        Self::Throttled { table: STREAM.to_owned(), source: "too many calls".into() }
    }

    fn expired() -> Self {
        Self::unavailable()
    }

    fn denied() -> Self {
        Self::AccessDenied {
            table: "simulated".to_owned(),
            action: "dynamodb:UpdateItem",
            source: "no permission".into(),
        }
    }

    fn no_credentials() -> Self {
        Self::Credentials { table: STREAM.to_owned(), source: "they take long".into() }
    }

    fn not_found() -> Self {
        Self::TableMissing { table: STREAM.to_owned() }
    }
}

impl ClientError for SourceError {
    fn unavailable() -> Self {
        Self::Unavailable { stream: STREAM.to_owned(), source: "no answer in time".into() }
    }

    fn throttled() -> Self {
        Self::Throttled { source: "too many calls".into() }
    }

    fn expired() -> Self {
        Self::Expired
    }

    fn denied() -> Self {
        Self::AccessDenied {
            stream: "simulated".to_owned(),
            action: "kinesis:GetRecords",
            source: "no permission".into(),
        }
    }

    fn no_credentials() -> Self {
        Self::Credentials { stream: STREAM.to_owned(), source: "they take long".into() }
    }

    fn not_found() -> Self {
        Self::StreamMissing { stream: STREAM.to_owned() }
    }
}

type Work<T, E> = Box<dyn FnMut(&Services<'_>) -> Result<T, E> + Send>;

/// A call whose answer is a `T`.
pub(crate) struct TypedCall<T, E> {
    request: Request,
    work: Work<T, E>,
    result: Option<Result<T, E>>,
    reply: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E> TypedCall<T, E> {
    pub(crate) fn new(
        request: Request,
        work: impl FnMut(&Services<'_>) -> Result<T, E> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Self { request, work: Box::new(work), result: None, reply: Some(reply) }, answer)
    }
}

impl<T: fmt::Debug + Send, E: ClientError> Call for TypedCall<T, E> {
    fn request(&self) -> &Request {
        &self.request
    }

    fn land(&mut self, services: &Services<'_>) {
        self.result = Some((self.work)(services));
    }

    fn result(&self) -> String {
        match &self.result {
            Some(Ok(answer)) => format!("{answer:?}"),
            Some(Err(error)) => format!("{error:?}"),
            None => String::new(),
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Some(reply) = self.reply.take() else { return };
        let result = match answer {
            Answer::Result => self.result.take().unwrap_or_else(|| Err(E::unavailable())),
            Answer::Unavailable => Err(E::unavailable()),
            Answer::Throttled => Err(E::throttled()),
            Answer::Expired => Err(E::expired()),
            Answer::Denied => Err(E::denied()),
            Answer::NoCredentials => Err(E::no_credentials()),
            Answer::NotFound => Err(E::not_found()),
        };
        drop(reply.send(result)); // The caller may be gone.
    }

    fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}
