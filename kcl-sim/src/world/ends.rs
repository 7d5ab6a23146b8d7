//! Workers end: because they were asked to, or by themselves.

use std::collections::VecDeque;
use std::time::Duration;

use kcl_core::error::RunError;

use crate::error::SimError;
use crate::oracle::{Oracle, Violation};
use crate::time::Time;
use crate::world::World;
use crate::world::healing::LOOK_EVERY;
use crate::world::member::End;

/// How long a worker may take to end.
const END_MAX: Duration = Duration::from_mins(3);

/// The ends that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    is_awaited: bool,
    seen: VecDeque<(String, End)>,
}

impl World {
    /// Lets time pass until a worker ends, and returns which one and how: because it was asked to
    /// [stop](Self::stop), or by itself, as when its failure policy stops the worker. One that ends
    /// by itself while nobody waits for it breaks a promise.
    ///
    /// # Errors
    /// If none ends within three minutes; the first promise that was broken.
    pub fn next_end(&mut self) -> Result<(String, End), SimError> {
        let until = self.now + END_MAX;
        self.ends.is_awaited = true;
        let mut passed = Ok(());
        while passed.is_ok() && self.ends.seen.is_empty() && self.now < until {
            passed = self.run_for(LOOK_EVERY);
        }
        self.ends.is_awaited = false;
        passed?;
        self.ends.seen.pop_front().ok_or(SimError::NobodyEnds)
    }

    /// Lets time pass until this worker ends, and returns how. Looks whether it has every so often.
    pub(crate) fn end_of(&mut self, name: &str, every: Duration) -> Result<End, SimError> {
        let until = self.now + END_MAX;
        self.ends.is_awaited = true;
        let mut passed = Ok(());
        let mut end = None;
        while passed.is_ok() && end.is_none() && self.now < until {
            passed = self.run_for(every);
            let nth = self.ends.seen.iter().position(|(who, _)| who == name);
            end = nth.and_then(|nth| self.ends.seen.remove(nth)).map(|(_, end)| end);
        }
        self.ends.is_awaited = false;
        passed?;
        end.ok_or(SimError::NobodyEnds)
    }

    /// Waits until every worker has ended by itself, because there is another stream.
    ///
    /// # Errors
    /// If one goes on, or is handed a record of the other stream.
    pub fn ends_by_itself(&mut self) -> Result<Duration, SimError> {
        let began = self.now;
        while !self.members.is_empty() && self.now - began < END_MAX {
            self.run_for(LOOK_EVERY)?;
        }
        if self.members.is_empty() {
            return Ok(self.now - began);
        }
        let seen = format!("{:?} go on with another stream", self.workers());
        Err(self.broken(Violation { at: self.now, oracle: Oracle::WorkersRun, seen }))
    }

    /// A worker has ended.
    pub(crate) fn ended(&mut self, nth: usize, at: Time, end: Option<End>) -> Result<(), SimError> {
        let member = self.members.remove(nth);
        let name = member.name.clone();
        self.trace.line(at, &name, format_args!("ended: {end:?}"));
        member.kill();
        let was_asked = self.stopping.remove(&name).is_some();
        let Some(end) = end else {
            return Err(self.stops_running(at, format!("{name} panicked")));
        };
        let is_due = match &end {
            Ok(_) => was_asked,
            Err(RunError::StreamRecreated { .. }) => self.is_recreated,
            Err(_) => false,
        };
        if self.ends.is_awaited {
            self.ends.seen.push_back((name, end));
            return Ok(());
        }
        if is_due {
            return Ok(());
        }
        Err(self.stops_running(at, format!("{name} ended by itself: {end:?}")))
    }

    fn stops_running(&self, at: Time, seen: String) -> SimError {
        self.broken(Violation { at, oracle: Oracle::WorkersRun, seen })
    }
}
