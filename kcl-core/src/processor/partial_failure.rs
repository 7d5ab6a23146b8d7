//! An error that names the records it is about: [`PartialFailure`].

use kcl_proto::model::Position;
use thiserror::Error;

use crate::BoxError;

/// Some records of a batch failed, and those before them are done.
///
/// Return it from [`process_records`](crate::RecordProcessor::process_records): **the records before
/// the first one that is named are done** and do not come again. That one and *all* after it come
/// again in order, whether they are named or not, since nothing may be skipped. Where the
/// [policy](crate::config::FailurePolicy) gives records up, the first one named is given up alone, and
/// the batch is not searched for it.
///
/// Positions that are not in the batch are ignored. If none is left, the whole batch failed.
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
    /// The records at these positions failed, for this reason.
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

/// The positions that an error or one of its causes names.
pub(crate) fn named<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a [Position] {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain
        .find_map(|error| error.downcast_ref::<PartialFailure>())
        .map_or(&[], PartialFailure::failed)
}
