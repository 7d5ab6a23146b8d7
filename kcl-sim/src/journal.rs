//! What a worker and its processors say while they run.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kcl_core::event::{Event, EventContext, Observer};
use kcl_core::model::{Checkpoint, PendingCheckpoint, Position, ShardId};
use kcl_core::processor::ShardInfo;
use tokio::time::Instant;

use crate::processor::ownership;
use crate::world::port::Port;

/// Something that happened within a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The engine said so.
    Event(Event),
    /// A processor came to life.
    Made {
        /// For which ownership.
        of: Ownership,
        /// Where the ownership began to read.
        resume: Checkpoint,
        /// What it is told that somebody prepared.
        pending: Option<PendingCheckpoint>,
    },
    /// A processor asks for a checkpoint.
    Asked {
        /// For which ownership.
        of: Ownership,
        /// Up to and with which record.
        position: Position,
    },
    /// A processor was dropped.
    Gone {
        /// For which ownership.
        of: Ownership,
    },
    /// Records were handed over.
    Delivered {
        /// For which ownership.
        of: Ownership,
        /// Which records, in the order in which they came.
        records: Vec<Position>,
        /// Their data.
        data: Vec<Bytes>,
        /// How often they have been handed over, with this time.
        attempt: u32,
    },
    /// A processor's future was polled.
    Polled {
        /// For which ownership.
        of: Ownership,
    },
    /// A call of a processor returned.
    Returned {
        /// For which ownership.
        of: Ownership,
    },
    /// The future of a processor's call was dropped before it returned.
    Dropped {
        /// For which ownership.
        of: Ownership,
    },
    /// A processor returned `Ok` for all that was handed over last.
    Processed {
        /// For which ownership.
        of: Ownership,
    },
    /// A processor returned while acknowledgements were outstanding.
    Detached {
        /// For which ownership.
        of: Ownership,
    },
    /// A single record is begun, by a processor that works on one at a time for each key.
    Begun {
        /// For which ownership.
        of: Ownership,
        /// Which record.
        record: Position,
    },
    /// A single record is done.
    Done {
        /// For which ownership.
        of: Ownership,
        /// Which record.
        record: Position,
    },
    /// The dead letter stored a record.
    Stored {
        /// Of which shard.
        shard: ShardId,
        /// Which record.
        record: Position,
    },
    /// Another call of the processor.
    Called {
        /// For which ownership.
        of: Ownership,
        /// Which call.
        call: &'static str,
    },
}

/// One ownership of one shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Ownership {
    /// The shard.
    pub shard: ShardId,
    /// Its fencing token.
    pub token: u64,
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.shard, self.token)
    }
}

impl Said {
    /// Whether traces have a line for it.
    pub(crate) const fn is_traced(&self) -> bool {
        !matches!(self, Self::Polled { .. } | Self::Returned { .. } | Self::Dropped { .. })
    }
}

impl fmt::Display for Said {
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
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    /// Filled by the worker, emptied by the world between two of its steps.
    said: Arc<Mutex<Vec<(Instant, Said)>>>,
    port: Port,
}

impl Journal {
    pub(crate) fn new(port: Port) -> Self {
        Self { said: Arc::default(), port }
    }

    pub(crate) fn say(&self, said: Said) {
        if !self.port.is_cut() {
            let entry = (Instant::now(), said);
            self.said.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
    }

    /// A processor asks for a checkpoint up to and with a record.
    pub(crate) fn asked(&self, shard: &ShardInfo, position: Position) {
        self.say(Said::Asked { of: ownership(shard), position });
    }

    /// Takes what was said, and when.
    pub(crate) fn take(&self) -> Vec<(Instant, Said)> {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Journal {
    fn on_event(&self, event: &Event, _: &EventContext) {
        self.say(Said::Event(event.clone()));
    }
}
