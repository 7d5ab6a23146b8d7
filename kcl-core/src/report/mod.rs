//! What a worker reports: events, status, the log, and why it stopped.

mod checkpoint_error;
pub(crate) mod delivery;
pub mod event;
mod event_context;
mod event_queue;
mod event_severity;
#[cfg(test)]
mod event_tests;
mod event_text;
pub(crate) mod events;
#[cfg(test)]
mod events_tests;
mod failures;
pub(crate) mod log;
pub(crate) mod origin;
mod run_error;
mod severity;
mod status;

/// Why a worker stopped, a checkpoint was not stored, or a table was not settled.
pub mod error {
    pub use super::checkpoint_error::CheckpointError;
    pub use super::run_error::{RunError, RunErrorKind};
    pub use crate::settle::SettleError;
}
