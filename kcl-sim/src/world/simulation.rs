//! The simulation behind a world: its five parts, how they step, and what can be done to them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use kcl_core::error::RunError;
use kcl_core::kpl::hash_key;
use kcl_core::model::{Position, Record, SequenceNumber, ShardId};

use super::call::{Call, Request, Services, is_lost_take};
use super::clock::{Due, WorldClock};
use super::member::{End, Member, Start, Step};
use super::members::Members;
use super::net::{Arrival, Cut, Net, Sent};
use super::observations::{Observations, WORLD};
use super::producer::{Produced, Producer, encode, key_number};
use super::stream::Stream;
use super::table::Table;
use super::worker_spec::WorkerSpec;
use crate::chance::Chance;
use crate::error::SimError;
use crate::fault::Fault;
use crate::memory::LatePage;
use crate::oracle::{Landing, Oracle, Put, SessionLanding, Violation};
use crate::time::Time;

/// The pause between two looks at a worker that must end before its successor starts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The most calls of a worker to the table that are in flight.
const CALLS_IN_FLIGHT_MAX: usize = 64;

/// A fleet, its table and its stream, and the network between them.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) seed: u64,
    pub(crate) clock: WorldClock,
    pub(crate) net: Net,
    pub(crate) stream: Stream,
    pub(crate) table: Table,
    pub(crate) members: Members,
    pub(crate) observed: Observations,
}

impl Simulation {
    pub(crate) fn new(seed: u64, shards: usize) -> Self {
        let clock = WorldClock::default();
        let stream = Stream::new(shards, clock.services());
        let mut observed = Observations::new();
        observed.facts.reshard(&stream.shards());
        Self {
            seed,
            clock,
            net: Net::default(),
            stream,
            table: Table::new(),
            members: Members::default(),
            observed,
        }
    }

    /// Runs until `end`.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn run_until(&mut self, end: Time) -> Result<(), SimError> {
        loop {
            let due = self.clock.next_due().filter(|due| *due <= end);
            let horizon = due.unwrap_or(end);
            if let Some(nth) = self.members.hindmost(horizon) {
                self.step(nth, end)?;
                continue;
            }
            self.clock.set(horizon);
            self.read_journals(horizon)?;
            if due.is_none() {
                self.observed.facts.check_waits(horizon);
                return self.verdict();
            }
            match self.clock.pop_due(horizon) {
                Some(Due::Arrive(number)) => self.arrive(number),
                Some(Due::Land(number)) => self.land(number),
                Some(Due::Answer(number)) => {
                    if let Some(Request::WriteSession(write)) = self.net.answered_request(number) {
                        self.observed.facts.session_answered(write);
                    }
                    self.net.answer(number, horizon);
                }
                Some(Due::Put) => self.put_next(),
                None => {}
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) -> Result<(), SimError> {
        self.run_until(self.now() + time)
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The error for a broken promise.
    pub(crate) const fn broken(&self, oracle: Oracle, at: Time, seen: String) -> SimError {
        SimError::Broken { seed: self.seed, violation: Violation { at, oracle, seen } }
    }

    fn verdict(&self) -> Result<(), SimError> {
        match self.observed.facts.violation().cloned() {
            None => Ok(()),
            Some(violation) => Err(SimError::Broken { seed: self.seed, violation }),
        }
    }

    /// Runs one worker until its next call or the next answer to it.
    fn step(&mut self, nth: usize, end: Time) -> Result<(), SimError> {
        let plan_time = self.members.plan_time;
        let Some(member) = self.members.get_mut(nth) else { return Ok(()) };
        let until = self.net.next_answer(&member.name).unwrap_or(end);
        let Step { calls, entries } = member.step(until.min(end).max(member.time));
        let (name, id) = (member.name.clone(), member.id.clone());
        let (time, ended) = (member.time, member.end());
        member.pay_plans(plan_time);
        for (at, entry) in entries {
            self.members.add_entry(at, &id, entry);
        }
        for (at, call) in calls {
            let is_to_table = !call.request().is_to_stream();
            if let Err(calls) = self.net.count(at, &name, call.request()) {
                let seen =
                    format!("{name} makes {calls} calls within a second: {}", call.request());
                return Err(self.broken(Oracle::CallsBounded, at, seen));
            }
            self.send(nth, at, call);
            let in_flight = self.net.in_flight(&name, CALLS_IN_FLIGHT_MAX).filter(|_| is_to_table);
            if let Some(calls) = in_flight {
                self.observed.facts.check_calls_in_flight(at, &name, calls);
            }
        }
        match ended {
            Some(end) => self.ended(nth, &name, time, end),
            None => Ok(()),
        }
    }

    /// Sends a call of a worker on its way.
    fn send(&mut self, nth: usize, at: Time, call: Box<dyn Call>) {
        let Some(member) = self.members.get_mut(nth) else { return };
        let drawn = self.net.draw(at, &member.name, call.request(), &mut member.chance);
        self.observed.sent(at, member, call.request());
        drawn.fault().into_iter().for_each(|fault| self.observed.tally.count(fault));
        if drawn.waits() {
            self.observed.tally.count(Fault::LateCredentials);
        }
        if drawn.is_stale() {
            self.observed.tally.count(Fault::StaleScan);
        }
        if self.observed.trace.is_on() {
            let fault = drawn.fault().map(|fault| format!(" ({fault})")).unwrap_or_default();
            self.observed.trace.line(at, &member.name, format_args!("{}{fault}", call.request()));
        }
        let sent = Sent { caller: member.name.clone(), call, drawn };
        if self.net.send(at, sent, &mut self.clock) {
            self.observed.tally.count(Fault::NewConnection);
        }
    }

    /// Lets an attempt of a call arrive at the table.
    fn arrive(&mut self, number: u64) {
        let Some(request) = self.net.request(number) else { return };
        let cost = self.table.cost(request);
        let (now, is_scan) = (self.clock.now(), request.is_scan());
        match self.net.arrive(number, &cost, now, &mut self.clock) {
            Arrival::Taken if is_scan => self.observed.facts.scanned(now, cost.units.reads),
            Arrival::Taken => {}
            Arrival::Throttled => self.observed.tally.count(Fault::Saturated),
        }
    }

    /// Lets a call land.
    fn land(&mut self, number: u64) {
        let Some(mut flight) = self.net.take(number) else { return };
        let now = self.clock.now();
        let (stream, table) = (self.stream.memory(), self.table.store());
        let services = Services { stream, table, stale: flight.stale, unread: flight.unread };
        let request = flight.call.request().clone();
        if let Request::Write(write) = &request {
            let before = self.table.lease(&write.key);
            flight.call.land(&services);
            let after = self.table.lease(&write.key);
            if before != after {
                self.table.count_write();
                let (before, after) = (before.as_ref(), after.as_ref());
                self.observed.facts.landed(&Landing { at: now, write, before, after });
            } else if is_lost_take(write, after.as_ref()) {
                self.observed.facts.take_lost(now, &write.key);
            }
        } else if let Request::WriteSession(write) = &request {
            let before = self.table.session(&write.session);
            flight.call.land(&services);
            let after = self.table.session(&write.session);
            if before != after {
                self.table.count_write();
                let (before, after) = (before.as_ref(), after.as_ref());
                let leases = self.table.leases();
                let landing = SessionLanding { at: now, write, before, after, leases: &leases };
                self.observed.facts.session_landed(&landing);
            }
        } else {
            flight.call.land(&services);
        }
        if request.is_scan() {
            let has_changed = self.table.reads_page(&flight.caller);
            if has_changed && matches!(request, Request::ScanOn(..)) {
                self.observed.tally.count(Fault::TornScan);
            }
        }
        if matches!(request, Request::CreateStreamStart)
            && let Some(start) = self.table.start()
        {
            self.observed.facts.begins(now, start);
        }
        if self.observed.trace.is_on() && !request.has_long_result() {
            let what = format!("  landed: {request} = {}", flight.call.result());
            self.observed.trace.line(now, &flight.caller, what);
        }
        self.net.put_back(number, flight);
    }

    /// Removes a worker that has ended: because it was asked to, or by itself.
    fn ended(
        &mut self,
        nth: usize,
        name: &str,
        at: Time,
        end: Option<End>,
    ) -> Result<(), SimError> {
        self.observed.trace.line(at, name, format_args!("ended: {end:?}"));
        let was_asked = self.members.remove(nth);
        let Some(end) = end else {
            return Err(self.broken(Oracle::WorkersRun, at, format!("{name} panicked")));
        };
        let Some(end) = self.members.keep_end(name, end) else { return Ok(()) };
        let is_due = match &end {
            Ok(_) => was_asked,
            Err(RunError::StreamRecreated { .. }) => self.stream.is_recreated(),
            Err(_) => false,
        };
        if is_due {
            return Ok(());
        }
        Err(self.broken(Oracle::WorkersRun, at, format!("{name} ended by itself: {end:?}")))
    }

    /// Reads what the workers logged until `until`.
    fn read_journals(&mut self, until: Time) -> Result<(), SimError> {
        while let Some((at, worker, entry)) = self.members.next_entry(until) {
            self.observed.entry(at, &worker, &entry);
        }
        if let Some((name, by)) = self.members.overdue(until) {
            let seen = format!("{name} was to be gone by {by} s");
            return Err(self.broken(Oracle::WorkersRun, until, seen));
        }
        self.verdict()
    }

    /// Puts the records whose turn it is.
    fn put_next(&mut self) {
        let Some((produced, pause)) = self.stream.next_put() else { return };
        self.schedule_put(pause);
        // A stream that was deleted takes no records.
        match produced {
            Produced::Users { partition_key, data } => drop(self.put(&partition_key, data)),
            Produced::Drawn { hash_key, records, is_aggregated } => {
                let (key, data) = encode(&records, is_aggregated);
                let put = self.stream.memory().put_at(hash_key, &key, data);
                let Ok((shard, sequence)) = put else { return };
                for (sub_sequence, record) in (0..).zip(records) {
                    if record.is_poison {
                        self.observed.tally.count(Fault::Poison);
                    }
                    let position = Position { sequence, sub_sequence };
                    let (at, key, is_poison) =
                        (self.clock.time_of_day(), record.key, record.is_poison);
                    self.observed.facts.put(&shard, Put { position, at, key, is_poison });
                }
            }
        }
    }

    /// Puts the producer's next record on the agenda.
    fn schedule_put(&mut self, pause: Duration) {
        self.clock.schedule(self.clock.now() + pause, Due::Put);
    }

    /// Puts a record of the user's.
    pub(crate) fn put(&mut self, partition_key: &str, data: Bytes) -> Result<Position, SimError> {
        self.put_at(hash_key(partition_key), partition_key, data, false)
    }

    /// Puts a record of the user's at a hash key.
    pub(crate) fn put_at(
        &mut self,
        hash_key: u128,
        partition_key: &str,
        data: Bytes,
        is_poison: bool,
    ) -> Result<Position, SimError> {
        let put = self.stream.memory().put_at(hash_key, partition_key, data.clone());
        let (shard, number) = put.map_err(SimError::Put)?;
        let (position, at) = (Position::of(number), self.clock.time_of_day());
        let record = Record::new(position, partition_key, data, Some(at));
        let key = key_number(partition_key);
        self.observed.facts.put(&shard, Put { position, at, key, is_poison });
        self.observed.deliveries.put(shard, record);
        Ok(position)
    }

    pub(crate) fn produce(&mut self, pause: Duration, producer: Producer) {
        if self.stream.produce(producer) {
            self.schedule_put(pause);
        }
    }

    /// Starts a worker for the first time, or with other settings.
    pub(crate) fn start(&mut self, name: &str, spec: WorkerSpec) -> Result<(), SimError> {
        self.members.add_spec(name, spec);
        self.restart(name)
    }

    /// Starts a worker once its predecessor is gone: one that is stopping ends, any other is
    /// killed.
    pub(crate) fn restart(&mut self, name: &str) -> Result<(), SimError> {
        let spec = self.members.spec(name)?.clone();
        while self.members.is_stopping(name) {
            self.run_for(LOOK_EVERY)?;
        }
        if self.members.is_running(name) {
            self.crash(name)?;
        }
        let (now, speed) = (self.now(), spec.speed);
        if speed != 1_000 {
            self.observed.tally.count(Fault::Drift);
        }
        if !spec.config.delivery.checkpoints.is_automatic() {
            self.observed.facts.checkpoints_are_manual();
        }
        let leases_max = spec.config.lease.leases_max;
        self.net.starts(name);
        let incarnation = self.members.next_incarnation();
        let chance = Chance::of(self.seed, incarnation);
        let time_of_day = self.clock.time_of_day();
        let start = Start { name, incarnation, now, time_of_day, speed, chance };
        let id = self.members.start(start, spec)?;
        self.observed.facts.clock_runs_at(&id, speed);
        self.observed.facts.calls.starts(now);
        if let Some(most) = leases_max {
            self.observed.facts.holdings.starts(&id, most);
        }
        self.observed.trace.line(now, name, format_args!("starts as {id}"));
        Ok(())
    }

    pub(crate) fn crash(&mut self, name: &str) -> Result<(), SimError> {
        self.members.kill(name)?;
        self.fault(Fault::Crash, name, "crashes");
        Ok(())
    }

    pub(crate) fn stop(&mut self, name: &str) -> Result<(), SimError> {
        self.members.shut_down(name, self.now())?;
        self.fault(Fault::CleanStop, name, "is asked to stop");
        Ok(())
    }

    pub(crate) fn freeze(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        let until = self.stand_still(name, time, Member::freeze)?;
        self.fault(Fault::Freeze, name, format_args!("is frozen until {until} s"));
        Ok(())
    }

    pub(crate) fn suspend(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        let until = self.stand_still(name, time, Member::suspend)?;
        self.fault(Fault::Suspend, name, format_args!("is suspended until {until} s"));
        Ok(())
    }

    pub(crate) fn freeze_holder(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        let id = self.members.freeze_holder(name, time)?;
        self.observed.facts.holder_frozen(&id);
        self.fault(Fault::FrozenHolder, name, format_args!("has a frozen holder for {time:?}"));
        Ok(())
    }

    fn stand_still(
        &mut self,
        name: &str,
        time: Duration,
        how: impl FnOnce(&mut Member, Time),
    ) -> Result<Time, SimError> {
        let (now, until) = (self.now(), self.now() + time);
        let id = self.members.stand_still(name, until, now, how)?;
        self.observed.facts.frozen(&id, until);
        Ok(until)
    }

    pub(crate) fn cut(
        &mut self,
        name: &str,
        leases: Duration,
        records: Duration,
    ) -> Result<(), SimError> {
        self.members.spec(name)?;
        let now = self.now();
        let cut = Cut { leases: now + leases, records: now + records };
        self.net.cut(name, cut);
        self.observed.trace.line(now, name, format_args!("is cut off: {cut:?}"));
        Ok(())
    }

    pub(crate) fn throttle(&mut self, time: Duration) {
        let until = self.net.throttle(self.now() + time);
        self.observed.trace.line(
            self.clock.now(),
            WORLD,
            format_args!("throttled until {until} s"),
        );
    }

    pub(crate) fn calm(&mut self) {
        self.net.calm();
        self.stream.calm();
        self.observed.trace.line(self.clock.now(), WORLD, "calm");
    }

    pub(crate) fn list_late(&mut self, lag: Duration, page_shards: usize, late: LatePage) {
        self.observed.tally.count(Fault::StaleList);
        self.stream.set_list_lag(lag, page_shards, late);
    }

    pub(crate) fn split(&mut self, shard: &ShardId) -> Result<(), SimError> {
        self.stream.split(shard)?;
        self.fault(Fault::Split, WORLD, format_args!("splits {shard}"));
        self.observed.facts.reshard(&self.stream.shards());
        Ok(())
    }

    pub(crate) fn merge(&mut self, shard: &ShardId) -> Result<(), SimError> {
        let other = self.stream.merge(shard)?;
        self.fault(Fault::Merge, WORLD, format_args!("merges {shard} and {other}"));
        self.observed.facts.reshard(&self.stream.shards());
        Ok(())
    }

    pub(crate) fn trim(&mut self, shard: &ShardId) -> Result<(), SimError> {
        let why = "there is nothing to trim: put records first";
        let number = self.observed.facts.first_undone(shard);
        let number = number.ok_or_else(|| SimError::Shard { shard: shard.clone(), why })?;
        self.trim_before(shard, number);
        Ok(())
    }

    pub(crate) fn trim_before(&mut self, shard: &ShardId, number: SequenceNumber) {
        self.stream.memory().trim_before(shard, number);
        self.observed.facts.trim(shard, number);
        self.fault(Fault::Trim, WORLD, format_args!("trims {shard} before {number}"));
    }

    pub(crate) fn delete_stream(&mut self) {
        self.observed.facts.recreated();
        self.stream.delete();
        self.observed.trace.line(self.clock.now(), WORLD, "deletes the stream");
    }

    pub(crate) fn forget(&mut self, shard: &ShardId) {
        if self.stream.memory().forget(shard).is_ok() {
            self.fault(Fault::VanishedShard, WORLD, format_args!("forgets {shard}"));
        }
    }

    pub(crate) fn recreate(&mut self, shards: usize) {
        self.observed.facts.recreated();
        self.stream.recreate(shards);
        self.fault(Fault::Recreated, WORLD, "re-creates the stream");
    }

    /// Whether no other worker could take the leases of this one.
    pub(crate) fn is_needed(&self, name: &str) -> bool {
        let now = self.now();
        self.members.is_needed(name, now, |other| self.net.is_cut_from_table(other, now))
    }

    pub(crate) fn fault(&mut self, fault: Fault, who: &str, what: impl fmt::Display) {
        self.observed.fault(fault, self.clock.now(), who, what);
    }
}
