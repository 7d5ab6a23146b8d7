//! What to read, how long to wait for it, and the clients that do.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::interceptors::InterceptorContext;
use aws_sdk_kinesis::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition};
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{Builder, IdentityCache};
use aws_smithy_runtime_api::client::retries::classifiers::{RetryClassifierPriority, RetryReason};
use aws_smithy_types::retry::ErrorKind;
use kcl_core::config::Mistake;
use kcl_core::model::{StreamArn, StreamName};

/// How often the SDK tries what the lease side asks: the next turn to ask comes late.
const CONTROL_ATTEMPTS: u32 = 3;

/// How often the SDK tries to read: once more, for a connection that had gone stale. The engine
/// tries again at its own pace.
const READ_ATTEMPTS: u32 = 2;

/// The first pause between two attempts, before jitter: short, or an operation would run out of time
/// before it could tell what is wrong.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Which stream to read, and how long to wait for answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KinesisSourceConfig {
    /// The stream.
    pub stream: StreamId,
    /// How long connecting takes at most.
    ///
    /// Default: 3 s.
    pub connect_timeout: Duration,
    /// How long one attempt at a call takes at most, its reply included.
    ///
    /// Default: 10 s. A reply of `GetRecords` has up to 10 MiB, so a slow line wants more. A whole
    /// call, with its repetitions, takes at most twice as long.
    pub attempt_timeout: Duration,
}

/// What a stream is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what Kinesis takes")]
pub enum StreamId {
    /// Its name, in the account and region of the credentials.
    Name(StreamName),
    /// Its ARN, which may be one of another account that grants access.
    Arn(StreamArn),
}

impl StreamId {
    /// The name or the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name.as_str(),
            Self::Arn(arn) => arn.as_str(),
        }
    }
}

impl KinesisSourceConfig {
    /// The defaults for this stream.
    #[must_use]
    pub const fn new(stream: StreamId) -> Self {
        Self {
            stream,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(10),
        }
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`attempt_timeout`](Self::attempt_timeout).
    #[must_use]
    pub const fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// What cannot work.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let times = [
            ("records.connect_timeout", self.connect_timeout),
            ("records.attempt_timeout", self.attempt_timeout),
        ];
        let mut mistakes: Vec<_> = Mistake::of_zero_times(times).collect();
        if self.stream.as_str().is_empty() {
            mistakes.push(Mistake::new("records.stream", "is empty: name the stream"));
        }
        mistakes
    }

    /// The client that describes and lists.
    pub(crate) fn control_client(&self, sdk: &SdkConfig) -> Client {
        Client::from_conf(self.client(sdk, CONTROL_ATTEMPTS, "kcl-control").build())
    }

    /// The client that reads.
    pub(crate) fn read_client(&self, sdk: &SdkConfig) -> Client {
        let client = self.client(sdk, READ_ATTEMPTS, "kcl-read");
        Client::from_conf(client.retry_classifier(ThrottledReadsWait).build())
    }

    /// The client that writes dead letters.
    pub(crate) fn write_client(&self, sdk: &SdkConfig) -> Client {
        Client::from_conf(self.client(sdk, CONTROL_ATTEMPTS, "kcl-write").build())
    }

    fn client(&self, sdk: &SdkConfig, attempts: u32, partition: &'static str) -> Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.attempt_timeout)
            .operation_attempt_timeout(self.attempt_timeout)
            .operation_timeout(self.attempt_timeout.saturating_mul(2))
            .build();
        let retry =
            RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(RETRY_PAUSE);
        let credentials = sdk
            .credentials_provider()
            .unwrap_or_else(|| SharedCredentialsProvider::new(NobodyProvides));
        Builder::from(sdk)
            .credentials_provider(credentials)
            .timeout_config(timeouts)
            .retry_config(retry)
            .retry_partition(RetryPartition::new(partition))
            .identity_cache(IdentityCache::lazy().build())
    }
}

/// Stands in for a provider that the `SdkConfig` does not have, so that the error says so.
#[derive(Debug)]
struct NobodyProvides;

impl ProvideCredentials for NobodyProvides {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = CredentialsError::not_loaded("the SdkConfig has no credentials provider");
        future::ProvideCredentials::ready(Err(error))
    }
}

/// Leaves throttled reads to the engine, which knows the pace of each shard.
#[derive(Debug)]
struct ThrottledReadsWait;

impl ClassifyRetry for ThrottledReadsWait {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, _: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        let throttled = matches!(
            previous,
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            })
        );
        if throttled { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "throttled reads wait"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
