//! Faults that a story asks for: which calls of a worker fail, how, and how often.

use std::time::Duration;

use kcl_core::backend::WriteKind;

use super::call::Request;
use super::weather::{Answer, CallOutcome, TIMEOUT};
use crate::fault::Fault;
use crate::time::millis;

/// How long a call takes on its way, and its answer on the way back, in milliseconds.
const WAY: u64 = 1;

/// The calls of a worker that a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Calls {
    /// All calls to the lease table.
    Table,
    /// Writes to leases.
    Writes,
    /// Renewals of leases.
    Renewals,
    /// The announcement that a worker leaves, and the deletion of its presence.
    Goodbye,
    /// The opening and reading of shards.
    Reads,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFault {
    /// It fails at once, and does nothing.
    Refused,
    /// It does nothing, and its caller waits until the client times out.
    Silent,
    /// It lands, and its caller waits until the client times out.
    ReplyLost,
    /// It takes this time, and succeeds.
    Slow(Duration),
    /// It fails after the client's timeout, and lands after this time.
    LandsLate(Duration),
    /// It fails at once: the caller has no permission.
    Denied,
    /// It fails at once: the iterator has expired.
    Expired,
}

impl Calls {
    fn include(self, request: &Request) -> bool {
        match self {
            Self::Table => !request.is_to_stream(),
            Self::Writes => matches!(request, Request::Write(_)),
            Self::Renewals => {
                matches!(request, Request::Write(write) if matches!(write.kind, WriteKind::Renew { .. }))
            }
            Self::Goodbye => matches!(
                request,
                Request::DeletePresence(_) | Request::PutPresence { is_leaving: true, .. }
            ),
            Self::Reads => matches!(request, Request::Open(_) | Request::Read(_)),
        }
    }
}

impl CallFault {
    fn outcome(self) -> CallOutcome {
        let failed = |answered, answer, fault| CallOutcome {
            landings: [None, None],
            answered,
            answer,
            fault: Some(fault),
        };
        let timeout = millis(TIMEOUT);
        match self {
            Self::Refused => failed(2 * WAY, Answer::Unavailable, Fault::LostRequest),
            Self::Silent => failed(timeout, Answer::Unavailable, Fault::LostRequest),
            Self::ReplyLost => CallOutcome {
                landings: [Some(WAY), None],
                ..failed(timeout, Answer::Unavailable, Fault::LostReply)
            },
            Self::Slow(time) => CallOutcome {
                landings: [Some(millis(time)), None],
                ..failed(millis(time) + WAY, Answer::Result, Fault::SlowReply)
            },
            Self::LandsLate(time) => CallOutcome {
                landings: [Some(millis(time)), None],
                ..failed(timeout, Answer::Unavailable, Fault::LateLanding)
            },
            Self::Denied => failed(2 * WAY, Answer::Denied, Fault::LostRequest),
            Self::Expired => failed(2 * WAY, Answer::Expired, Fault::ExpiredIterator),
        }
    }
}

/// The faults of one worker's calls.
#[derive(Debug, Default)]
pub(crate) struct CallFaults(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    calls: Calls,
    fault: CallFault,
    /// How many more calls it strikes. `None` for all.
    left: Option<u32>,
}

impl CallFaults {
    /// Ends all faults.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Strikes the next `times` calls of this kind, or all if `None`.
    pub(crate) fn add(&mut self, calls: Calls, fault: CallFault, times: Option<u32>) {
        self.0.push(Rule { calls, fault, left: times });
    }

    /// Returns the outcome of a call. `None` if no fault strikes it.
    pub(crate) fn outcome(&mut self, request: &Request) -> Option<CallOutcome> {
        self.0.retain(|rule| rule.left != Some(0));
        let rule = self.0.iter_mut().rev().find(|rule| rule.calls.include(request))?;
        rule.left = rule.left.map(|left| left.saturating_sub(1));
        Some(rule.fault.outcome())
    }
}
