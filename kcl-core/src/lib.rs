//! A Kinesis consumer framework: every record of a stream is processed at least once, in order
//! within its shard, while workers come, go, crash and stall and the stream is resharded.
//!
//! ```text
//!    your trait ──▶ RecordProcessor
//!                        ▲ batches
//!        data side       │ (your runtime)                   lease side (own thread, own runtime)
//!    RecordSource ──▶ consumer(shard) ◀── stop, deadline ── holder(lease) ──▶ LeaseStore
//!                        └──────────────── progress ──────────▶ scanner · presence · shard sync
//! ```
//!
//! This crate names no AWS SDK: `kcl-kinesis` reads records, `kcl-dynamo` stores leases, `kcl-local`
//! does both without an AWS account.
//!
//! Where things are: [`model`] is plain data, [`decide`] the rules as pure functions, [`engine`] the
//! tasks that ask, decide and act, [`config`] what you set, [`kpl`] aggregated records.

pub mod ack;
mod batch;
pub mod checkpointer;
pub mod clock;
pub mod config;
pub mod context;
pub mod dead_letter;
pub mod decide;
pub mod engine;
pub mod error;
pub mod event;
pub mod for_each;
pub mod for_stream;
pub mod kpl;
pub mod lease_store;
pub mod memory;
pub mod model;
mod partial_failure;
pub mod processor;
pub mod record_source;
mod telemetry;
#[cfg(feature = "test-util")]
pub mod testing;

pub use crate::ack::Ack;
pub use crate::batch::RecordBatch;
pub use crate::checkpointer::Checkpointer;
pub use crate::engine::{Worker, WorkerHandle};
pub use crate::for_each::for_each;
pub use crate::for_stream::for_stream;
pub use crate::memory::MemoryBudget;
pub use crate::model::Record;
pub use crate::partial_failure::PartialFailure;
pub use crate::processor::{ProcessorFactory, RecordProcessor};

/// An error of your own code, as the framework carries it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
