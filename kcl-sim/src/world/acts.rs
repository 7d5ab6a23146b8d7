//! What can be done to a world: to its workers, its stream, its table. What strikes nothing is an
//! error: a test in which nothing happened shows nothing.

use std::time::Duration;

use futures::FutureExt;
use kcl_core::backend::{Conditional, LeaseStore, LeaseWrite};
use kcl_core::model::{LeaseKey, SequenceNumber, Shard, ShardId};

use crate::error::SimError;
use crate::memory::LatePage;
use crate::oracle::Landing;
use crate::time::Time;
use crate::world::faults::{Fault, Weather};
use crate::world::member::Member;
use crate::world::{Cut, World};

/// How long a worker that was asked to stop may take.
const STOP_MAX: Duration = Duration::from_secs(45);

const NOT_OPEN: &str = "it is not an open shard: open_shards() has those";

impl World {
    /// Kills a worker. Its calls that are on their way still land.
    ///
    /// # Errors
    /// If it does not run.
    pub fn crash(&mut self, name: &str) -> Result<(), SimError> {
        let nth = self.expect_running(name)?;
        self.trace.line(self.now, name, "crashes");
        self.tally.count(Fault::Crash);
        self.stopping.remove(name);
        self.members.remove(nth).kill();
        Ok(())
    }

    /// Asks a worker to shut down. To wait until it has, and see what became of its shards, ask for the
    /// [next end](Self::next_end).
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&mut self, name: &str) -> Result<(), SimError> {
        let nth = self.expect_running(name)?;
        let Some(member) = self.members.get(nth) else { return Ok(()) };
        // One that is frozen hears of it when it goes on.
        let by = member.time.max(self.now) + STOP_MAX;
        member.shut_down();
        self.trace.line(self.now, name, "is asked to stop");
        self.tally.count(Fault::CleanStop);
        self.stopping.entry(name.to_owned()).or_insert(by);
        Ok(())
    }

    /// Whether a worker was asked to shut down and is still there.
    #[must_use]
    pub fn is_stopping(&self, name: &str) -> bool {
        self.stopping.contains_key(name)
    }

    /// Whether nobody else could take what it holds: the others are gone or stopping, stand still, or
    /// do not reach the table.
    pub(crate) fn is_needed(&self, name: &str) -> bool {
        let mut others = self.members.iter().filter(|member| member.name != name);
        others.all(|other| {
            let cut = self.cuts.get(&other.name).is_some_and(|cut| cut.leases > self.now);
            cut || other.time > self.now || self.is_stopping(&other.name)
        })
    }

    /// Stops a worker for a while, as SIGSTOP and SIGCONT do.
    ///
    /// # Errors
    /// If it does not run, or stands still already.
    pub fn freeze(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        self.stand_still(name, time, Member::freeze)?;
        let until = self.now + time;
        self.trace.line(self.now, name, format_args!("is frozen until {until} s"));
        self.tally.count(Fault::Freeze);
        Ok(())
    }

    /// Lets the machine of a worker sleep for a while.
    ///
    /// # Errors
    /// If it does not run, or stands still already.
    pub fn suspend(&mut self, name: &str, time: Duration) -> Result<(), SimError> {
        self.stand_still(name, time, Member::suspend)?;
        let until = self.now + time;
        self.trace.line(self.now, name, format_args!("is suspended until {until} s"));
        self.tally.count(Fault::Suspend);
        Ok(())
    }

    fn stand_still(
        &mut self,
        name: &str,
        time: Duration,
        how: impl FnOnce(&mut Member, Time),
    ) -> Result<(), SimError> {
        let nth = self.expect_running(name)?;
        let until = self.now + time;
        let Some(member) = self.members.get_mut(nth) else { return Ok(()) };
        if member.time > self.now {
            return Err(SimError::StandsStill { name: name.to_owned(), until: member.time });
        }
        how(member, until);
        let id = member.id.clone();
        self.facts.frozen(&id, until);
        // One that is stopped while it stops may take that much longer.
        if let Some(by) = self.stopping.get_mut(name) {
            *by = *by + time;
        }
        Ok(())
    }

    /// Cuts a worker off from the lease table, the stream, or both. If it does not run, or ends
    /// meanwhile, this holds for its successor.
    ///
    /// # Errors
    /// If no worker of that name was ever started.
    pub fn cut(&mut self, name: &str, leases: Duration, records: Duration) -> Result<(), SimError> {
        self.expect_known(name)?;
        let cut = Cut { leases: self.now + leases, records: self.now + records };
        self.cuts.insert(name.to_owned(), cut);
        self.trace.line(self.now, name, format_args!("is cut off: {cut:?}"));
        Ok(())
    }

    /// Refuses most calls for a while.
    pub fn throttle(&mut self, time: Duration) {
        self.throttled_until = self.throttled_until.max(self.now + time);
        self.trace.line(self.now, "-", format_args!("throttled until {} s", self.throttled_until));
    }

    /// Makes lists of shards consist of pages of so many, of which the `late` ones show them as they
    /// were so long ago: what happened meanwhile is seen by half. Until the next
    /// [`calm`](Self::calm).
    pub fn list_late(&mut self, lag: Duration, page_shards: usize, late: LatePage) {
        self.tally.count(Fault::StaleList);
        self.services.stream.set_list_lag(lag);
        self.services.stream.set_page_shards(page_shards, late);
    }

    /// Everything works from now on. What is on its way stays as it was drawn.
    pub fn calm(&mut self) {
        self.weather = Weather::default();
        self.cuts.clear();
        self.throttled_until = Time::default();
        self.services.stream.set_list_lag(Duration::ZERO);
        self.services.stream.set_page_shards(usize::MAX, LatePage::First);
        self.trace.line(self.now, "-", "calm");
    }

    /// The open shards.
    #[must_use]
    pub fn open_shards(&self) -> Vec<Shard> {
        let shards = self.services.stream.shards().into_iter();
        shards.filter(|shard| !shard.is_closed()).collect()
    }

    /// Splits a shard in its middle.
    ///
    /// # Errors
    /// If it is not open, or has one hash key.
    pub fn split(&mut self, shard: &ShardId) -> Result<(), SimError> {
        let not = |why| SimError::Shard { shard: shard.clone(), why };
        let shards = self.open_shards();
        let open = shards.iter().find(|open| open.id == *shard).ok_or_else(|| not(NOT_OPEN))?;
        let range = open.hash_range;
        let middle = range.start + (range.end - range.start) / 2;
        if self.services.stream.split(shard, middle).is_err() {
            return Err(not("it has too few hash keys: split another one"));
        }
        self.tally.count(Fault::Split);
        self.trace.line(self.now, "-", format_args!("splits {shard}"));
        self.facts.reshard(&self.services.stream.shards());
        Ok(())
    }

    /// Merges a shard with its neighbour above.
    ///
    /// # Errors
    /// If it is not open, or the last one: there is none above it.
    pub fn merge(&mut self, shard: &ShardId) -> Result<(), SimError> {
        let not = |why| SimError::Shard { shard: shard.clone(), why };
        let shards = self.open_shards();
        let open = shards.iter().find(|open| open.id == *shard).ok_or_else(|| not(NOT_OPEN))?;
        let next = open.hash_range.end.checked_add(1);
        let next = shards.iter().find(|other| Some(other.hash_range.start) == next);
        let next = next.ok_or_else(|| not("no open shard lies above it: merge another one"))?;
        if self.services.stream.merge(shard, &next.id).is_err() {
            return Err(not(NOT_OPEN));
        }
        self.tally.count(Fault::Merge);
        self.trace.line(self.now, "-", format_args!("merges {shard} and {}", next.id));
        self.facts.reshard(&self.services.stream.shards());
        Ok(())
    }

    /// Drops the records of a shard before the first one that is not done, or before its last one.
    ///
    /// # Errors
    /// If nothing was ever put into it.
    pub fn trim(&mut self, shard: &ShardId) -> Result<(), SimError> {
        let number = self.facts.first_undone(shard).ok_or_else(|| SimError::Shard {
            shard: shard.clone(),
            why: "there is nothing to trim: put records first",
        })?;
        self.trim_before(shard, number);
        Ok(())
    }

    /// Drops the records of a shard before this one.
    pub(crate) fn trim_before(&mut self, shard: &ShardId, number: SequenceNumber) {
        self.services.stream.trim_before(shard, number);
        self.facts.trim(shard, number);
        self.tally.count(Fault::Trim);
        self.trace.line(self.now, "-", format_args!("trims {shard} before {number}"));
    }

    /// The closed shards whose ends are stored, as far as they are listed.
    pub(crate) fn finished_shards(&self) -> Vec<ShardId> {
        let shards = self.services.stream.shards().into_iter().map(|shard| shard.id);
        shards.filter(|shard| self.facts.is_finished(shard)).collect()
    }

    /// Forgets a closed shard, as if its retention were over.
    pub(crate) fn forget(&mut self, shard: &ShardId) {
        if self.services.stream.forget(shard).is_ok() {
            self.tally.count(Fault::VanishedShard);
            self.trace.line(self.now, "-", format_args!("forgets {shard}"));
        }
    }

    /// Deletes the stream and creates another one under its name, with records of its own that
    /// nobody must be handed.
    pub fn recreate(&mut self, shards: usize) {
        self.send_no_more();
        self.is_recreated = true;
        self.facts.recreated();
        self.services.stream.recreate(shards);
        for high in 0..16_u128 {
            drop(self.services.stream.put_at(high << 124, "key", "of another stream"));
        }
        self.tally.count(Fault::Recreated);
        self.trace.line(self.now, "-", "re-creates the stream");
    }

    /// Deletes the stream.
    pub(crate) fn delete_stream(&mut self) {
        self.send_no_more();
        self.is_recreated = true;
        self.facts.recreated();
        self.services.stream.delete();
        self.trace.line(self.now, "-", "deletes the stream");
    }

    /// Makes a write to the table as a worker that is not in this world.
    pub(crate) fn write(&mut self, write: &LeaseWrite) -> Option<Conditional> {
        let before = self.services.lease(&write.key);
        let outcome = self.services.table.write(write).now_or_never().and_then(Result::ok);
        let after = self.services.lease(&write.key);
        if before != after {
            let (before, after) = (before.as_ref(), after.as_ref());
            self.facts.landed(&Landing { at: self.now, write, before, after });
        }
        outcome
    }

    /// Deletes a lease's row, as somebody at a console may.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn delete_row(&mut self, shard: &ShardId) -> Result<(), SimError> {
        if self.services.lease(&LeaseKey::from(shard)).is_none() {
            let why = "it has no lease: leases() has those that are there";
            return Err(SimError::Shard { shard: shard.clone(), why });
        }
        self.services.table.remove(shard.as_str());
        self.facts.row_deleted(shard);
        self.tally.count(Fault::DeletedRow);
        self.trace.line(self.now, "-", format_args!("deletes the row of {shard}"));
        Ok(())
    }

    fn expect_known(&self, name: &str) -> Result<(), SimError> {
        if self.roles.contains_key(name) {
            return Ok(());
        }
        Err(SimError::NoSuchWorker { name: name.to_owned() })
    }

    /// Which of the members this is.
    pub(crate) fn expect_running(&self, name: &str) -> Result<usize, SimError> {
        self.expect_known(name)?;
        let nth = self.members.iter().position(|member| member.name == name);
        nth.ok_or_else(|| SimError::NotRunning { name: name.to_owned() })
    }
}
