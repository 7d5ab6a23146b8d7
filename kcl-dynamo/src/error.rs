//! SDK error → [`LeaseStoreError`]: one table, with a comment per AWS code.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
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
    match credentials_fault(&error) {
        Some(Fault::Permanent) => LeaseStoreError::Credentials { table, source: cause(error) },
        Some(Fault::Transient) => LeaseStoreError::Unavailable { table, source: cause(error) },
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

/// Converts an answer of the service by its code.
fn refusal(table: String, action: &'static str, status: u16, answer: Answer) -> LeaseStoreError {
    let code = answer.code.clone().unwrap_or_default();
    let source = BoxError::from(answer);
    match code.as_str() {
        // The provisioned capacity of the table, or of one partition, is used up.
        "ProvisionedThroughputExceededException"
        // The table's on-demand maximum, or too many calls that create and describe tables.
        | "ThrottlingException" | "Throttling" | "ThrottledException"
        // The account's quota is used up.
        | "RequestLimitExceeded"
        // Too many tables are being created or changed at once.
        | "LimitExceededException" => LeaseStoreError::Throttled { table, source },
        // There is no such table, or it is still being created.
        "ResourceNotFoundException" => LeaseStoreError::TableMissing { table },
        // The table is being created, changed or deleted.
        "ResourceInUseException" => {
            LeaseStoreError::TableNotReady { table, status: "in use".to_owned() }
        }
        // The role lacks a permission: on the table, or on the key that encrypts it.
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => {
            LeaseStoreError::AccessDenied { table, action, source }
        }
        // The access key is unknown to the service.
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId"
        // The session token ran out.
        | "ExpiredTokenException" | "ExpiredToken" | "RequestExpired"
        // The secret key is wrong, or this machine's clock is.
        | "InvalidSignatureException" | "SignatureDoesNotMatch"
        // The request carried no signature, or half of one.
        | "MissingAuthenticationTokenException" | "MissingAuthenticationToken"
        | "IncompleteSignatureException" | "IncompleteSignature" => {
            LeaseStoreError::Credentials { table, source }
        }
        // Another request is writing the item: a transaction, or a replica in another region.
        "TransactionConflictException" | "ReplicatedWriteConflictException"
        // The service failed and asks for a retry.
        | "InternalServerError" | "InternalFailure" | "InternalServerErrorException"
        | "ServiceUnavailable" | "ServiceUnavailableException"
        | "RequestTimeout" | "RequestTimeoutException" => {
            LeaseStoreError::Unavailable { table, source }
        }
        // Any other failure of the service, with a code or without.
        _ if status >= 500 => LeaseStoreError::Unavailable { table, source },
        // ValidationException, SerializationException, UnknownOperationException,
        // InvalidEndpointException, ItemCollectionSizeLimitExceededException, …
        _ => LeaseStoreError::Refused { table, source },
    }
}

/// Whether a retry helps when there are no credentials.
enum Fault {
    /// Their provider failed or timed out.
    Transient,
    /// There are none, or their provider is misconfigured.
    Permanent,
}

fn credentials_fault(error: &(dyn Error + 'static)) -> Option<Fault> {
    let mut link = Some(error);
    while let Some(error) = link {
        match error.downcast_ref::<CredentialsError>() {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => {
                return Some(Fault::Transient);
            }
            Some(_) => return Some(Fault::Permanent),
            None => link = error.source(),
        }
    }
    None
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
