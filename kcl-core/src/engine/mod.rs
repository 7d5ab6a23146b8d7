//! The tasks. The only folder that spawns, sleeps and selects; it holds no rules.
//!
//! ```text
//!  lease side: own thread, own runtime             data side: the application's runtime
//!
//!  start ─▶ scanner ──scan──▶ decide::balance        consumer(shard) ── fetch ──▶ RecordSource
//!             │  ├─ take ──▶ holder(lease) ──grant──▶      │
//!             │  ├─ asker(lease)   │ deadline, order ──▶ guard ── delivery ──▶ RecordProcessor
//!             │  └─ shard sync     │ ◀── progress, checkpoint, ended, drained ──┘
//!             └─ presence          ▼
//!                              decide::holding ──writes──▶ LeaseStore
//! ```
//!
//! Tasks share nothing that changes: they own their state and send messages. Every channel is bounded.

mod asker;
mod attempt;
mod attend;
mod batch;
mod builder;
mod children;
mod consumer;
#[cfg(test)]
mod consumer_tests;
mod data_side;
mod delivery;
pub(crate) mod desk;
mod erase;
mod expand;
pub(crate) mod feed;
mod fetch;
mod guard;
mod holder;
mod holders;
pub(crate) mod lanes;
mod lease_side;
pub(crate) mod link;
mod presence;
mod refusal;
mod requests;
mod rests;
mod scan;
mod scanner;
mod shard_sync;
mod side;
mod start;
mod status;
mod supervisor;
mod take;
mod timer;
mod view;
mod worker;

pub use builder::WorkerBuilder;
pub use status::{HeldShard, ShardReport, ShutdownReport, SlowCall, WorkerState, WorkerStatus};
pub use worker::{Worker, WorkerHandle};
