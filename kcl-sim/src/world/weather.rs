//! How calls go wrong, drawn call by call.

use std::time::Duration;

use crate::chance::Chance;
use crate::fault::Fault;
use crate::time::millis;

/// How long a client waits for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(2_500);

/// Probabilities, from 0 to 1, with which each call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub struct Weather {
    /// Of [`Fault::SlowReply`].
    pub slow: f64,
    /// Of [`Fault::LostRequest`].
    pub lost_request: f64,
    /// Of [`Fault::LostReply`].
    pub lost_reply: f64,
    /// Of [`Fault::LateLanding`].
    pub late: f64,
    /// Of [`Fault::Duplicate`].
    pub duplicate: f64,
    /// Of [`Fault::Throttled`].
    pub throttled: f64,
    /// Of [`Fault::StaleScan`].
    pub stale_scan: f64,
    /// Of [`Fault::ExpiredIterator`].
    pub expired: f64,
    /// Of [`Fault::NotFound`].
    pub not_found: f64,
}

/// What happens to one call. Times are milliseconds since the call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallOutcome {
    /// When the call lands: once, never, or twice.
    pub(crate) landings: [Option<u64>; 2],
    /// When the caller gets its answer.
    pub(crate) answered: u64,
    /// The answer.
    pub(crate) answer: Answer,
    /// What went wrong.
    pub(crate) fault: Option<Fault>,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The result of the last landing.
    Result,
    /// A timeout.
    Unavailable,
    /// An error: too many calls.
    Throttled,
    /// An error: the iterator has expired.
    Expired,
    /// An error: the caller has no permission.
    Denied,
    /// An error: the caller's credentials have expired, and new ones take long.
    NoCredentials,
    /// An error: what the call names does not exist.
    NotFound,
}

impl CallOutcome {
    /// A call that does not reach the service.
    pub(crate) fn blocked(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::timeout([None, None]) }
    }

    /// A call that takes as little time as the world can measure.
    pub(crate) const fn quick() -> Self {
        Self { landings: [Some(1), None], answered: 2, answer: Answer::Result, fault: None }
    }

    fn timeout(landings: [Option<u64>; 2]) -> Self {
        let answered = millis(TIMEOUT);
        Self { landings, answered, answer: Answer::Unavailable, fault: None }
    }

    /// A call whose caller has no credentials in time.
    pub(crate) fn without_credentials() -> Self {
        let fault = Some(Fault::LateCredentials);
        Self { fault, ..Self::refused(millis(TIMEOUT), Answer::NoCredentials) }
    }

    /// A call that fails because what it names does not exist, as the service says for once.
    pub(crate) fn not_found() -> Self {
        Self { fault: Some(Fault::NotFound), ..Self::refused(2, Answer::NotFound) }
    }

    /// The same call, throttled in part unless something else goes wrong.
    pub(crate) fn or_throttled(self) -> Self {
        Self { fault: self.fault.or(Some(Fault::Throttled)), ..self }
    }

    const fn refused(answered: u64, answer: Answer) -> Self {
        Self { landings: [None, None], answered, answer, fault: None }
    }
}

impl Weather {
    /// Every kind of failure, each with a small probability.
    #[must_use]
    pub const fn bad() -> Self {
        Self {
            slow: 0.05,
            lost_request: 0.01,
            lost_reply: 0.01,
            late: 0.01,
            duplicate: 0.02,
            throttled: 0.02,
            stale_scan: 0.2,
            expired: 0.01,
            not_found: 0.0,
        }
    }

    /// Nothing but throttling.
    pub(crate) fn throttling() -> Self {
        Self { throttled: 1.0, ..Self::default() }
    }

    /// Draws the outcome of a call. `uses_iterator` says whether an iterator may expire under it.
    pub(crate) fn draw(&self, chance: &mut Chance, uses_iterator: bool) -> CallOutcome {
        let timeout = millis(TIMEOUT);
        let (request, reply) = (chance.between(1, 12), chance.between(1, 12));
        let with = |fault, outcome: CallOutcome| CallOutcome { fault: Some(fault), ..outcome };
        let well = CallOutcome {
            landings: [Some(request), None],
            answered: request + reply,
            answer: Answer::Result,
            fault: None,
        };
        if chance.hits(self.slow) {
            let request = chance.between(1, timeout / 2);
            let answered = request + chance.between(1, timeout / 2);
            let landings = [Some(request), None];
            return with(Fault::SlowReply, CallOutcome { landings, answered, ..well });
        }
        if chance.hits(self.lost_request) {
            return with(Fault::LostRequest, CallOutcome::timeout([None, None]));
        }
        if chance.hits(self.lost_reply) {
            return with(Fault::LostReply, CallOutcome::timeout([Some(request), None]));
        }
        if chance.hits(self.late) {
            let landing = timeout + chance.between(0, 12_000);
            return with(Fault::LateLanding, CallOutcome::timeout([Some(landing), None]));
        }
        if chance.hits(self.duplicate) {
            let again = request + chance.between(1, 1_500);
            let answered = chance.between(request + 1, again + 20);
            let landings = [Some(request), Some(again)];
            return with(Fault::Duplicate, CallOutcome { landings, answered, ..well });
        }
        if chance.hits(self.throttled) {
            return with(Fault::Throttled, CallOutcome::refused(well.answered, Answer::Throttled));
        }
        if uses_iterator && chance.hits(self.expired) {
            return with(
                Fault::ExpiredIterator,
                CallOutcome::refused(well.answered, Answer::Expired),
            );
        }
        well
    }
}
