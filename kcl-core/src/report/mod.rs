//! What a worker reports: events, status, the log, and why it stopped.

mod checkpoint_error;
pub mod event;
#[cfg(test)]
mod event_tests;
mod event_text;
pub(crate) mod log;
mod run_error;
mod status;

/// Why a worker stopped, or a checkpoint was not stored.
pub mod error {
    pub use super::checkpoint_error::CheckpointError;
    pub use super::run_error::{RunError, RunErrorKind};
}
