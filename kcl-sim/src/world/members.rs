//! The workers of a world.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kcl_core::event::WorkerStatus;
use kcl_core::metrics::Snapshot;
use kcl_core::model::WorkerId;

use super::member::{End, Member, Start};
use super::worker_spec::WorkerSpec;
use crate::error::SimError;
use crate::journal::Entry;
use crate::time::{Time, TimeQueue};

/// How long a worker may take to shut down.
const SHUTDOWN_MAX: Duration = Duration::from_secs(45);

/// The workers: those that run, in the order of their starts, and those that can be started again.
#[derive(Debug, Default)]
pub(crate) struct Members {
    running: Vec<Member>,
    specs: BTreeMap<String, WorkerSpec>,
    /// Workers that were asked to stop, and by when each must have ended.
    stopping: BTreeMap<String, Time>,
    starts: u64,
    /// Journal entries that the world has not read yet.
    entries: TimeQueue<(WorkerId, Entry)>,
    ends: Ends,
    /// How long a plan takes per lease that it looks at. By default, no time.
    pub(crate) plan_time: Duration,
}

/// The ends of workers, for a caller that waits for them.
#[derive(Debug, Default)]
struct Ends {
    is_awaited: bool,
    seen: VecDeque<(String, End)>,
}

impl Members {
    pub(crate) fn add_spec(&mut self, name: &str, spec: WorkerSpec) {
        self.specs.insert(name.to_owned(), spec);
    }

    /// Returns how to start a worker.
    ///
    /// # Errors
    /// If no worker of that name was ever started.
    pub(crate) fn spec(&self, name: &str) -> Result<&WorkerSpec, SimError> {
        self.specs.get(name).ok_or_else(|| SimError::NoSuchWorker { name: name.to_owned() })
    }

    /// Counts a start: the incarnation of the next worker.
    pub(crate) const fn next_incarnation(&mut self) -> u64 {
        self.starts += 1;
        self.starts
    }

    /// Starts a worker and returns its id.
    pub(crate) fn start(
        &mut self,
        start: Start<'_>,
        spec: WorkerSpec,
    ) -> Result<WorkerId, SimError> {
        let member = spec.start(start)?;
        let id = member.id.clone();
        self.running.push(member);
        Ok(id)
    }

    /// Kills a worker.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn kill(&mut self, name: &str) -> Result<(), SimError> {
        let nth = self.place(name)?;
        self.remove(nth);
        Ok(())
    }

    /// Removes a worker and everything that still runs of it. Returns whether it was asked to stop.
    pub(crate) fn remove(&mut self, nth: usize) -> bool {
        let member = self.running.remove(nth);
        let was_asked = self.stopping.remove(&member.name).is_some();
        member.kill();
        was_asked
    }

    /// Asks a worker to shut down.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn shut_down(&mut self, name: &str, now: Time) -> Result<(), SimError> {
        let member = self.running_mut(name)?;
        // A frozen worker learns of it when it runs again.
        let by = member.time.max(now) + SHUTDOWN_MAX;
        member.shut_down();
        self.stopping.entry(name.to_owned()).or_insert(by);
        Ok(())
    }

    /// Lets a worker stand still for a while, and returns its id.
    ///
    /// # Errors
    /// If it does not run, or stands still already.
    pub(crate) fn stand_still(
        &mut self,
        name: &str,
        until: Time,
        now: Time,
        how: impl FnOnce(&mut Member, Time),
    ) -> Result<WorkerId, SimError> {
        let member = self.running_mut(name)?;
        if member.time > now {
            return Err(SimError::StandsStill { name: name.to_owned(), until: member.time });
        }
        how(member, until);
        let id = member.id.clone();
        // A worker that stands still while it shuts down may take that much longer.
        if let Some(by) = self.stopping.get_mut(name) {
            *by = *by + (until - now);
        }
        Ok(id)
    }

    /// Freezes the task of one lease of a worker for this time.
    ///
    /// # Errors
    /// If the worker does not run.
    pub(crate) fn freeze_holder(
        &mut self,
        name: &str,
        time: Duration,
    ) -> Result<WorkerId, SimError> {
        let member = self.running_mut(name)?;
        member.freeze_holder(time);
        Ok(member.id.clone())
    }

    /// The worker that has run least far, if that is not as far as `until`.
    pub(crate) fn hindmost(&self, until: Time) -> Option<usize> {
        let late = self.running.iter().enumerate().filter(|(_, member)| member.time < until);
        late.min_by_key(|(_, member)| member.time).map(|(nth, _)| nth)
    }

    pub(crate) fn get_mut(&mut self, nth: usize) -> Option<&mut Member> {
        self.running.get_mut(nth)
    }

    /// Adds a journal entry of a worker.
    pub(crate) fn add_entry(&mut self, at: Time, worker: &WorkerId, entry: Entry) {
        self.entries.push(at, (worker.clone(), entry));
    }

    /// Removes and returns the next journal entry, if it was logged by `until`.
    pub(crate) fn next_entry(&mut self, until: Time) -> Option<(Time, WorkerId, Entry)> {
        self.entries.pop(until).map(|(at, (worker, entry))| (at, worker, entry))
    }

    /// The names of the workers that run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.running.iter().map(|member| member.name.clone()).collect()
    }

    pub(crate) fn statuses(&self) -> Vec<WorkerStatus> {
        self.running.iter().map(Member::status).collect()
    }

    /// The metrics of a worker that runs.
    pub(crate) fn metrics(&self, name: &str) -> Result<Snapshot, SimError> {
        let nth = self.place(name)?;
        let member = self.running.get(nth);
        member.map(Member::metrics).ok_or_else(|| not_running(name))
    }

    /// The id of a worker that runs.
    pub(crate) fn id(&self, name: &str) -> Result<&WorkerId, SimError> {
        let nth = self.place(name)?;
        let member = self.running.get(nth);
        member.map(|member| &member.id).ok_or_else(|| not_running(name))
    }

    /// The id under which a worker writes now.
    pub(crate) fn current_id(&self, name: &str) -> Result<WorkerId, SimError> {
        let nth = self.place(name)?;
        let member = self.running.get(nth);
        member.map(|member| member.status().worker).ok_or_else(|| not_running(name))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Whether a worker was asked to shut down and still runs.
    pub(crate) fn is_stopping(&self, name: &str) -> bool {
        self.stopping.contains_key(name)
    }

    /// A worker that should have shut down before `now`, and by when.
    pub(crate) fn overdue(&self, now: Time) -> Option<(&str, Time)> {
        let late = self.stopping.iter().find(|(_, by)| **by < now);
        late.map(|(name, by)| (name.as_str(), *by))
    }

    /// Whether no other worker could take the leases of this one: each of them is stopping, stands
    /// still, or `is_cut` from the table.
    pub(crate) fn is_needed(&self, name: &str, now: Time, is_cut: impl Fn(&str) -> bool) -> bool {
        let mut others = self.running.iter().filter(|member| member.name != name);
        others.all(|other| is_cut(&other.name) || other.time > now || self.is_stopping(&other.name))
    }

    /// The time up to which the last worker stands still.
    pub(crate) fn thawed_at(&self) -> Time {
        self.running.iter().map(|member| member.time).max().unwrap_or_default()
    }

    /// Starts or ends waiting for ends of workers.
    pub(crate) const fn await_ends(&mut self, is_awaited: bool) {
        self.ends.is_awaited = is_awaited;
    }

    /// Keeps the end of a worker for the caller that waits for one. Returns it if there is no
    /// caller.
    pub(crate) fn keep_end(&mut self, name: &str, end: End) -> Option<End> {
        if !self.ends.is_awaited {
            return Some(end);
        }
        self.ends.seen.push_back((name.to_owned(), end));
        None
    }

    pub(crate) fn has_end(&self) -> bool {
        !self.ends.seen.is_empty()
    }

    pub(crate) fn next_end(&mut self) -> Option<(String, End)> {
        self.ends.seen.pop_front()
    }

    /// Removes and returns the end of a worker.
    pub(crate) fn end_of(&mut self, name: &str) -> Option<End> {
        let nth = self.ends.seen.iter().position(|(ended, _)| ended == name)?;
        self.ends.seen.remove(nth).map(|(_, end)| end)
    }

    fn running_mut(&mut self, name: &str) -> Result<&mut Member, SimError> {
        let nth = self.place(name)?;
        self.running.get_mut(nth).ok_or_else(|| not_running(name))
    }

    /// Which of those that run a worker is.
    fn place(&self, name: &str) -> Result<usize, SimError> {
        self.spec(name)?;
        let nth = self.running.iter().position(|member| member.name == name);
        nth.ok_or_else(|| not_running(name))
    }
}

fn not_running(name: &str) -> SimError {
    SimError::NotRunning { name: name.to_owned() }
}
