//! SDK error → [`LeaseStoreError`]: one table, with a comment per AWS code.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use kcl_aws::{Attempts, CodeKind, CredentialsFault};
use kcl_core::BoxError;
use kcl_core::backend::LeaseStoreError;

/// Converts the error of a call of `action` (such as `dynamodb:Scan`) on `table`.
pub(crate) fn lease_store_error<E>(
    table: &str,
    action: &'static str,
    error: SdkError<E, HttpResponse>,
) -> LeaseStoreError
where
    E: Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
{
    let table = table.to_owned();
    if let SdkError::ServiceError(answer) = &error {
        return refusal(table, action, answer.raw().status().as_u16(), Answer::of(answer.err()));
    }
    match CredentialsFault::of(&error) {
        Some(fault) => without_credentials(table, fault, cause(error)),
        None => match error {
            // The request could not be built: the endpoint or the region is invalid.
            SdkError::ConstructionFailure(_) => {
                LeaseStoreError::Refused { table, source: cause(error) }
            }
            // A timeout of the attempt or of the operation; no connection, or a broken one; an
            // answer that is not DynamoDB's, such as a proxy's.
            SdkError::TimeoutError(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_)
            | _ => LeaseStoreError::Unavailable { table, source: cause(error) },
        },
    }
}

/// Converts the error of credentials that no call asked for.
pub(crate) fn credentials_error(table: &str, error: CredentialsError) -> LeaseStoreError {
    let fault = CredentialsFault::of(&error).unwrap_or(CredentialsFault::NotLoaded);
    without_credentials(table.to_owned(), fault, error.into())
}

fn without_credentials(
    table: String,
    fault: CredentialsFault,
    source: BoxError,
) -> LeaseStoreError {
    match fault {
        CredentialsFault::NotLoaded => LeaseStoreError::Credentials { table, source },
        CredentialsFault::NotConfigured => {
            LeaseStoreError::CredentialsNotConfigured { table, source }
        }
    }
}

/// Converts an answer of the service by its code.
fn refusal(table: String, action: &'static str, status: u16, answer: Answer) -> LeaseStoreError {
    let code = answer.code.clone().unwrap_or_default();
    let source = BoxError::from(answer);
    match CodeKind::of(&code) {
        // The capacity of the table, or of one partition, is used up; or the account makes too many
        // calls, or creates and changes too many tables at once.
        Some(CodeKind::Throttled) => return LeaseStoreError::Throttled { table, source },
        Some(CodeKind::AccessDenied) => {
            return LeaseStoreError::AccessDenied { table, action, source };
        }
        Some(CodeKind::Credentials) => return LeaseStoreError::Credentials { table, source },
        Some(CodeKind::Clock) => return LeaseStoreError::Clock { table, source },
        Some(CodeKind::Unavailable) => return LeaseStoreError::Unavailable { table, source },
        None => {}
    }
    match code.as_str() {
        // There is no such table, or it is still being created.
        "ResourceNotFoundException" => LeaseStoreError::TableMissing { table },
        // The table is being created, changed or deleted.
        "ResourceInUseException" => {
            LeaseStoreError::TableNotReady { table, status: "in use".to_owned() }
        }
        // Another request is writing the item: a transaction, or a replica in another region.
        "TransactionConflictException" | "ReplicatedWriteConflictException" => {
            LeaseStoreError::Unavailable { table, source }
        }
        // Any other failure of the service, with a code or without.
        _ if status >= 500 => LeaseStoreError::Unavailable { table, source },
        // ValidationException, SerializationException, UnknownOperationException,
        // InvalidEndpointException, ItemCollectionSizeLimitExceededException, …
        _ => LeaseStoreError::Refused { table, source },
    }
}

/// Returns the error of a write that was sent `attempts` times. `Throttled` says that it was not
/// made, which is unknown if it was sent before.
pub(crate) fn of_write(error: LeaseStoreError, attempts: &Attempts) -> LeaseStoreError {
    if let LeaseStoreError::Throttled { table, source } = error {
        if attempts.is_repeated() {
            return LeaseStoreError::Unavailable { table, source };
        }
        return LeaseStoreError::Throttled { table, source };
    }
    error
}

/// Returns the cause behind the SDK's own headline ("dispatch failure", "request has timed out").
fn cause<E>(error: SdkError<E, HttpResponse>) -> BoxError
where
    E: Error + Send + Sync + 'static,
{
    error.into_source().unwrap_or_else(BoxError::from)
}

/// The answer of the service, in one line.
#[derive(Debug)]
struct Answer {
    code: Option<String>,
    message: Option<String>,
    request: Option<String>,
}

impl Answer {
    fn of<E: ProvideErrorMetadata + RequestId>(error: &E) -> Self {
        Self {
            code: error.code().map(String::from),
            message: error.message().map(String::from),
            request: error.request_id().map(String::from),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_deref().unwrap_or("an error without a code"))?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(request) = &self.request {
            write!(f, " (request {request})")?;
        }
        Ok(())
    }
}

impl Error for Answer {}
