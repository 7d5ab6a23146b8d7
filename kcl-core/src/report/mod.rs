//! What a worker reports: events, status, the log, and why it stopped.

pub mod event;
pub(crate) mod log;
mod run_error;
mod status;

/// Why a worker could not run, or an operation was refused.
pub mod error {
    pub use super::run_error::RunError;
    pub use crate::processor::CheckpointError;
}
