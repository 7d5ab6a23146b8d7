//! An error that names the records that failed: [`PartialFailure`].

use kcl_proto::model::Position;
use thiserror::Error;

use crate::BoxError;

/// An error of [`process_records`](crate::RecordProcessor::process_records) that names the records
/// that failed.
///
/// **The records before the first named one are done.** That one and *all* records after it, named
/// or not, are delivered again in order, because no record may be skipped. Where the
/// [policy](crate::config::FailurePolicy) abandons records, it abandons the first named one alone,
/// without searching the batch.
///
/// Positions outside the batch are ignored. Without any other, the whole batch failed.
///
/// # Examples
/// ```
/// use kcl_core::{BoxError, PartialFailure, RecordBatch};
///
/// # fn store(_: &kcl_core::Record) -> Result<(), BoxError> { Ok(()) }
/// fn process(batch: &RecordBatch) -> Result<(), BoxError> {
///     for record in batch {
///         store(record).map_err(|error| PartialFailure::new([record.position], error))?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Error)]
#[error("{} of the batch's records failed", .failed.len())]
pub struct PartialFailure {
    failed: Vec<Position>,
    source: BoxError,
}

impl PartialFailure {
    /// Returns an error for the records at the positions `failed`.
    #[must_use]
    pub fn new(failed: impl IntoIterator<Item = Position>, source: impl Into<BoxError>) -> Self {
        Self { failed: failed.into_iter().collect(), source: source.into() }
    }

    /// The positions of the records that failed.
    #[must_use]
    pub fn failed(&self) -> &[Position] {
        &self.failed
    }
}

/// The positions that a [`PartialFailure`] among the error and its causes names.
pub(crate) fn named<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a [Position] {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .find_map(|error| error.downcast_ref::<PartialFailure>())
        .map_or(&[], PartialFailure::failed)
}
