//! What can be done to a world: to its workers, its stream, its table. Whoever strikes a worker that
//! was never started is told so by the next [`World::run_for`].

use std::time::Duration;

use kcl_core::model::{Shard, ShardId};

use super::faults::{Fault, Weather};
use super::member::Member;
use super::time::Time;
use super::world::{Cut, World};
use crate::kinesis::LatePage;

/// How long a worker that was asked to stop may take.
const STOP_MAX: Duration = Duration::from_secs(45);

impl World {
    /// Kills a worker. Its calls that are on their way still land.
    pub fn crash(&mut self, name: &str) {
        self.expect_known(name);
        if let Some(nth) = self.members.iter().position(|member| member.name == name) {
            self.trace.line(self.now, name, "crashes");
            self.tally.count(Fault::Crash);
            self.stopping.remove(name);
            self.members.remove(nth).kill();
        }
    }

    /// Asks a worker to shut down.
    pub fn stop(&mut self, name: &str) {
        self.expect_known(name);
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
        self.expect_known(name);
        let until = self.now + time;
        if let Some(member) = self.member(name) {
            member.freeze(until);
            let id = member.id.clone();
            self.facts.frozen(&id, until);
            self.patience(name, time);
            self.trace.line(self.now, name, format_args!("is frozen until {until} s"));
            self.tally.count(Fault::Freeze);
        }
    }

    /// Lets the machine of a worker sleep for a while.
    pub fn suspend(&mut self, name: &str, time: Duration) {
        self.expect_known(name);
        let until = self.now + time;
        if let Some(member) = self.member(name) {
            member.suspend(until);
            let id = member.id.clone();
            self.facts.frozen(&id, until);
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
        self.expect_known(name);
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

    /// The closed shards whose ends are stored, as far as they are listed.
    pub(super) fn finished_shards(&self) -> Vec<ShardId> {
        let shards = self.services.stream.shards().into_iter().map(|shard| shard.id);
        shards.filter(|shard| self.facts.is_finished(shard)).collect()
    }

    /// Forgets a closed shard, as if its retention were over.
    pub(super) fn forget(&mut self, shard: &ShardId) {
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

    /// Deletes a lease's row, as somebody at a console may.
    pub fn delete_row(&mut self, shard: &ShardId) {
        self.services.table.remove(shard.as_str());
        self.facts.row_deleted(shard);
        self.tally.count(Fault::DeletedRow);
        self.trace.line(self.now, "-", format_args!("deletes the row of {shard}"));
    }

    /// Remembers a name that no worker ever had: a test that strikes nobody shows nothing.
    fn expect_known(&mut self, name: &str) {
        if !self.roles.contains_key(name) {
            self.unknown.get_or_insert_with(|| name.to_owned());
        }
    }

    fn member(&mut self, name: &str) -> Option<&mut Member> {
        let now = self.now;
        self.members.iter_mut().find(|member| member.name == name && member.time <= now)
    }
}
