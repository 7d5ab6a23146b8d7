//! The engine of the Kinesis consumer framework, and the traits that processors and backends
//! implement.
//!
//! Every record of a stream is processed at least once, in order within its shard, while workers
//! come, go, crash and stall and the stream is resharded.
//!
//! ```text
//!    your trait ──▶ RecordProcessor
//!                        ▲ batches
//!        data side       │ (your runtime)                   lease side (own thread, own runtime)
//!    RecordSource ──▶ consumer(shard) ◀── stop, deadline ── holder(lease) ──▶ LeaseStore
//!                        └──────────────── progress ──────────▶ main loop · presence · housekeeping
//! ```
//!
//! Applications use the crate `kinesis-consumer`, which re-exports this one. This crate names no
//! AWS SDK: `kcl-kinesis` reads records, `kcl-dynamo` stores leases, and `kcl-sim` does both in
//! memory.

mod data_side;
mod lease_side;
mod memory;
mod messages;
mod report;
mod retention;
mod settle;
mod tasks;
mod worker;

pub mod backend;
pub mod config;
pub mod metrics;
pub mod processor;
#[cfg(feature = "test-util")]
pub mod testing;

pub use kcl_proto::{kpl, model};

pub use crate::memory::MemoryBudget;
pub use crate::processor::{
    Ack, Checkpointer, PartialFailure, ProcessorFactory, RecordBatch, RecordProcessor,
    ShardContext, for_each, for_stream,
};
pub use crate::report::{error, event};
pub use crate::settle::settle;
pub use crate::worker::{Worker, WorkerBuilder, WorkerHandle};
pub use kcl_proto::model::Record;

/// An error of your own code, as the framework carries it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
