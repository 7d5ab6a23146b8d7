//! SDK error → [`SourceError`], in one table.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kcl_aws::{CodeKind, CredentialsFault};
use kcl_core::BoxError;
use kcl_core::backend::SourceError;
use thiserror::Error;

use crate::exchange::Exchange;

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    source: BoxError,
}

/// The category of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Throttled,
    ExpiredIterator,
    /// The stream or the shard: the service sends the same code for both.
    Missing,
    /// The service refuses a value of the request.
    Argument,
    AccessDenied,
    KeyDenied,
    Credentials,
    CredentialsNotConfigured,
    Clock,
    Unavailable,
    /// The reply did not arrive in full, or not in time.
    Incomplete,
    /// The service does not understand the request: its encoding or its operation.
    NotUnderstood,
    /// The reply is in no encoding of the service: a page of another server, or of one that failed
    /// over the request.
    Foreign,
    Refused,
}

/// Returns the kind of an error code, or of the HTTP status if the code is unknown.
fn kind(code: &str, status: u16) -> Kind {
    match CodeKind::of(code) {
        // The shard's limit of reads or bytes a second, or the limit of calls of the account or of
        // the stream's key.
        Some(CodeKind::Throttled) => return Kind::Throttled,
        Some(CodeKind::AccessDenied) => return Kind::AccessDenied,
        Some(CodeKind::Credentials) => return Kind::Credentials,
        Some(CodeKind::Clock) => return Kind::Clock,
        Some(CodeKind::Unavailable) => return Kind::Unavailable,
        None => {}
    }
    match code {
        "ExpiredIteratorException" => Kind::ExpiredIterator,
        "ResourceNotFoundException" => Kind::Missing,
        "InvalidArgumentException" => Kind::Argument,
        "KMSAccessDeniedException" => Kind::KeyDenied,
        // The stream is being created or deleted, or a list took too long and starts again.
        "ResourceInUseException" | "ExpiredNextTokenException" => Kind::Unavailable,
        // The stream's key is disabled, deleted or unusable: a retry does not help.
        "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "ValidationException" => Kind::Refused,
        "SerializationException" | "UnknownOperationException" => Kind::NotUnderstood,
        _ => match status {
            429 => Kind::Throttled,
            401 | 403 => Kind::AccessDenied,
            415 => Kind::NotUnderstood,
            500.. => Kind::Unavailable,
            _ => Kind::Refused,
        },
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: source.into() }
    }

    /// The failure of a call, whose error names the host unless the service answered.
    pub(crate) fn of<E>(error: SdkError<E, HttpResponse>, exchange: &Exchange) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let kind = match &error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or_default();
                return Self::new(kind(code, status), ServiceAnswer::new(answer.err(), status));
            }
            // Missing credentials and a missing region are construction failures too.
            SdkError::ConstructionFailure(_) => credentials_kind(&error).unwrap_or(Kind::Refused),
            SdkError::DispatchFailure(failure) if failure.is_user() => {
                credentials_kind(&error).unwrap_or(Kind::Refused)
            }
            SdkError::TimeoutError(_) => credentials_kind(&error).unwrap_or(Kind::Incomplete),
            // The body of a reply that was read in full is there.
            SdkError::ResponseError(reply) if reply.raw().body().bytes().is_none() => {
                Kind::Incomplete
            }
            SdkError::ResponseError(reply) if reply.raw().status().as_u16() == 415 => {
                Kind::NotUnderstood
            }
            SdkError::ResponseError(_) => Kind::Foreign,
            SdkError::DispatchFailure(_) | _ => {
                credentials_kind(&error).unwrap_or(Kind::Unavailable)
            }
        };
        match exchange.host() {
            Some(host) => Self::new(kind, CallFailed { host, source: error.into() }),
            None => Self::new(kind, error),
        }
    }

    pub(crate) fn into_source(self) -> BoxError {
        self.source
    }

    /// Returns the error of a call that needs the permission `action`.
    pub(crate) fn into_error(self, stream: &str, action: &'static str) -> SourceError {
        let Self { kind, source } = self;
        let stream = stream.to_owned();
        match kind {
            Kind::Throttled => SourceError::Throttled { source },
            Kind::ExpiredIterator => SourceError::Expired,
            Kind::Missing => SourceError::StreamMissing { stream },
            Kind::AccessDenied => SourceError::AccessDenied { stream, action, source },
            Kind::KeyDenied => SourceError::AccessDenied { stream, action: "kms:Decrypt", source },
            Kind::Credentials => SourceError::Credentials { stream, source },
            Kind::CredentialsNotConfigured => {
                SourceError::CredentialsNotConfigured { stream, source }
            }
            Kind::Clock => SourceError::Clock { stream, source },
            Kind::Unavailable | Kind::Incomplete | Kind::Foreign => {
                SourceError::Unavailable { stream, source }
            }
            Kind::Refused | Kind::NotUnderstood | Kind::Argument => {
                SourceError::Refused { stream, source }
            }
        }
    }
}

/// Returns the kind of a failure whose cause is the credentials; `None` for other causes.
fn credentials_kind(error: &(dyn Error + 'static)) -> Option<Kind> {
    CredentialsFault::of(error).map(|fault| match fault {
        CredentialsFault::NotLoaded => Kind::Credentials,
        CredentialsFault::NotConfigured => Kind::CredentialsNotConfigured,
    })
}

/// A call that the service did not answer.
#[derive(Debug, Error)]
#[error("call to {host} failed")]
struct CallFailed {
    host: String,
    source: BoxError,
}

/// An error that the service sent.
#[derive(Debug, Error)]
#[error("{code}: {message} (HTTP {status}, request {request})")]
struct ServiceAnswer {
    code: String,
    message: String,
    status: u16,
    request: String,
}

impl ServiceAnswer {
    fn new(error: &impl ProvideErrorMetadata, status: u16) -> Self {
        let request = error.meta().extra("aws_request_id");
        Self {
            code: error.code().unwrap_or("no error code").to_owned(),
            message: error.message().unwrap_or("no message").to_owned(),
            status,
            request: request.unwrap_or("without id").to_owned(),
        }
    }
}

/// A reply that violates the API reference.
#[derive(Debug, Error)]
#[error("reply is unreadable: {what}")]
pub(crate) struct Unreadable {
    what: &'static str,
    source: Option<BoxError>,
}

impl Unreadable {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, source: None }
    }

    pub(crate) fn because(what: &'static str, source: impl Into<BoxError>) -> Self {
        Self { what, source: Some(source.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, status: u16, expect: Kind) {
        assert_eq!(kind(code, status), expect, "{code} {status}");
    }

    #[test]
    fn known_codes_ignore_the_status() {
        check("ProvisionedThroughputExceededException", 400, Kind::Throttled);
        check("KMSThrottlingException", 400, Kind::Throttled);
        check("ExpiredIteratorException", 400, Kind::ExpiredIterator);
        check("ResourceNotFoundException", 400, Kind::Missing);
        check("InvalidArgumentException", 400, Kind::Argument);
        check("AccessDeniedException", 400, Kind::AccessDenied);
        check("KMSAccessDeniedException", 400, Kind::KeyDenied);
        check("ExpiredTokenException", 403, Kind::Credentials);
        check("RequestExpired", 400, Kind::Clock);
        check("KMSDisabledException", 400, Kind::Refused);
        check("SerializationException", 400, Kind::NotUnderstood);
        check("UnknownOperationException", 404, Kind::NotUnderstood);
    }

    #[test]
    fn unknown_codes_use_the_status() {
        check("Unheard", 429, Kind::Throttled);
        check("Unheard", 503, Kind::Unavailable);
        check("Unheard", 403, Kind::AccessDenied);
        check("Unheard", 400, Kind::Refused);
        check("", 502, Kind::Unavailable);
        check("", 415, Kind::NotUnderstood);
    }
}
