//! Calls of workers to the services, on their way.

use std::fmt;

use kcl_core::backend::{LeaseStoreError, LeaseWrite, SourceError, WriteKind};
use kcl_core::model::{LeaseKey, ShardId, WorkerId};
use tokio::sync::oneshot;

use crate::world::faults::Answer;
use crate::world::services::Services;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Prepare,
    Scan,
    /// A further page of a scan.
    ScanOn,
    Get(LeaseKey),
    Write(Box<LeaseWrite>),
    StreamStart,
    CreateStreamStart,
    MarkBootstrapped,
    PutPresence,
    DeletePresence(WorkerId),
    Describe,
    ListShards,
    Open(ShardId),
    Read(ShardId),
}

impl What {
    /// Whether the stream is asked, not the table.
    pub(crate) const fn is_of_records(&self) -> bool {
        match self {
            Self::Describe | Self::ListShards | Self::Open(_) | Self::Read(_) => true,
            Self::Prepare
            | Self::Scan
            | Self::ScanOn
            | Self::Get(_)
            | Self::Write(_)
            | Self::StreamStart
            | Self::CreateStreamStart
            | Self::MarkBootstrapped
            | Self::PutPresence
            | Self::DeletePresence(_) => false,
        }
    }
}

impl What {
    /// Which call it is, and for which shard or lease; none if the table's size, or the application's
    /// wish for checkpoints, bounds how often it is made.
    pub(crate) fn kind(&self) -> Option<(&'static str, &str)> {
        Some(match self {
            Self::ScanOn => return None,
            Self::Write(write) if matches!(write.kind, WriteKind::Renew { .. }) => return None,
            Self::Prepare => ("prepare", ""),
            Self::Scan => ("scan", ""),
            Self::Get(key) => ("get", key.as_str()),
            Self::Write(write) => ("write", write.key.as_str()),
            Self::StreamStart => ("stream start", ""),
            Self::CreateStreamStart => ("create stream start", ""),
            Self::MarkBootstrapped => ("mark bootstrapped", ""),
            Self::PutPresence => ("put presence", ""),
            Self::DeletePresence(worker) => ("delete presence", worker.as_str()),
            Self::Describe => ("describe", ""),
            Self::ListShards => ("list shards", ""),
            Self::Open(shard) => ("open", shard.as_str()),
            Self::Read(shard) => ("read", shard.as_str()),
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(write) => {
                write!(f, "write {} #{} {:?}", write.key, write.number, write.kind)
            }
            Self::Get(key) => write!(f, "get {key}"),
            Self::DeletePresence(worker) => write!(f, "delete presence of {worker}"),
            Self::Open(shard) => write!(f, "open {shard}"),
            Self::Read(shard) => write!(f, "read {shard}"),
            Self::Prepare
            | Self::Scan
            | Self::ScanOn
            | Self::StreamStart
            | Self::CreateStreamStart
            | Self::MarkBootstrapped
            | Self::PutPresence
            | Self::Describe
            | Self::ListShards => write!(f, "{self:?}"),
        }
    }
}

/// A call on its way.
pub(crate) trait Call: Send {
    fn what(&self) -> &What;
    /// Carries it out, once more if it was carried out before. Returns what it came to, in words.
    fn land(&mut self, services: &Services, stale: usize) -> String;
    /// Answers the caller, unless it has gone.
    fn answer(&mut self, answer: Answer);
}

impl fmt::Debug for dyn Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.what(), f)
    }
}

/// An error that a client makes up by itself.
pub(crate) trait ClientError: fmt::Debug + Send + Sized + 'static {
    fn unavailable() -> Self;
    fn throttled() -> Self;
    fn expired() -> Self;
    fn denied() -> Self;
}

impl ClientError for LeaseStoreError {
    fn unavailable() -> Self {
        Self::Unavailable { table: "simulated".to_owned(), source: "no answer in time".into() }
    }

    fn throttled() -> Self {
        Self::Throttled { table: "simulated".to_owned(), source: "too many calls".into() }
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
}

impl ClientError for SourceError {
    fn unavailable() -> Self {
        Self::Unavailable { stream: "simulated".to_owned(), source: "no answer in time".into() }
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
}

type Work<T, E> = Box<dyn FnMut(&Services, usize) -> Result<T, E> + Send>;

/// A call whose answer is a `T`.
pub(crate) struct TypedCall<T, E> {
    what: What,
    work: Work<T, E>,
    result: Option<Result<T, E>>,
    reply: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E> TypedCall<T, E> {
    pub(crate) fn new(
        what: What,
        work: impl FnMut(&Services, usize) -> Result<T, E> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Self { what, work: Box::new(work), result: None, reply: Some(reply) }, answer)
    }
}

impl<T: fmt::Debug + Send, E: ClientError> Call for TypedCall<T, E> {
    fn what(&self) -> &What {
        &self.what
    }

    fn land(&mut self, services: &Services, stale: usize) -> String {
        let result = (self.work)(services, stale);
        let said = match &result {
            Ok(answer) if services.tells => format!("{answer:?}"),
            Err(error) if services.tells => format!("{error:?}"),
            Ok(_) | Err(_) => String::new(),
        };
        self.result = Some(result);
        said
    }

    fn answer(&mut self, answer: Answer) {
        let Some(reply) = self.reply.take() else { return };
        let result = match answer {
            Answer::Result => self.result.take().unwrap_or_else(|| Err(E::unavailable())),
            Answer::Unavailable => Err(E::unavailable()),
            Answer::Throttled => Err(E::throttled()),
            Answer::Expired => Err(E::expired()),
            Answer::Denied => Err(E::denied()),
        };
        drop(reply.send(result)); // A caller that is gone does not want to know.
    }
}
