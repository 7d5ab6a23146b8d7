//! The times and limits of consumers and subscriptions: [`SubscriptionRules`].

use std::time::Duration;

/// The times and limits of enhanced fan-out. The defaults are the service's; tests shorten them.
///
/// ```
/// # use std::time::Duration;
/// # use kcl_local::SubscriptionRules;
/// let rules = SubscriptionRules { lifetime: Duration::from_secs(2), ..Default::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by `..Default::default()`")]
pub struct SubscriptionRules {
    /// How long a subscription lasts. It ends without an error.
    ///
    /// Default: 5 minutes.
    pub lifetime: Duration,
    /// How often an idle subscription sends an event without records, whose continuation has moved.
    ///
    /// Default: 5 s.
    pub heartbeat_every: Duration,
    /// The shortest time between two calls of `SubscribeToShard` for a consumer and shard. An
    /// earlier call gets `LimitExceededException`.
    ///
    /// Default: 1 s.
    pub call_every: Duration,
    /// How long after a successful call of `SubscribeToShard` the next one for the same consumer
    /// and shard gets `ResourceInUseException`, even if the subscription has ended. A later call
    /// takes the subscription over, and the earlier stream ends with `ResourceInUseException`.
    ///
    /// Default: 5 s.
    pub taken_over_after: Duration,
    /// The most bytes of an event's records, data and partition keys. One record is sent however
    /// large it is.
    ///
    /// Default: 1 MiB; the service documents none.
    pub event_bytes_max: usize,
    /// Whether clients that ask in CBOR get events in CBOR.
    ///
    /// Default: true. Set it to false for a server that has events in JSON only.
    pub cbor_events: bool,
    /// How long a registered consumer is `CREATING`. `Duration::MAX`: it never becomes `ACTIVE`.
    ///
    /// Default: 500 ms; the service takes longer.
    pub creating: Duration,
    /// How long a deregistered consumer is `DELETING`.
    ///
    /// Default: 500 ms; the service takes longer.
    pub deleting: Duration,
    /// The most consumers of a stream. Above it `RegisterStreamConsumer` gets
    /// `LimitExceededException`, as above the next two limits.
    ///
    /// Default: 20.
    pub consumers_max: usize,
    /// The most consumers of the account that are `CREATING`.
    ///
    /// Default: 5.
    pub creating_max: usize,
    /// The most calls of `RegisterStreamConsumer` in a second, for the account.
    ///
    /// Default: 5.
    pub registers_per_second: usize,
    /// The most calls of `DescribeStreamConsumer` in a second, for a stream.
    ///
    /// Default: 20.
    pub describes_per_second: usize,
}

impl Default for SubscriptionRules {
    /// Source: Kinesis API reference, `SubscribeToShard`, `RegisterStreamConsumer`,
    /// `DescribeStreamConsumer`.
    fn default() -> Self {
        Self {
            lifetime: Duration::from_mins(5),
            heartbeat_every: Duration::from_secs(5),
            call_every: Duration::from_secs(1),
            taken_over_after: Duration::from_secs(5),
            event_bytes_max: 1024 * 1024,
            cbor_events: true,
            creating: Duration::from_millis(500),
            deleting: Duration::from_millis(500),
            consumers_max: 20,
            creating_max: 5,
            registers_per_second: 5,
            describes_per_second: 20,
        }
    }
}
