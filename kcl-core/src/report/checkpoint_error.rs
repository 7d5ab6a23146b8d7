//! Why a checkpoint was not stored: [`CheckpointError`].

use kcl_proto::model::Position;
use thiserror::Error;

/// Why a checkpoint was not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// This worker no longer holds the lease. Stop: the next owner receives these records again.
    #[error("lease is no longer held by this worker")]
    LeaseLost,
    /// The position was never delivered to this processor, or lies before the last checkpoint. This
    /// is a bug in the caller.
    #[error("position {position} is outside what was delivered since the last checkpoint")]
    OutOfRange {
        /// The position.
        position: Position,
    },
    /// The state does not fit into a lease's row. Store it elsewhere, and prepare its key.
    #[error(
        "state of {bytes} bytes is too large for a lease (at most {max}): store it elsewhere and \
         prepare its key"
    )]
    StateTooLarge {
        /// The size of the state.
        bytes: usize,
        /// The largest size allowed.
        max: usize,
    },
}
