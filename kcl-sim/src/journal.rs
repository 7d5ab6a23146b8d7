//! What a worker and its processors do, as they do it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::{Checkpoint, PendingCheckpoint, Position, ShardId};
use kcl_core::processor::ShardInfo;
use tokio::time::Instant;

/// Something that happens within a worker. Those that name an ownership happen under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The engine emits an event.
    Event(Event),
    /// A processor is created.
    Made {
        of: Ownership,
        /// The checkpoint from which the ownership reads.
        resume: Checkpoint,
        /// The prepared checkpoint that the processor gets to see.
        pending: Option<PendingCheckpoint>,
    },
    /// A processor asks for a checkpoint up to and including `position`.
    Asked { of: Ownership, position: Position },
    /// A processor is dropped.
    Gone { of: Ownership },
    /// A batch is delivered to a processor.
    Delivered {
        of: Ownership,
        /// The records, in their order in the batch.
        records: Vec<Position>,
        /// Their data.
        data: Vec<Bytes>,
        /// How often the batch has been delivered, this time included.
        attempt: u32,
    },
    /// A processor's future is polled.
    Polled { of: Ownership },
    /// A call of a processor returns.
    Returned { of: Ownership },
    /// The future of a call is dropped before it returns.
    Dropped { of: Ownership },
    /// A processor returns `Ok` for the last batch.
    Processed { of: Ownership },
    /// A processor returns while acknowledgements are outstanding.
    Detached { of: Ownership },
    /// A processor that works on one record per key at a time begins a record.
    Begun { of: Ownership, record: Position },
    /// A single record is done.
    Done { of: Ownership, record: Position },
    /// The dead letter store has stored a record.
    Stored { shard: ShardId, record: Position },
    /// Another method of the processor is called.
    Called { of: Ownership, call: &'static str },
}

/// A worker's ownership of a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Ownership {
    /// The shard.
    pub shard: ShardId,
    /// Its fencing token.
    pub token: u64,
}

impl Ownership {
    /// The ownership under which a processor works on a shard.
    pub(crate) fn of(shard: &ShardInfo) -> Self {
        Self { shard: shard.shard_id.clone(), token: shard.token.get() }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.shard, self.token)
    }
}

impl Entry {
    /// Whether a trace has a line for it.
    pub(crate) const fn is_traced(&self) -> bool {
        !matches!(self, Self::Polled { .. } | Self::Returned { .. } | Self::Dropped { .. })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Made { of, resume, pending: None } => write!(f, "made {of} after {resume:?}"),
            Self::Made { of, resume, pending: Some(pending) } => {
                write!(f, "made {of} after {resume:?}, pending {:?}", pending.checkpoint)
            }
            Self::Asked { of, position } => write!(f, "asked {of} for {position}"),
            Self::Gone { of } => write!(f, "dropped {of}"),
            Self::Delivered { of, records, attempt, .. } => {
                write!(f, "delivered {of} #{attempt}: {} records", records.len())?;
                match (records.first(), records.last()) {
                    (Some(first), Some(last)) => write!(f, " {first} to {last}"),
                    _ => Ok(()),
                }
            }
            Self::Polled { of } => write!(f, "polled {of}"),
            Self::Returned { of } => write!(f, "returned {of}"),
            Self::Dropped { of } => write!(f, "dropped a call of {of}"),
            Self::Processed { of } => write!(f, "processed {of}"),
            Self::Detached { of } => write!(f, "detached {of}"),
            Self::Begun { of, record } => write!(f, "begun {of} {record}"),
            Self::Done { of, record } => write!(f, "done {of} {record}"),
            Self::Stored { shard, record } => write!(f, "stored {shard} {record}"),
            Self::Called { of, call } => write!(f, "called {of} {call}"),
        }
    }
}

/// One worker's journal. Clones are the same journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Filled by the worker, emptied by the world between two of its steps.
    entries: Mutex<Vec<(Instant, Entry)>>,
    is_closed: AtomicBool,
}

impl Journal {
    pub(crate) fn log(&self, entry: Entry) {
        if !self.shared.is_closed.load(Ordering::Relaxed) {
            self.entries().push((Instant::now(), entry));
        }
    }

    /// Logs that a processor asks for a checkpoint up to and including `position`.
    pub(crate) fn asked(&self, shard: &ShardInfo, position: Position) {
        self.log(Entry::Asked { of: Ownership::of(shard), position });
    }

    /// Removes and returns the entries, and when each was logged.
    pub(crate) fn take(&self) -> Vec<(Instant, Entry)> {
        std::mem::take(&mut self.entries())
    }

    /// Drops all further entries: a killed process logs none from its destructors.
    pub(crate) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<(Instant, Entry)>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Journal {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.log(Entry::Event(event.clone()));
    }
}
