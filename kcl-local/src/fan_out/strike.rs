//! Faults of subscriptions, and which ones they strike: [`Fault`] and [`Strike`].

use std::collections::VecDeque;

/// What goes wrong with a subscription or a call. See [`Strike`] for which one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The stream sends nothing further and does not end: a half-open connection.
    Silence,
    /// The connection is cut after this many bytes of the events that follow: 0 cuts it at once.
    Cut(usize),
    /// The next event ends in its middle, and the stream with it, as if it were whole.
    HalfFrame,
    /// The check sum of the next event is wrong.
    WrongChecksum,
    /// The next event claims this length.
    WrongLength(u32),
    /// An event of an unknown type comes first. Clients pass over it.
    UnknownEvent,
    /// The stream ends with this exception, such as `ResourceInUseException`.
    Exception(String),
    /// The stream ends without an error, as at the end of its lifetime.
    End,
    /// The call is refused with this error, such as `LimitExceededException` or `InternalFailure`.
    /// Running subscriptions ignore it.
    Refuse(String),
    /// The call gets no answer. Running subscriptions ignore it.
    NoAnswer,
    /// The answer has a head and no event. Running subscriptions ignore it.
    NoEvent,
}

/// A fault and the subscriptions or calls that it strikes, for
/// [`LocalStack::strike`](crate::LocalStack::strike).
///
/// ```
/// # use kcl_local::{Fault, LocalStack, Strike};
/// let stack = LocalStack::start()?;
/// // No subscription runs, so none is struck.
/// assert_eq!(stack.strike(Strike::running(Fault::Silence)), 0);
/// stack.strike(Strike::next(Fault::Cut(40)).of_shard("shardId-000000000003").times(2));
/// stack.strike(Strike::call("RegisterStreamConsumer", "AccessDeniedException").times(usize::MAX));
/// stack.mend();
/// # Ok::<(), kcl_local::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    pub(crate) target: Target,
    pub(crate) shard: Option<String>,
    pub(crate) fault: Fault,
    times: usize,
}

/// What a strike is aimed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The subscriptions that run now.
    Running,
    /// The next calls of an operation.
    Next(String),
}

impl Strike {
    /// Strikes the next call of `SubscribeToShard`, or the subscription that it starts.
    #[must_use]
    pub fn next(fault: Fault) -> Self {
        Self { target: Target::Next(SUBSCRIBE.to_owned()), shard: None, fault, times: 1 }
    }

    /// Strikes the subscriptions that run now.
    #[must_use]
    pub const fn running(fault: Fault) -> Self {
        Self { target: Target::Running, shard: None, fault, times: 1 }
    }

    /// Refuses the next call of a Kinesis operation, such as `DescribeStreamConsumer`, with this
    /// error.
    #[must_use]
    pub fn call(operation: &str, error: &str) -> Self {
        let fault = Fault::Refuse(error.to_owned());
        Self { target: Target::Next(operation.to_owned()), shard: None, fault, times: 1 }
    }

    /// Strikes subscriptions of this shard only, by an id such as `shardId-000000000000`.
    #[must_use]
    pub fn of_shard(mut self, shard: impl Into<String>) -> Self {
        self.shard = Some(shard.into());
        self
    }

    /// Strikes this many of the next calls, one after another; `usize::MAX`: until
    /// [`LocalStack::mend`](crate::LocalStack::mend).
    ///
    /// Default: 1.
    #[must_use]
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// The operation that starts subscriptions.
pub(crate) const SUBSCRIBE: &str = "SubscribeToShard";

/// The strikes that wait for their call, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<Strike>);

impl Waiting {
    /// Adds a strike on a next call.
    pub(crate) fn add(&mut self, strike: Strike) {
        if strike.times > 0 {
            self.0.push_back(strike);
        }
    }

    /// Returns the fault of a call, and counts it as struck. `shard` is that of `SubscribeToShard`.
    pub(crate) fn take(&mut self, operation: &str, shard: Option<&str>) -> Option<Fault> {
        let found = self.0.iter().position(|strike| {
            matches!(&strike.target, Target::Next(name) if name == operation)
                && strike.shard.as_deref().is_none_or(|wanted| Some(wanted) == shard)
        })?;
        let strike = self.0.get_mut(found)?;
        let fault = strike.fault.clone();
        if strike.times < usize::MAX {
            strike.times -= 1;
        }
        if strike.times == 0 {
            self.0.remove(found);
        }
        Some(fault)
    }

    /// Forgets all strikes.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_count_and_select() {
        let mut waiting = Waiting::default();
        waiting.add(Strike::next(Fault::Silence).of_shard("b").times(2));
        waiting.add(Strike::next(Fault::End));
        waiting.add(Strike::call("ListShards", "E").times(usize::MAX));
        waiting.add(Strike::next(Fault::HalfFrame).times(0));
        assert_eq!(waiting.take(SUBSCRIBE, Some("b")), Some(Fault::Silence));
        assert_eq!(waiting.take(SUBSCRIBE, Some("a")), Some(Fault::End));
        assert_eq!(waiting.take(SUBSCRIBE, Some("a")), None);
        assert_eq!(waiting.take(SUBSCRIBE, Some("b")), Some(Fault::Silence));
        assert_eq!(waiting.take(SUBSCRIBE, Some("b")), None);
        let refusal = Some(Fault::Refuse("E".to_owned()));
        assert_eq!(waiting.take("ListShards", None), refusal);
        assert_eq!(waiting.take("ListShards", None), refusal);
        waiting.clear();
        assert_eq!(waiting.take("ListShards", None), None);
    }
}
