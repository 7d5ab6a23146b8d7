//! What an error of an AWS service says, as far as all services say it in the same words.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

/// What an error code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each caller translates every kind")]
pub enum CodeKind {
    /// The service limits the rate of calls. It did not carry out the call.
    Throttled,
    /// The role lacks a permission.
    AccessDenied,
    /// The credentials are unknown, have expired, or are incomplete.
    Credentials,
    /// The signature is too old, too new or wrong: this machine's clock is off, or the secret key
    /// is wrong. The SDK corrects the clock by the `Date` of an answer, so a retry may succeed.
    Clock,
    /// The service failed.
    Unavailable,
}

impl CodeKind {
    /// Returns what `code` says; `None` if it belongs to one service, or is unknown.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        Some(match code {
            // The capacity of a table, of a partition of it, or of a shard.
            "ProvisionedThroughputExceededException"
            // The account's rate of calls, the table's on-demand maximum, the key's rate of calls.
            | "ThrottlingException" | "Throttling" | "ThrottledException"
            | "KMSThrottlingException" | "RequestLimitExceeded" | "LimitExceededException" => {
                Self::Throttled
            }
            "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "UnauthorizedOperation" => {
                Self::AccessDenied
            }
            // The access key is unknown to the service, or its account is not registered for it.
            "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId"
            | "OptInRequired"
            // The session token ran out.
            | "ExpiredTokenException" | "ExpiredToken"
            // The request carried no signature, or half of one.
            | "MissingAuthenticationTokenException" | "MissingAuthenticationToken"
            | "IncompleteSignatureException" | "IncompleteSignature" => Self::Credentials,
            "RequestExpired" | "RequestTimeTooSkewed" | "InvalidSignatureException"
            | "SignatureDoesNotMatch" => Self::Clock,
            "InternalFailure" | "InternalFailureException" | "InternalServerError"
            | "InternalServerErrorException" | "ServiceUnavailable"
            | "ServiceUnavailableException" | "RequestTimeout" | "RequestTimeoutException" => {
                Self::Unavailable
            }
            _ => return None,
        })
    }
}

/// Why a call had no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each caller translates every kind")]
pub enum CredentialsFault {
    /// They could not be loaded. That may pass, as in the first seconds of a pod.
    NotLoaded,
    /// No source of them is configured, or its configuration is wrong.
    NotConfigured,
}

impl CredentialsFault {
    /// Returns why a call had no credentials; `None` if it failed for another reason.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| (*error).source()).find_map(|cause| {
            Some(match cause.downcast_ref::<CredentialsError>()? {
                CredentialsError::InvalidConfiguration(_) => Self::NotConfigured,
                CredentialsError::CredentialsNotLoaded(_)
                | CredentialsError::ProviderTimedOut(_)
                | CredentialsError::ProviderError(_)
                | CredentialsError::Unhandled(_)
                | _ => Self::NotLoaded,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_a_wrong_clock_are_alike() {
        for code in [
            "RequestExpired",
            "RequestTimeTooSkewed",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
        ] {
            assert_eq!(CodeKind::of(code), Some(CodeKind::Clock), "{code}");
        }
        assert_eq!(CodeKind::of("ExpiredTokenException"), Some(CodeKind::Credentials));
        assert_eq!(CodeKind::of("ResourceNotFoundException"), None);
        assert_eq!(CodeKind::of(""), None);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("dispatch failure")]
    struct Wrapped(#[source] CredentialsError);

    #[test]
    fn fault_is_found_behind_other_errors() {
        let late = Wrapped(CredentialsError::provider_error("503"));
        assert_eq!(CredentialsFault::of(&late), Some(CredentialsFault::NotLoaded));
        let wrong = Wrapped(CredentialsError::invalid_configuration("no provider"));
        assert_eq!(CredentialsFault::of(&wrong), Some(CredentialsFault::NotConfigured));
        assert_eq!(CredentialsFault::of(&std::io::Error::other("refused")), None);
    }
}
