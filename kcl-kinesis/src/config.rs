//! What to read, how long to wait for it, and the clients that do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::interceptors::InterceptorContext;
use aws_sdk_kinesis::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition};
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{Builder, IdentityCache, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::retries::classifiers::{RetryClassifierPriority, RetryReason};
use aws_smithy_types::retry::ErrorKind;
use aws_types::SdkConfig;
use kcl_aws::FreshCredentials;
use kcl_core::config::InvalidSetting;
use kcl_core::model::{StreamArn, StreamName};
use thiserror::Error;

use crate::encoding::Encoding;

/// How often the SDK tries a call, and for how many attempt timeouts.
#[derive(Clone, Copy, Debug)]
struct Limits {
    attempts: u32,
    timeouts: u32,
}

/// What the lease side asks, in short replies: the next turn to ask comes late.
const CONTROL: Limits = Limits { attempts: 3, timeouts: 2 };

/// Reads. They are tried once more, for a connection that had gone stale; the engine tries again at
/// its own pace. A long reply on a slow line arrives in that time, or the engine asks for a shorter
/// one.
const READ: Limits = Limits { attempts: 2, timeouts: 6 };

/// The first pause between two attempts, before jitter: short, or an operation would run out of
/// time before it could tell what is wrong.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Which stream to read, and how long to wait for answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct KinesisSourceConfig {
    /// The stream.
    pub stream: StreamId,
    /// How long connecting takes at most.
    ///
    /// Default: 3 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde", default = "connect_timeout"))]
    pub connect_timeout: Duration,
    /// How long a call waits for its reply to begin, and how long a reply may pause.
    ///
    /// Default: 10 s. A reply that keeps arriving may take longer: a read six times as long, with
    /// its repetitions, and any other call twice as long.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde", default = "attempt_timeout"))]
    pub attempt_timeout: Duration,
    /// How replies with records are encoded.
    ///
    /// Default: [`Encoding::Cbor`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub encoding: Encoding,
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

/// The text that [`FromStr`] reads.
impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads the name of a stream, such as `orders`, or its ARN, such as
/// `arn:aws:kinesis:eu-central-1:123456789012:stream/orders`.
impl FromStr for StreamId {
    type Err = ParseStreamIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseStreamIdError { text: text.to_owned() };
        if !text.starts_with("arn:") {
            return if is_name(text) { Ok(Self::Name(text.into())) } else { Err(error()) };
        }
        let mut parts = text.splitn(6, ':').skip(2);
        let (service, resource) = (parts.next(), parts.nth(2));
        let name = resource.and_then(|it| it.strip_prefix("stream/"));
        let is_stream = service == Some("kinesis") && name.is_some_and(is_name);
        if is_stream { Ok(Self::Arn(text.into())) } else { Err(error()) }
    }
}

/// Source: Kinesis API reference, `StreamName`, pattern `[a-zA-Z0-9_.-]+` of 1 to 128 letters.
fn is_name(text: &str) -> bool {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter);
    (1..=128).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// A text that is not a [`StreamId`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is neither a stream's name (1 to 128 of letters, digits, _ . -) nor an ARN such as \
     arn:aws:kinesis:eu-central-1:123456789012:stream/orders"
)]
pub struct ParseStreamIdError {
    text: String,
}

#[cfg(feature = "serde")]
impl serde::Serialize for StreamId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for StreamId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const fn connect_timeout() -> Duration {
    Duration::from_secs(3)
}

const fn attempt_timeout() -> Duration {
    Duration::from_secs(10)
}

impl KinesisSourceConfig {
    /// The defaults for this stream.
    #[must_use]
    pub const fn new(stream: StreamId) -> Self {
        Self {
            stream,
            connect_timeout: connect_timeout(),
            attempt_timeout: attempt_timeout(),
            encoding: Encoding::Cbor,
        }
    }

    /// Sets [`stream`](Self::stream).
    #[must_use]
    pub fn with_stream(mut self, stream: StreamId) -> Self {
        self.stream = stream;
        self
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

    /// Sets [`encoding`](Self::encoding).
    #[must_use]
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Returns the settings that cannot work.
    pub(crate) fn validate(&self) -> Vec<InvalidSetting> {
        let times = [
            ("records.connect_timeout", self.connect_timeout),
            ("records.attempt_timeout", self.attempt_timeout),
        ];
        let mut invalid: Vec<_> = InvalidSetting::zero_times(times).collect();
        if self.stream.as_str().is_empty() {
            let reason = "must not be empty: name the stream";
            invalid.push(InvalidSetting::new("records.stream", self.stream.as_str(), reason));
        }
        invalid
    }

    /// The client that describes and lists.
    pub(crate) fn control_client(&self, sdk: &SdkConfig) -> Client {
        Client::from_conf(self.client(sdk, CONTROL, "kcl-control").build())
    }

    /// The client that reads.
    pub(crate) fn read_client(&self, sdk: &SdkConfig) -> Client {
        let client = self.client(sdk, READ, "kcl-read");
        Client::from_conf(client.retry_classifier(EngineRetries).build())
    }

    /// The client that writes dead letters.
    pub(crate) fn write_client(&self, sdk: &SdkConfig) -> Client {
        Client::from_conf(self.client(sdk, CONTROL, "kcl-write").build())
    }

    fn client(&self, sdk: &SdkConfig, limits: Limits, partition: &'static str) -> Builder {
        let Limits { attempts, timeouts } = limits;
        let stalled =
            StalledStreamProtectionConfig::enabled().grace_period(self.attempt_timeout).build();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.attempt_timeout)
            .operation_timeout(self.attempt_timeout.saturating_mul(timeouts))
            .disable_operation_attempt_timeout()
            .build();
        let retry =
            RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(RETRY_PAUSE);
        Builder::from(sdk)
            .credentials_provider(FreshCredentials::new(sdk, self.attempt_timeout))
            .timeout_config(timeouts)
            .stalled_stream_protection(stalled)
            .retry_config(retry)
            .retry_partition(RetryPartition::new(partition))
            .identity_cache(IdentityCache::no_cache())
    }
}

/// Leaves reads that were throttled, or whose reply did not arrive in full, to the engine: it knows
/// the pace of each shard, and asks for a shorter reply.
#[derive(Debug)]
struct EngineRetries;

impl ClassifyRetry for EngineRetries {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, ctx: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        let throttled = matches!(
            previous,
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            })
        );
        let failed = ctx.output_or_error().and_then(Result::err);
        let is_incomplete = failed.is_some_and(OrchestratorError::is_response_error);
        if throttled || is_incomplete {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "the engine retries"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_by_name_and_arn() {
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders";
        assert_eq!("orders.v-2_x".parse(), Ok(StreamId::Name("orders.v-2_x".into())));
        assert_eq!(arn.parse(), Ok(StreamId::Arn(arn.into())));
        assert_eq!(arn.parse::<StreamId>().map(|it| it.to_string()), Ok(arn.to_owned()));
    }

    #[test]
    fn other_texts_are_no_streams() {
        for text in [
            "",
            "my orders",
            &"x".repeat(129),
            "arn:aws:sqs:eu-central-1:123456789012:stream/orders",
            "arn:aws:kinesis:eu-central-1:123456789012:orders",
            "arn:aws:kinesis:eu-central-1:123456789012:stream/",
            "arn:aws:kinesis:stream/orders",
        ] {
            let error = text.parse::<StreamId>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is neither a stream's name")), "{error}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn settings_left_out_have_their_default() {
        let config: KinesisSourceConfig = serde_json::from_str(r#"{"stream": "orders"}"#).unwrap();
        assert_eq!(config, KinesisSourceConfig::new(StreamId::Name("orders".into())));
        let text = serde_json::to_string(&config).unwrap();
        let expected = concat!(
            r#"{"stream":"orders","connect_timeout":"3s","attempt_timeout":"10s","#,
            r#""encoding":"cbor"}"#
        );
        assert_eq!(text, expected);
    }
}
