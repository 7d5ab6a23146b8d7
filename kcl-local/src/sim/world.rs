//! The world: steps every worker, owns the table and the stream, and decides what becomes of calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_core::clock::Clock;
use kcl_core::config::{CheckpointPolicy, ConfigError, WorkerConfig};
use kcl_core::engine::WorkerStatus;
use kcl_core::model::{InitialPosition, Lease, Shard, ShardId, WorkerId};
use kcl_core::{ProcessorFactory, RecordProcessor};
use thiserror::Error;

use super::call::{Call, What};
use super::chance::Chance;
use super::clock::ServiceClock;
use super::faults::{Answer, Fate, Fault, Tally, Weather};
use super::journal::Said;
use super::member::{End, Member, Start};
use super::oracle::{Facts, Landing, Oracle, Violation, is_healthy};
use super::services::Services;
use super::time::{Time, millis};
use super::trace::{Merge, Trace};
use crate::kinesis::MemoryStream;
use crate::leases::MemoryLeaseStore;

/// How many writes ago a stale scan may show the table.
const STALE_MAX: usize = 40;

/// How long a fleet may take to heal once the faults have stopped.
pub(super) const HEAL_MAX: Duration = Duration::from_mins(3);

/// How long a worker that was asked to stop may take.
const STOP_MAX: Duration = Duration::from_secs(45);

/// How many calls of one worker within a second are a loop that nothing bounds.
const CALLS_MAX: u64 = 1_000;

/// How long it takes until no call from before the calm is on its way any more.
const SETTLE: Duration = Duration::from_secs(20);

/// How often the world looks whether a fleet has healed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A simulation ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// A promise was broken.
    #[error("seed {seed}: {violation}")]
    Broken {
        /// The seed.
        seed: u64,
        /// What was broken.
        violation: Violation,
    },
    /// A worker's settings are out of range.
    #[error("worker cannot start")]
    Config(#[source] ConfigError),
    /// A runtime could not be made.
    #[error("runtime cannot start")]
    Runtime(#[source] std::io::Error),
}

/// A fleet, its table and its stream, in virtual time. Everything follows from the seed.
#[derive(Debug)]
pub struct World {
    seed: u64,
    now: Time,
    clock: ServiceClock,
    services: Services,
    members: Vec<Member>,
    /// Those that were asked to stop, and by when they must be gone.
    stopping: BTreeMap<String, Time>,
    starts: u64,
    agenda: Merge<Due>,
    calls: BTreeMap<u64, InFlight>,
    calls_made: u64,
    answers: BTreeMap<(String, Time), usize>,
    said: Merge<(WorkerId, Said)>,
    weather: Weather,
    cuts: BTreeMap<String, Cut>,
    /// The second in which each worker made its last call, and how many it made in it.
    busy: BTreeMap<String, (u64, u64)>,
    throttled_until: Time,
    traffic: Option<(Duration, Chance)>,
    facts: Facts,
    tally: Tally,
    trace: Trace,
}

/// Something that is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Land(u64),
    Answer(u64),
    Put,
}

#[derive(Debug)]
struct InFlight {
    who: String,
    call: Box<dyn Call>,
    answer: Answer,
    stale: usize,
    /// How many things are still due with it.
    left: u32,
}

/// Until when a worker does not reach the services.
#[derive(Clone, Copy, Debug, Default)]
struct Cut {
    leases: Time,
    records: Time,
}

impl World {
    /// A world of that seed, with a stream of so many shards and no workers, in which nothing goes
    /// wrong.
    ///
    /// # Errors
    /// None yet; worlds may refuse what they cannot be.
    pub fn new(seed: u64, shards: usize) -> Result<Self, SimError> {
        let clock = ServiceClock::default();
        let stream = MemoryStream::new("simulated", shards, Arc::new(clock.clone()));
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
            busy: BTreeMap::new(),
            throttled_until: Time::default(),
            traffic: None,
            facts,
            tally: Tally::default(),
            trace: Trace::default(),
        })
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

    /// The stream, to set how it treats its readers.
    #[must_use]
    pub const fn stream(&self) -> &MemoryStream {
        &self.services.stream
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

    /// Starts a worker. If its settings leave the initial position open, it begins at the trim
    /// horizon.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn start(
        &mut self,
        name: &str,
        config: WorkerConfig,
        factory: impl ProcessorFactory<Processor: RecordProcessor>,
    ) -> Result<(), SimError> {
        self.start_at_speed(name, 1_000, config, factory)
    }

    /// Starts a worker whose clock runs at `speed` thousandths of the world's.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn start_at_speed(
        &mut self,
        name: &str,
        speed: u64,
        mut config: WorkerConfig,
        factory: impl ProcessorFactory,
    ) -> Result<(), SimError> {
        if config.retrieval.initial_position == InitialPosition::default() {
            config.retrieval.initial_position = InitialPosition::TrimHorizon;
        }
        self.start_exactly(name, speed, config, factory)
    }

    pub(super) fn start_exactly(
        &mut self,
        name: &str,
        speed: u64,
        config: WorkerConfig,
        factory: impl ProcessorFactory,
    ) -> Result<(), SimError> {
        self.starts += 1;
        if speed != 1_000 {
            self.tally.count(Fault::Drift);
        }
        self.facts.clock_runs_at(speed);
        if config.delivery.checkpoints != CheckpointPolicy::Automatic {
            self.facts.checkpoints_are_manual();
        }
        let start = Start {
            name,
            incarnation: self.starts,
            now: self.now,
            time_of_day: self.clock.time_of_day(),
            speed,
            chance: Chance::of(self.seed, self.starts),
        };
        let member = Member::start(start, config, factory)?;
        self.trace.line(self.now, name, format_args!("starts as {}", member.id));
        self.members.push(member);
        Ok(())
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

    fn broken(&self, violation: Violation) -> SimError {
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
        let second = at.millis() / 1_000;
        let (counted, calls) = self.busy.entry(who.to_owned()).or_default();
        if *counted != second {
            (*counted, *calls) = (second, 0);
        }
        *calls += 1;
        if *calls < CALLS_MAX {
            return Ok(());
        }
        let seen = format!("{who} makes {calls} calls within a second, the last one: {what}");
        Err(self.broken(Violation { at, oracle: Oracle::CallsBounded, seen }))
    }

    /// Draws what becomes of a call.
    fn send(&mut self, nth: usize, at: Time, call: Box<dyn Call>) {
        let Some(member) = self.members.get_mut(nth) else { return };
        let (who, is_of_records) = (member.name.clone(), call.what().is_of_records());
        let cut = self.cuts.get(&who).copied().unwrap_or_default();
        let expires = matches!(call.what(), What::Read(_));
        let is_throttled = at < self.throttled_until && member.chance.hits(0.7);
        let fate = if is_of_records && at < cut.records {
            Fate::cut(Fault::RecordsCut)
        } else if !is_of_records && at < cut.leases {
            Fate::cut(Fault::LeasesCut)
        } else if is_throttled {
            Weather { throttled: 1.0, ..Weather::default() }.fate(&mut member.chance, expires)
        } else {
            self.weather.fate(&mut member.chance, expires)
        };
        let is_scan = matches!(call.what(), What::Scan);
        let is_stale = is_scan && member.chance.hits(self.weather.stale_scan);
        let stale = if is_stale { member.chance.between(1, STALE_MAX as u64) } else { 0 };
        if let What::Write(write) = call.what() {
            self.facts.sent(at, &member.id, write.number);
        }
        fate.fault.into_iter().for_each(|fault| self.tally.count(fault));
        if is_stale {
            self.tally.count(Fault::StaleScan);
        }
        if self.trace.is_on() {
            let fault = fate.fault.map(|fault| format!(" ({fault})")).unwrap_or_default();
            self.trace.line(at, &who, format_args!("{}{fault}", call.what()));
        }
        self.schedule(at, who, call, fate, usize::try_from(stale).unwrap_or(0));
    }

    fn schedule(&mut self, at: Time, who: String, call: Box<dyn Call>, fate: Fate, stale: usize) {
        let id = self.calls_made;
        self.calls_made += 1;
        let after = |millis| at + Duration::from_millis(millis);
        let mut left = 1;
        for landing in fate.landings.into_iter().flatten() {
            self.agenda.push(after(landing), Due::Land(id));
            left += 1;
        }
        let answered = after(fate.answered);
        self.agenda.push(answered, Due::Answer(id));
        *self.answers.entry((who.clone(), answered)).or_default() += 1;
        self.calls.insert(id, InFlight { who, call, answer: fate.answer, stale, left });
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
        let said = match &what {
            What::Write(write) => {
                let before = self.services.lease(&write.key);
                let said = flight.call.land(&self.services, 0);
                let after = self.services.lease(&write.key);
                if before != after {
                    let (before, after) = (before.as_ref(), after.as_ref());
                    self.facts.landed(&Landing { at: self.now, write, before, after });
                }
                said
            }
            _ => flight.call.land(&self.services, flight.stale),
        };
        let is_long = matches!(what, What::Scan | What::ListShards | What::Read(_));
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
            if self.trace.is_on() && !matches!(said, Said::Polled { .. }) {
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

    fn ended(&mut self, nth: usize, at: Time, end: Option<End>) -> Result<(), SimError> {
        let member = self.members.remove(nth);
        let name = member.name.clone();
        self.trace.line(at, &name, format_args!("ended: {end:?}"));
        member.kill();
        let was_asked = self.stopping.remove(&name).is_some();
        if let Some(Ok(_)) = end
            && was_asked
        {
            return Ok(());
        }
        let seen = match end {
            Some(end) => format!("{name} ended by itself: {end:?}"),
            None => format!("{name} panicked"),
        };
        Err(self.broken(Violation { at, oracle: Oracle::WorkersRun, seen }))
    }

    fn member(&mut self, name: &str) -> Option<&mut Member> {
        let now = self.now;
        self.members.iter_mut().find(|member| member.name == name && member.time <= now)
    }

    /// Kills a worker. Its calls that are on their way still land.
    pub fn crash(&mut self, name: &str) {
        if let Some(nth) = self.members.iter().position(|member| member.name == name) {
            self.trace.line(self.now, name, "crashes");
            self.tally.count(Fault::Crash);
            self.stopping.remove(name);
            self.members.remove(nth).kill();
        }
    }

    /// Asks a worker to shut down.
    pub fn stop(&mut self, name: &str) {
        let member = self.members.iter().find(|member| member.name == name);
        if let Some(member) = member {
            // One that is frozen hears of it when it goes on.
            let by = member.time.max(self.now) + STOP_MAX;
            member.shut_down();
            self.trace.line(self.now, name, "is asked to stop");
            self.tally.count(Fault::CleanStop);
            self.stopping.entry(name.to_owned()).or_insert(by);
        }
    }

    /// Whether a worker was asked to shut down and is still there.
    #[must_use]
    pub fn is_stopping(&self, name: &str) -> bool {
        self.stopping.contains_key(name)
    }

    /// Stops a worker for a while, as SIGSTOP and SIGCONT do.
    pub fn freeze(&mut self, name: &str, time: Duration) {
        let until = self.now + time;
        if let Some(member) = self.member(name) {
            member.freeze(until);
            self.patience(name, time);
            self.trace.line(self.now, name, format_args!("is frozen until {until} s"));
            self.tally.count(Fault::Freeze);
        }
    }

    /// Lets the machine of a worker sleep for a while.
    pub fn suspend(&mut self, name: &str, time: Duration) {
        let until = self.now + time;
        if let Some(member) = self.member(name) {
            member.suspend(until);
            self.patience(name, time);
            self.trace.line(self.now, name, format_args!("is suspended until {until} s"));
            self.tally.count(Fault::Suspend);
        }
    }

    /// One that is stopped while it stops may take that much longer.
    fn patience(&mut self, name: &str, time: Duration) {
        if let Some(by) = self.stopping.get_mut(name) {
            *by = *by + time;
        }
    }

    /// Cuts a worker off from the lease table, the stream, or both.
    pub fn cut(&mut self, name: &str, leases: Duration, records: Duration) {
        let cut = Cut { leases: self.now + leases, records: self.now + records };
        self.cuts.insert(name.to_owned(), cut);
        self.trace.line(self.now, name, format_args!("is cut off: {cut:?}"));
    }

    /// Refuses most calls for a while.
    pub fn throttle(&mut self, time: Duration) {
        self.throttled_until = self.throttled_until.max(self.now + time);
        self.trace.line(self.now, "-", format_args!("throttled until {} s", self.throttled_until));
    }

    /// Everything works from now on. What is on its way stays as it was drawn.
    pub fn calm(&mut self) {
        self.weather = Weather::default();
        self.cuts.clear();
        self.throttled_until = Time::default();
        self.services.stream.set_list_lag(Duration::ZERO);
        self.services.stream.set_page_shards(usize::MAX);
        self.trace.line(self.now, "-", "calm");
    }

    /// Puts a record at random hash keys every so often, from now on.
    pub fn send_every(&mut self, pause: Duration) {
        let is_new = self.traffic.is_none();
        let chance = Chance::of(self.seed, u64::MAX);
        self.traffic = Some((pause, chance));
        if is_new {
            self.agenda.push(self.now + pause, Due::Put);
        }
    }

    /// Puts no more records.
    pub fn send_no_more(&mut self) {
        self.traffic = None;
    }

    fn put_next(&mut self) {
        let Some((pause, chance)) = &mut self.traffic else { return };
        let high = u128::from(chance.between(0, u64::MAX));
        let next = self.now + Duration::from_millis(chance.between(1, 2 * millis(*pause).max(1)));
        self.agenda.push(next, Due::Put);
        self.put(high << 64);
    }

    /// Puts a record at a hash key.
    pub fn put(&mut self, hash_key: u128) {
        let put = self.services.stream.put_at(hash_key, "key", "data");
        if let Ok((shard, number)) = put {
            self.facts.put(&shard, number, self.clock.time_of_day());
        }
    }

    /// The open shards.
    #[must_use]
    pub fn open_shards(&self) -> Vec<Shard> {
        let shards = self.services.stream.shards().into_iter();
        shards.filter(|shard| !shard.is_closed()).collect()
    }

    /// Splits a shard in its middle.
    pub fn split(&mut self, shard: &ShardId) {
        let shards = self.open_shards();
        let Some(open) = shards.iter().find(|open| open.id == *shard) else { return };
        let range = open.hash_range;
        let middle = range.start + (range.end - range.start) / 2;
        if self.services.stream.split(shard, middle).is_ok() {
            self.tally.count(Fault::Split);
            self.trace.line(self.now, "-", format_args!("splits {shard}"));
            self.facts.reshard(&self.services.stream.shards());
        }
    }

    /// Merges a shard with its neighbour above, if that is open.
    pub fn merge(&mut self, shard: &ShardId) {
        let shards = self.open_shards();
        let end = shards.iter().find(|open| open.id == *shard).map(|open| open.hash_range.end);
        let next = end.and_then(|end| end.checked_add(1));
        let next = next.and_then(|next| shards.iter().find(|open| open.hash_range.start == next));
        let Some(next) = next else { return };
        if self.services.stream.merge(shard, &next.id).is_ok() {
            self.tally.count(Fault::Merge);
            self.trace.line(self.now, "-", format_args!("merges {shard} and {}", next.id));
            self.facts.reshard(&self.services.stream.shards());
        }
    }

    /// Drops the records of a shard that are done, and so many more.
    pub fn trim(&mut self, shard: &ShardId) {
        if let Some(number) = self.facts.first_undone(shard) {
            self.services.stream.trim_before(shard, number);
            self.facts.trim(shard, number);
            self.tally.count(Fault::Trim);
            self.trace.line(self.now, "-", format_args!("trims {shard} before {number}"));
        }
    }

    /// Deletes a lease's row, as somebody at a console may.
    pub fn delete_row(&mut self, shard: &ShardId, calm_after: Duration) {
        self.services.table.remove(shard.as_str());
        self.facts.row_deleted(shard, self.now + calm_after);
        self.tally.count(Fault::DeletedRow);
        self.trace.line(self.now, "-", format_args!("deletes the row of {shard}"));
    }

    /// Counts a fault that somebody else made.
    pub(super) fn count(&mut self, fault: Fault) {
        self.tally.count(fault);
    }

    /// Adds what somebody else counted.
    pub(super) fn count_all(&mut self, tally: &Tally) {
        self.tally.add(tally);
    }

    /// Stops all faults, and waits until the fleet is as it should be. Returns how long that took.
    ///
    /// # Errors
    /// If it does not come to be so, or a promise is broken on the way.
    pub fn heal(&mut self) -> Result<Duration, SimError> {
        self.calm();
        self.send_no_more();
        let began = self.now;
        loop {
            self.run_for(LOOK_EVERY)?;
            let is_awake = self.members.iter().all(|member| member.time <= self.now);
            if !is_awake {
                continue; // A frozen one cannot heal.
            }
            match is_healthy(&self.facts, &self.leases(), &self.statuses()) {
                Ok(()) => return Ok(self.now - began),
                Err((oracle, seen)) if self.now - began > HEAL_MAX => {
                    let seen = format!("not healed after {HEAL_MAX:?}: {seen}");
                    return Err(self.broken(Violation { at: self.now, oracle, seen }));
                }
                Err(_) => {}
            }
        }
    }

    /// Shuts all workers down, and waits for that.
    ///
    /// # Errors
    /// If one does not stop in time, or leaves something behind.
    pub fn shut_down(&mut self) -> Result<(), SimError> {
        self.run_for(SETTLE)?;
        for name in self.workers() {
            self.stop(&name);
        }
        while !self.members.is_empty() {
            self.run_for(LOOK_EVERY)?;
        }
        let leases = self.leases();
        let owned: Vec<_> = leases
            .iter()
            .filter(|lease| !lease.is_ended() && lease.owner.is_some())
            .map(|lease| &lease.key)
            .collect();
        if owned.is_empty() {
            return Ok(());
        }
        let seen = format!("workers are gone, and still own {owned:?}");
        Err(self.broken(Violation { at: self.now, oracle: Oracle::CleanEnds, seen }))
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
