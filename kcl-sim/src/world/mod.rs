//! The world: steps every worker, owns the table and the stream, and decides what becomes of calls.

pub(crate) mod acts;
pub(crate) mod call;
pub(crate) mod call_faults;
pub(crate) mod clock;
pub(crate) mod ends;
pub(crate) mod faults;
pub(crate) mod haste;
pub(crate) mod healing;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod member;
pub(crate) mod port;
pub(crate) mod role;
pub(crate) mod services;
pub(crate) mod storm;
pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_core::backend::WriteKind;
use kcl_core::event::{WorkerState, WorkerStatus};
use kcl_core::model::{Lease, WorkerId};

use self::call::{Call, What};
use self::call_faults::CallFaults;
use self::clock::ServiceClock;
use self::ends::Ends;
use self::faults::{Answer, Fate, Fault, Tally, Weather};
use self::haste::Haste;
use self::ledger::Ledger;
use self::load::Load;
use self::member::Member;
use self::role::Role;
use self::services::{STREAM, Services};
use self::traffic::Traffic;
use crate::chance::Chance;
use crate::error::SimError;
use crate::journal::Said;
use crate::memory::{MemoryLeaseStore, MemoryStream};
use crate::oracle::{Facts, Landing, Oracle, Violation};
use crate::time::Time;
use crate::trace::{Merge, Trace};

/// How many writes ago a stale scan may show the table.
const STALE_MAX: usize = 40;

/// A fleet, its table and its stream, in virtual time. Everything follows from the seed.
#[derive(Debug)]
pub struct World {
    pub(crate) seed: u64,
    pub(crate) now: Time,
    pub(crate) clock: ServiceClock,
    pub(crate) services: Services,
    pub(crate) members: Vec<Member>,
    /// Those that were asked to stop, and by when they must be gone.
    pub(crate) stopping: BTreeMap<String, Time>,
    pub(crate) starts: u64,
    pub(crate) agenda: Merge<Due>,
    pub(crate) calls: BTreeMap<u64, InFlight>,
    pub(crate) calls_made: u64,
    pub(crate) answers: BTreeMap<(String, Time), usize>,
    pub(crate) said: Merge<(WorkerId, Said)>,
    pub(crate) weather: Weather,
    pub(crate) cuts: BTreeMap<String, Cut>,
    /// How many writes there have been, and how many when each worker's last page of a scan was read.
    pub(crate) writes: (u64, BTreeMap<String, u64>),
    /// How often each worker called lately.
    pub(crate) haste: BTreeMap<String, Haste>,
    pub(crate) throttled_until: Time,
    pub(crate) traffic: Traffic,
    pub(crate) load: (Load, Chance),
    pub(crate) ledger: Ledger,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) ends: Ends,
    /// Whether the stream is another one now: workers must end.
    pub(crate) is_recreated: bool,
    pub(crate) facts: Facts,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
    /// What workers said, if that is kept.
    pub(crate) heard: Option<Vec<(Time, WorkerId, Said)>>,
    /// Whether each call takes as little time as the world can tell.
    pub(crate) is_quick: bool,
    /// How many writes ago every eventual scan shows the table.
    pub(crate) scan_lag: u64,
    /// The faults of each worker's calls that a story asks for.
    pub(crate) call_faults: BTreeMap<String, CallFaults>,
}

/// Something that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    Land(u64),
    Answer(u64),
    Put,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) who: String,
    pub(crate) call: Box<dyn Call>,
    answer: Answer,
    stale: usize,
    /// How many things are still due with it.
    left: u32,
}

/// Until when a worker does not reach the services.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    pub(crate) leases: Time,
    pub(crate) records: Time,
}

impl World {
    /// A world of that seed, with a stream of so many shards and no workers, in which nothing goes
    /// wrong.
    ///
    /// # Errors
    /// None yet; worlds may refuse what they cannot be.
    pub fn new(seed: u64, shards: usize) -> Result<Self, SimError> {
        let clock = ServiceClock::default();
        let stream = MemoryStream::new(STREAM, shards, Arc::new(clock.clone()));
        let table = MemoryLeaseStore::new();
        drop(table.clone().with_stale_scans(STALE_MAX)); // The table remembers that many writes.
        let mut facts = Facts::new();
        facts.reshard(&stream.shards());
        Ok(Self {
            seed,
            now: Time::default(),
            clock,
            services: Services { stream, table, tells: false },
            members: Vec::new(),
            stopping: BTreeMap::new(),
            starts: 0,
            agenda: Merge::default(),
            calls: BTreeMap::new(),
            calls_made: 0,
            answers: BTreeMap::new(),
            said: Merge::default(),
            weather: Weather::default(),
            cuts: BTreeMap::new(),
            writes: Default::default(),
            haste: BTreeMap::new(),
            throttled_until: Time::default(),
            traffic: Traffic::default(),
            load: (Load::default(), Chance::of(seed, u64::MAX - 1)),
            ledger: Ledger::default(),
            roles: BTreeMap::new(),
            ends: Ends::default(),
            is_recreated: false,
            facts,
            tally: Tally::default(),
            trace: Trace::default(),
            heard: None,
            is_quick: false,
            scan_lag: 0,
            call_faults: BTreeMap::new(),
        })
    }

    /// Scans have pages of so many rows.
    pub(crate) fn set_page_rows(&mut self, rows: usize) {
        self.services.table = self.services.table.clone().with_page_rows(rows);
    }

    /// Keeps a line for everything that happens from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Trace::on();
        self.services.tells = true;
    }

    /// The lines kept so far.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.lines()
    }

    /// What time it is.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// All leases as they are.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        self.services.table.leases()
    }

    /// The names of the workers that run, in the order of their starts.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// What the workers that run say of themselves.
    #[must_use]
    pub fn statuses(&self) -> Vec<WorkerStatus> {
        self.members.iter().map(Member::status).collect()
    }

    /// How often each fault came to pass.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How often calls go wrong from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Expects from now on that no record waits for longer than that until it is done: from its arrival
    /// until the `process_records` that gets it has returned, or, where records are acknowledged one by
    /// one, until they are and that is stored. What was put before does not count.
    pub fn expect_within(&mut self, most: Duration) {
        self.facts.be_patient(self.now, most);
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), SimError> {
        self.run_until(self.now + time)
    }

    /// Lets time pass until `end`.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run_until(&mut self, end: Time) -> Result<(), SimError> {
        loop {
            let due = self.agenda.first().filter(|due| *due <= end);
            let horizon = due.unwrap_or(end);
            let late = self.members.iter().enumerate().filter(|(_, member)| member.time < horizon);
            if let Some(nth) = late.min_by_key(|(_, member)| member.time).map(|(nth, _)| nth) {
                self.step(nth, end)?;
                continue;
            }
            self.now = horizon;
            self.clock.set(horizon);
            self.listen(horizon)?;
            if due.is_none() {
                self.facts.look_for_waits(horizon);
                return self.verdict();
            }
            if let Some((_, due)) = self.agenda.pop(horizon) {
                self.carry_out(due);
            }
        }
    }

    fn verdict(&self) -> Result<(), SimError> {
        match self.facts.violation() {
            None => Ok(()),
            Some(violation) => Err(self.broken(violation.clone())),
        }
    }

    pub(crate) fn broken(&self, violation: Violation) -> SimError {
        SimError::Broken { seed: self.seed, violation }
    }

    /// Runs one worker ahead, until its next call or the next answer to it.
    fn step(&mut self, nth: usize, end: Time) -> Result<(), SimError> {
        let Some(member) = self.members.get_mut(nth) else { return Ok(()) };
        let (name, id) = (member.name.clone(), member.id.clone());
        let answered = self.answers.range((name.clone(), Time::default())..).next();
        let until = answered.filter(|((who, _), _)| *who == name).map_or(end, |((_, at), _)| *at);
        let until = until.min(end).max(member.time);
        let step = member.step(until);
        let (time, ended) = (member.time, member.end());
        for (at, said) in step.said {
            self.said.push(at, (id.clone(), said));
        }
        for (at, call) in step.calls {
            self.count_call(at, &name, call.what())?;
            self.send(nth, at, call);
        }
        if let Some(end) = ended {
            self.ended(nth, time, end)?;
        }
        Ok(())
    }

    /// Counts a worker's calls within each second.
    fn count_call(&mut self, at: Time, who: &str, what: &What) -> Result<(), SimError> {
        match self.haste.entry(who.to_owned()).or_default().count(at, what) {
            Ok(()) => Ok(()),
            Err(calls) => {
                let seen = format!("{who} makes {calls} calls within a second: {what}");
                Err(self.broken(Violation { at, oracle: Oracle::CallsBounded, seen }))
            }
        }
    }

    /// Draws what becomes of a call.
    fn send(&mut self, nth: usize, at: Time, call: Box<dyn Call>) {
        let Some(member) = self.members.get_mut(nth) else { return };
        let (who, is_of_records) = (member.name.clone(), call.what().is_of_records());
        let cut = self.cuts.get(&who).copied().unwrap_or_default();
        let expires = matches!(call.what(), What::Read(_));
        let is_throttled = at < self.throttled_until && member.chance.hits(0.7);
        let fault = self.call_faults.get_mut(&who).and_then(|faults| faults.fate(call.what()));
        let fate = if let Some(fate) = fault {
            fate
        } else if is_of_records && at < cut.records {
            Fate::cut(Fault::RecordsCut)
        } else if !is_of_records && at < cut.leases {
            Fate::cut(Fault::LeasesCut)
        } else if is_throttled {
            Weather { throttled: 1.0, ..Weather::default() }.fate(&mut member.chance, expires)
        } else if self.is_quick {
            Fate::quick()
        } else {
            self.weather.fate(&mut member.chance, expires)
        };
        let is_scan = matches!(call.what(), What::Scan | What::ScanOn);
        let is_stale = is_scan && member.chance.hits(self.weather.stale_scan);
        let stale = if is_stale {
            member.chance.between(1, STALE_MAX as u64)
        } else if is_scan {
            self.scan_lag
        } else {
            0
        };
        if let What::Write(write) = call.what() {
            self.facts.sent(at, &member.id, write.number);
            let is_stopping = member.status().state == WorkerState::Stopping;
            if is_stopping && matches!(write.kind, WriteKind::Release { .. }) {
                self.facts.releases(at, &member.id, &write.key.shard());
            }
        }
        if let What::DeletePresence(of) = call.what()
            && *of == member.id
        {
            self.facts.says_goodbye(&member.id);
        }
        fate.fault.into_iter().for_each(|fault| self.tally.count(fault));
        if is_stale {
            self.tally.count(Fault::StaleScan);
        }
        if self.trace.is_on() {
            let fault = fate.fault.map(|fault| format!(" ({fault})")).unwrap_or_default();
            self.trace.line(at, &who, format_args!("{}{fault}", call.what()));
        }
        let stale = usize::try_from(stale).unwrap_or(0);
        self.schedule(at, InFlight { who, call, answer: fate.answer, stale, left: 1 }, fate);
    }

    fn schedule(&mut self, at: Time, mut flight: InFlight, fate: Fate) {
        let id = self.calls_made;
        self.calls_made += 1;
        let after = |millis| at + Duration::from_millis(millis);
        for landing in fate.landings.into_iter().flatten() {
            self.agenda.push(after(landing), Due::Land(id));
            flight.left += 1;
        }
        let answered = after(fate.answered);
        self.agenda.push(answered, Due::Answer(id));
        *self.answers.entry((flight.who.clone(), answered)).or_default() += 1;
        self.calls.insert(id, flight);
    }

    fn carry_out(&mut self, due: Due) {
        match due {
            Due::Land(id) => self.land(id),
            Due::Answer(id) => self.answer(id),
            Due::Put => self.put_next(),
        }
    }

    fn land(&mut self, id: u64) {
        let Some(mut flight) = self.calls.remove(&id) else { return };
        let what = flight.call.what().clone();
        let said = if let What::Write(write) = &what {
            let before = self.services.lease(&write.key);
            let said = flight.call.land(&self.services, 0);
            let after = self.services.lease(&write.key);
            if before != after {
                self.writes.0 += 1;
                let (before, after) = (before.as_ref(), after.as_ref());
                self.facts.landed(&Landing { at: self.now, write, before, after });
            }
            said
        } else {
            flight.call.land(&self.services, flight.stale)
        };
        if matches!(what, What::Scan | What::ScanOn) {
            let read_at = self.writes.1.insert(flight.who.clone(), self.writes.0);
            if matches!(what, What::ScanOn) && read_at != Some(self.writes.0) {
                self.tally.count(Fault::TornScan);
            }
        }
        if matches!(what, What::CreateStreamStart)
            && let Some(start) = self.services.start()
        {
            self.facts.begins(self.now, start);
        }
        let is_long = matches!(what, What::Scan | What::ScanOn | What::ListShards | What::Read(_));
        if self.trace.is_on() && !is_long {
            self.trace.line(self.now, &flight.who, format_args!("  landed: {what} = {said}"));
        }
        self.keep(id, flight);
    }

    fn answer(&mut self, id: u64) {
        let Some(mut flight) = self.calls.remove(&id) else { return };
        flight.call.answer(flight.answer);
        let key = (flight.who.clone(), self.now);
        let open = self.answers.get_mut(&key).map(|open| {
            *open = open.saturating_sub(1);
            *open
        });
        if open == Some(0) {
            self.answers.remove(&key);
        }
        self.keep(id, flight);
    }

    fn keep(&mut self, id: u64, mut flight: InFlight) {
        flight.left = flight.left.saturating_sub(1);
        if flight.left > 0 {
            self.calls.insert(id, flight);
        }
    }

    /// Hears what everybody said until `until`.
    fn listen(&mut self, until: Time) -> Result<(), SimError> {
        while let Some((at, (who, said))) = self.said.pop(until) {
            self.facts.said(at, &who, &said);
            self.ledger.said(at, who.name(), &said);
            if let Some(heard) =
                self.heard.as_mut().filter(|_| !matches!(said, Said::Polled { .. }))
            {
                heard.push((at, who.clone(), said.clone()));
            }
            if self.trace.is_on() && said.is_traced() {
                self.trace.line(at, who.name(), &said);
            }
        }
        let late = self.stopping.iter().find(|(_, by)| **by < until);
        if let Some((name, by)) = late {
            let seen = format!("{name} was to be gone by {by} s");
            return Err(self.broken(Violation { at: until, oracle: Oracle::WorkersRun, seen }));
        }
        self.verdict()
    }

    /// The processors are the simulator's own.
    pub(crate) fn processors_are_known(&mut self) {
        self.facts.processors_are_known();
    }

    /// Some processors are not the simulator's own.
    pub(crate) fn processors_are_unknown(&mut self) {
        self.facts.processors_are_unknown();
    }

    /// Counts a fault that somebody else made.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.tally.count(fault);
    }

    /// Adds what somebody else counted.
    pub(crate) fn count_all(&mut self, tally: &Tally) {
        self.tally.add(tally);
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.trace() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
