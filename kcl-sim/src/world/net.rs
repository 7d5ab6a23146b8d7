//! The network between workers and services: which calls are on their way, and what stops them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::call::{Call, Request};
use super::call_faults::CallFaults;
use super::call_rate::CallRate;
use super::clock::{Due, WorldClock};
use super::connections::Connections;
use super::credentials::{Credentials, CredentialsPlan};
use super::service::{Cost, Service, ServicePlan};
use super::table::STALE_MAX;
use super::tries::{Next, Tries};
use super::weather::{Answer, CallOutcome, TIMEOUT, Weather};
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
    /// How many of the last writes every eventual scan or batch read misses.
    scan_lag: usize,
    connections: Connections,
    load: LoadModel,
}

/// What calls cost under load. By default, nothing.
#[derive(Debug, Default)]
struct LoadModel {
    /// The table.
    service: Option<Service>,
    /// How long it takes to open a connection to the table.
    connect: Duration,
    credentials: Option<Credentials>,
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
    /// How many of the last writes the call does not see, if it reads many rows.
    pub(crate) stale: usize,
    /// How many of its rows a batch read leaves out.
    pub(crate) unread: usize,
    answer: Answer,
    /// How many arrivals, landings and answers are still due.
    left: u32,
    /// The attempts of a call to a service under load, until its answer is due.
    tries: Option<Tries>,
    /// When its answer is due, or may be due at the earliest.
    answered: Time,
}

/// What becomes of an attempt of a call that arrives at a service under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is carried out.
    Taken,
    /// It is not let through.
    Throttled,
}

/// What was drawn for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    outcome: CallOutcome,
    stale: usize,
    /// Whether the weather made the read stale.
    is_stale: bool,
    unread: usize,
    /// How long the call waits for credentials.
    delay: Duration,
    /// Which part of its backoffs the client waits.
    jitter: f64,
}

impl Drawn {
    pub(crate) const fn fault(&self) -> Option<Fault> {
        self.outcome.fault
    }

    /// Whether the call waits for credentials.
    pub(crate) const fn waits(&self) -> bool {
        !self.delay.is_zero()
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

    /// Puts the table under load: it queues and throttles calls.
    pub(crate) fn set_service(&mut self, plan: ServicePlan) {
        self.load.service = Some(Service::new(plan));
    }

    /// Changes the capacity of a table under load, by a factor of what was planned.
    pub(crate) fn scale_capacity(&mut self, factor: f64, now: Time) {
        if let Some(service) = &mut self.load.service {
            service.scale(factor, now);
        }
    }

    /// Makes each new connection to the table take this time.
    pub(crate) const fn set_connect_time(&mut self, time: Duration) {
        self.load.connect = time;
    }

    /// Makes credentials expire, and new ones take long.
    pub(crate) fn set_credentials(&mut self, plan: CredentialsPlan) {
        self.load.credentials = Some(Credentials::new(plan));
    }

    /// A worker starts.
    pub(crate) fn starts(&mut self, worker: &str) {
        if let Some(credentials) = &mut self.load.credentials {
            credentials.starts(worker);
        }
    }

    /// Makes every eventual scan or batch read miss the last `writes` writes.
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
        let credentials = self.load.credentials.as_mut();
        let ready = credentials.map(|credentials| credentials.usable_from(caller, at, chance));
        let delay = ready.map_or(Duration::ZERO, |ready| ready - at);
        let outcome = if let Some(outcome) = fault {
            outcome
        } else if delay > TIMEOUT {
            CallOutcome::without_credentials()
        } else if request.may_miss() && chance.hits(self.weather.not_found) {
            CallOutcome::not_found()
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
        let is_stale = request.reads_many() && chance.hits(self.weather.stale_scan);
        let stale = if is_stale {
            usize::try_from(chance.between(1, STALE_MAX as u64)).unwrap_or(0)
        } else if request.reads_many() {
            self.scan_lag
        } else {
            0
        };
        let unread = self.unread(request, chance);
        let outcome = if unread > 0 { outcome.or_throttled() } else { outcome };
        let delay = if delay > TIMEOUT { Duration::ZERO } else { delay };
        let jitter = if self.load.service.is_some() { chance.part() } else { 0.0 };
        Drawn { outcome, stale, is_stale, unread, delay, jitter }
    }

    /// Draws for how many rows of a batch read, but not all, the table has no capacity.
    fn unread(&self, request: &Request, chance: &mut Chance) -> usize {
        let Request::Rows(keys, _) = request else { return 0 };
        let is_partial = chance.hits(self.weather.throttled);
        if is_partial { chance.place(keys.len()).unwrap_or(0) } else { 0 }
    }

    /// Sends a call on its way. Returns whether it waits for a new connection.
    pub(crate) fn send(&mut self, at: Time, sent: Sent, clock: &mut WorldClock) -> bool {
        let Sent { caller, call, drawn } = sent;
        let Drawn { outcome, stale, unread, delay, jitter, .. } = drawn;
        let is_to_table = !call.request().is_to_stream();
        let connects = is_to_table && self.connections.begin(&caller);
        let connect = if connects { self.load.connect } else { Duration::ZERO };
        let at = at + delay + connect;
        let is_served = is_to_table && self.load.service.is_some();
        let number = self.calls_made;
        self.calls_made += 1;
        let after = |millis| at + Duration::from_millis(millis);
        let mut left = 1;
        for landing in outcome.landings.into_iter().flatten() {
            let due = if is_served { Due::Arrive(number) } else { Due::Land(number) };
            clock.schedule(after(landing), due);
            left += 1;
        }
        let first = outcome.landings.into_iter().flatten().min();
        // A service under load decides when the caller gets the result.
        let tries = first.filter(|_| is_served && outcome.answer == Answer::Result).map(|first| {
            let reply = outcome.answered.saturating_sub(first);
            Tries::new(at, [first, reply].map(Duration::from_millis), jitter)
        });
        let answered = match (tries, first) {
            (Some(_), Some(first)) => after(first),
            _ => after(outcome.answered),
        };
        let answer = outcome.answer;
        if tries.is_none() {
            clock.schedule(answered, Due::Answer(number));
        }
        self.expect_answer(&caller, answered);
        let flight = InFlight { caller, call, stale, unread, answer, left, tries, answered };
        self.calls.insert(number, flight);
        connects && !connect.is_zero()
    }

    /// An attempt of a call arrives at a service under load.
    pub(crate) fn arrive(
        &mut self,
        number: u64,
        cost: &Cost,
        now: Time,
        clock: &mut WorldClock,
    ) -> Arrival {
        let taken = self.load.service.as_mut().map_or(Some(now), |table| table.take(cost, now));
        let arrival = if taken.is_some() { Arrival::Taken } else { Arrival::Throttled };
        let Some(mut flight) = self.calls.remove(&number) else { return arrival };
        match taken {
            Some(done) => clock.schedule(done, Due::Land(number)),
            None => flight.left = flight.left.saturating_sub(1),
        }
        if let Some(tries) = flight.tries.take() {
            self.forget_answer(&flight.caller, flight.answered);
            match tries.arrives(now, taken) {
                Next::Answer(at, answer) => {
                    (flight.answered, flight.answer) = (at, answer);
                    clock.schedule(at, Due::Answer(number));
                }
                Next::Again(at, tries) => {
                    (flight.answered, flight.tries) = (at, Some(tries));
                    flight.left += 1;
                    clock.schedule(at, Due::Arrive(number));
                }
            }
            self.expect_answer(&flight.caller, flight.answered);
        }
        if flight.left > 0 {
            self.calls.insert(number, flight);
        }
        arrival
    }

    /// What a call on its way asks for.
    pub(crate) fn request(&self, number: u64) -> Option<&Request> {
        self.calls.get(&number).map(|flight| flight.call.request())
    }

    /// How many calls to the table a worker waits for, if these are more than `most`.
    pub(crate) fn in_flight(&self, worker: &str, most: usize) -> Option<usize> {
        if self.connections.busy(worker) <= most {
            return None;
        }
        // Those of a worker that was killed are still on their way.
        let of = self.calls.values().filter(|flight| {
            let is_to_table = !flight.call.request().is_to_stream();
            is_to_table && flight.caller == worker && flight.call.is_awaited()
        });
        Some(of.count()).filter(|count| *count > most)
    }

    fn expect_answer(&mut self, worker: &str, at: Time) {
        *self.answers.entry((worker.to_owned(), at)).or_default() += 1;
    }

    fn forget_answer(&mut self, worker: &str, at: Time) {
        let key = (worker.to_owned(), at);
        let open = self.answers.get_mut(&key).map(|open| {
            *open = open.saturating_sub(1);
            *open
        });
        if open == Some(0) {
            self.answers.remove(&key);
        }
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

    /// The request that a call is about to be answered with the result of, or `None` if its answer
    /// is an error.
    pub(crate) fn answered_request(&self, number: u64) -> Option<&Request> {
        let flight = self.calls.get(&number)?;
        matches!(flight.answer, Answer::Result).then(|| flight.call.request())
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, number: u64, now: Time) {
        let Some(mut flight) = self.calls.remove(&number) else { return };
        flight.call.answer(flight.answer);
        if !flight.call.request().is_to_stream() {
            self.connections.end(&flight.caller);
        }
        self.forget_answer(&flight.caller, now);
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
