//! A step of the start: it is repeated until it succeeds or always will fail.

use std::time::Duration;

use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::worker::missing_watch::{BELIEVED_AFTER, MissingWatch};
use tokio::time::sleep;

use crate::BoxError;
use crate::backend::{LeaseStoreError, SourceError};
use crate::lease_side::lease_creation::CreationError;
use crate::lease_side::shared::Shared;
use crate::report::error::RunError;

/// Why a step failed.
pub(super) enum Failure {
    /// It always will.
    Fatal(RunError),
    /// It may succeed later.
    Transient(BoxError),
    /// Something is missing that may still come.
    Missing(Box<Missing>),
}

/// Something that is missing: the step fails with `error` if it stays missing for `limit`.
pub(super) struct Missing {
    pub(super) what: &'static str,
    pub(super) error: RunError,
    pub(super) limit: Duration,
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::Missing(Box::new(missing))
    }
}

impl From<LeaseStoreError> for Failure {
    fn from(error: LeaseStoreError) -> Self {
        let what = if matches!(error, LeaseStoreError::Credentials { .. }) {
            "credentials"
        } else if matches!(error, LeaseStoreError::Clock { .. }) {
            "clock"
        } else if matches!(error, LeaseStoreError::TableMissing { .. }) {
            "table" // It was found before, or has just been created.
        } else if error.is_retryable() {
            return Self::Transient(error.into());
        } else {
            return Self::Fatal(RunError::Leases(error));
        };
        Missing { what, error: RunError::Leases(error), limit: BELIEVED_AFTER }.into()
    }
}

impl From<CreationError> for Failure {
    fn from(error: CreationError) -> Self {
        match error {
            CreationError::ListTooOld => Self::Transient(error.into()),
            CreationError::Store(error) => error.into(),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let what = if matches!(error, SourceError::Credentials { .. }) {
            "credentials"
        } else if matches!(error, SourceError::Clock { .. }) {
            "clock"
        } else if matches!(error, SourceError::StreamMissing { .. }) {
            "stream" // It was described before.
        } else if error.is_retryable() {
            return Self::Transient(error.into());
        } else {
            return Self::Fatal(RunError::Stream(error));
        };
        Missing { what, error: RunError::Stream(error), limit: BELIEVED_AFTER }.into()
    }
}

/// Repeats a step until it succeeds or always will fail.
pub(super) async fn retry<T, F>(
    shared: &Shared,
    doing: &'static str,
    step: impl Fn() -> F + Send,
) -> Result<T, RunError>
where
    T: Send,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let mut attempt = 0;
    let mut watch = MissingWatch::default();
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Transient(error)) => {
                watch.found();
                error
            }
            Err(Failure::Missing(missing)) => {
                let Missing { what, error, limit } = *missing;
                if watch.is_believed(what, shared.clock.now(), limit) {
                    return Err(error);
                }
                error.into()
            }
        };
        attempt += 1;
        let retry_in = Backoff::STARTUP.jittered(attempt, shared.chance.draw());
        shared.events.call_failed(doing, &*error, Some(retry_in));
        sleep(retry_in).await;
    }
}
