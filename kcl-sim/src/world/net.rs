//! The network between workers and services: which calls are on their way, and what stops them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Call, Request};
use super::call_faults::CallFaults;
use super::call_rate::CallRate;
use super::clock::{Due, WorldClock};
use super::table::STALE_MAX;
use super::weather::{Answer, CallOutcome, Weather};
use crate::chance::Chance;
use crate::fault::Fault;
use crate::time::Time;

/// The probability that a call fails while the services throttle.
const THROTTLED: f64 = 0.7;

/// The network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    weather: Weather,
    throttled_until: Time,
    cuts: BTreeMap<String, Cut>,
    calls: BTreeMap<u64, InFlight>,
    calls_made: u64,
    /// How many answers are due to each worker, by time.
    answers: BTreeMap<(String, Time), usize>,
    rates: BTreeMap<String, CallRate>,
    /// The faults of each worker's calls that a story asks for.
    call_faults: BTreeMap<String, CallFaults>,
    /// Whether each call takes as little time as the world can measure.
    is_quick: bool,
    /// How many of the last writes every eventual scan misses.
    scan_lag: usize,
}

/// Until when a worker cannot reach the services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) leases: Time,
    pub(crate) records: Time,
}

/// A call on its way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) caller: String,
    pub(crate) call: Box<dyn Call>,
    /// How many of the last writes the call does not see, if it is a scan.
    pub(crate) stale: usize,
    answer: Answer,
    /// How many landings and answers are still due.
    left: u32,
}

/// What was drawn for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    outcome: CallOutcome,
    stale: usize,
    /// Whether the weather made the scan stale.
    is_stale: bool,
}

impl Drawn {
    pub(crate) const fn fault(&self) -> Option<Fault> {
        self.outcome.fault
    }

    pub(crate) const fn is_stale(&self) -> bool {
        self.is_stale
    }
}

impl Net {
    pub(crate) const fn weather(&self) -> Weather {
        self.weather
    }

    pub(crate) const fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Makes each call take as little time as the world can measure.
    pub(crate) const fn set_quick(&mut self) {
        self.is_quick = true;
    }

    /// Makes every eventual scan miss the last `writes` writes.
    pub(crate) const fn set_scan_lag(&mut self, writes: usize) {
        self.scan_lag = writes;
    }

    /// The faults of a worker's calls.
    pub(crate) fn call_faults(&mut self, worker: &str) -> &mut CallFaults {
        self.call_faults.entry(worker.to_owned()).or_default()
    }

    /// Ends the faults of all workers' calls.
    pub(crate) fn clear_call_faults(&mut self) {
        self.call_faults.clear();
    }

    /// Cuts a worker off from the services.
    pub(crate) fn cut(&mut self, worker: &str, cut: Cut) {
        self.cuts.insert(worker.to_owned(), cut);
    }

    /// Throttles most calls until then, or until later if that was set before. Returns until when.
    pub(crate) fn throttle(&mut self, until: Time) -> Time {
        self.throttled_until = self.throttled_until.max(until);
        self.throttled_until
    }

    /// Ends all faults. Calls on their way keep their outcomes.
    pub(crate) fn calm(&mut self) {
        self.weather = Weather::default();
        self.cuts.clear();
        self.throttled_until = Time::default();
    }

    /// Counts a call. Returns the number of such calls in this second, if it exceeds the limit.
    pub(crate) fn count(&mut self, at: Time, caller: &str, request: &Request) -> Result<(), u32> {
        self.rates.entry(caller.to_owned()).or_default().count(at, request)
    }

    /// Draws what happens to a call from the caller's `chance`.
    pub(crate) fn draw(
        &mut self,
        at: Time,
        caller: &str,
        request: &Request,
        chance: &mut Chance,
    ) -> Drawn {
        let cut = self.cuts.get(caller).copied().unwrap_or_default();
        let uses_iterator = matches!(request, Request::Read(_));
        let is_throttled = at < self.throttled_until && chance.hits(THROTTLED);
        let fault = self.call_faults.get_mut(caller).and_then(|faults| faults.outcome(request));
        let outcome = if let Some(outcome) = fault {
            outcome
        } else if request.is_to_stream() && at < cut.records {
            CallOutcome::blocked(Fault::RecordsCut)
        } else if !request.is_to_stream() && at < cut.leases {
            CallOutcome::blocked(Fault::LeasesCut)
        } else if is_throttled {
            Weather::throttling().draw(chance, uses_iterator)
        } else if self.is_quick {
            CallOutcome::quick()
        } else {
            self.weather.draw(chance, uses_iterator)
        };
        let is_stale = request.is_scan() && chance.hits(self.weather.stale_scan);
        let stale = if is_stale {
            usize::try_from(chance.between(1, STALE_MAX as u64)).unwrap_or(0)
        } else if request.is_scan() {
            self.scan_lag
        } else {
            0
        };
        Drawn { outcome, stale, is_stale }
    }

    /// Sends a call on its way.
    pub(crate) fn send(&mut self, at: Time, sent: Sent, clock: &mut WorldClock) {
        let Sent { caller, call, drawn: Drawn { outcome, stale, .. } } = sent;
        let mut flight = InFlight { caller, call, stale, answer: outcome.answer, left: 1 };
        let number = self.calls_made;
        self.calls_made += 1;
        let after = |millis| at + Duration::from_millis(millis);
        for landing in outcome.landings.into_iter().flatten() {
            clock.schedule(after(landing), Due::Land(number));
            flight.left += 1;
        }
        let answered = after(outcome.answered);
        clock.schedule(answered, Due::Answer(number));
        *self.answers.entry((flight.caller.clone(), answered)).or_default() += 1;
        self.calls.insert(number, flight);
    }

    /// Takes a call that lands.
    pub(crate) fn take(&mut self, number: u64) -> Option<InFlight> {
        self.calls.remove(&number)
    }

    /// Puts a call back that has landed, unless nothing more is due for it.
    pub(crate) fn put_back(&mut self, number: u64, mut flight: InFlight) {
        flight.left = flight.left.saturating_sub(1);
        if flight.left > 0 {
            self.calls.insert(number, flight);
        }
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, number: u64, now: Time) {
        let Some(mut flight) = self.calls.remove(&number) else { return };
        flight.call.answer(flight.answer);
        let key = (flight.caller.clone(), now);
        let open = self.answers.get_mut(&key).map(|open| {
            *open = open.saturating_sub(1);
            *open
        });
        if open == Some(0) {
            self.answers.remove(&key);
        }
        self.put_back(number, flight);
    }

    /// When a worker gets its next answer.
    pub(crate) fn next_answer(&self, worker: &str) -> Option<Time> {
        let next = self.answers.range((worker.to_owned(), Time::default())..).next();
        next.filter(|((caller, _), _)| caller == worker).map(|((_, at), _)| *at)
    }

    /// Whether a worker cannot reach the table.
    pub(crate) fn is_cut_from_table(&self, worker: &str, now: Time) -> bool {
        self.cuts.get(worker).is_some_and(|cut| cut.leases > now)
    }

    /// Whether a worker has a write on its way.
    pub(crate) fn has_write_of(&self, worker: &str) -> bool {
        self.calls.values().any(|flight| {
            flight.caller == worker && matches!(flight.call.request(), Request::Write(_))
        })
    }
}

/// A call that a worker sends.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) caller: String,
    pub(crate) call: Box<dyn Call>,
    pub(crate) drawn: Drawn,
}
