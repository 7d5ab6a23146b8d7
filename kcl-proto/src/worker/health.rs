//! Whether a worker is alive, ready and well, judged by what its process knows.

use std::time::Duration;

/// How long the lease thread may be silent while it counts as alive. It shows that it runs once a
/// second.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the phases of a worker's life")]
pub enum Phase {
    /// Preparing.
    Starting,
    /// Taking and holding leases.
    Running,
    /// Draining and releasing.
    Stopping,
    /// Ended.
    Stopped,
}

/// What a process knows about the health of its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the input of a decision")]
pub struct Signs {
    /// What the worker is doing.
    pub phase: Phase,
    /// Whether the worker's future was dropped before it ended.
    pub is_dropped: bool,
    /// How long the lease thread has been silent; `None` before it has started, or if there is
    /// none.
    pub silence: Option<Duration>,
    /// Whether the worker has decided at least once which leases it should have.
    pub knows_fleet: bool,
    /// What a start last waited for.
    pub waits_for: Option<String>,
    /// How many leases it holds.
    pub held: usize,
    /// In how many of their shards a call of the processor has run for `delivery.slow_after`.
    pub slow: usize,
    /// How long the slowest of these has run.
    pub slowest: Option<Duration>,
}

/// How well a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every probe handles each")]
pub enum Verdict {
    /// Nothing is wrong.
    Healthy,
    /// Something is wrong, and the worker does a part of its work.
    Degraded,
    /// It does none of its work.
    Down,
}

impl Signs {
    /// Returns why a restart of the process would help, or `Ok` if it would not.
    ///
    /// A table or a stream that does not answer and a slow processor are no reasons: a restart
    /// mends none of them. With `stuck_is_dead`, a processor call that has run for so long is one.
    ///
    /// # Errors
    /// The reason, as one line.
    pub fn alive(&self, stuck_is_dead: Option<Duration>) -> Result<(), String> {
        if self.is_dropped {
            return Err("the worker's future was dropped".to_owned());
        }
        match self.phase {
            Phase::Stopped => return Err("the worker has stopped".to_owned()),
            Phase::Starting | Phase::Running | Phase::Stopping => {}
        }
        if let Some(silence) = self.silence.filter(|silence| *silence > SILENCE_MAX) {
            return Err(format!("the lease thread has been silent for {} s", silence.as_secs()));
        }
        match (self.slowest, stuck_is_dead) {
            (Some(slowest), Some(limit)) if slowest >= limit => {
                Err(format!("a call of the processor has run for {} s", slowest.as_secs()))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Returns why the worker does not take part in the fleet, or `Ok` if it does. One that holds
    /// no lease is ready: there may be fewer shards than workers.
    ///
    /// # Errors
    /// The reason, as one line.
    pub fn ready(&self) -> Result<(), String> {
        self.alive(None)?;
        match self.phase {
            Phase::Running if self.knows_fleet => Ok(()),
            Phase::Running => Err("the lease table is not read yet".to_owned()),
            Phase::Starting => {
                Err(self.waits_for.clone().unwrap_or_else(|| "the worker is starting".to_owned()))
            }
            Phase::Stopping | Phase::Stopped => Err("the worker is stopping".to_owned()),
        }
    }

    /// Returns how well the worker is, and what is wrong, one line for each finding.
    #[must_use]
    pub fn verdict(&self) -> (Verdict, Vec<String>) {
        if let Err(reason) = self.alive(None) {
            return (Verdict::Down, vec![reason]);
        }
        let Some(slowest) = self.slowest.filter(|_| self.slow > 0) else {
            return (Verdict::Healthy, Vec::new());
        };
        let (slow, held, seconds) = (self.slow, self.held, slowest.as_secs());
        let finding = format!(
            "slow calls of the processor in {slow} of {held} shards, for up to {seconds} s"
        );
        let verdict = if slow < held { Verdict::Degraded } else { Verdict::Down };
        (verdict, vec![finding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that runs and holds two shards.
    fn well() -> Signs {
        Signs {
            phase: Phase::Running,
            is_dropped: false,
            silence: Some(Duration::from_millis(300)),
            knows_fleet: true,
            waits_for: Some("prepare the lease table: throttled".to_owned()),
            held: 2,
            slow: 0,
            slowest: None,
        }
    }

    fn slow(slow: usize) -> Signs {
        Signs { slow, slowest: Some(Duration::from_mins(11)), ..well() }
    }

    /// Checks whether it is alive, ready, and how well it is.
    #[track_caller]
    fn check(signs: &Signs, alive: bool, ready: bool, verdict: Verdict) {
        assert_eq!(signs.alive(None).is_ok(), alive, "alive: {signs:?}");
        assert_eq!(signs.ready().is_ok(), ready, "ready: {signs:?}");
        assert_eq!(signs.verdict().0, verdict, "{signs:?}");
    }

    #[test]
    fn only_what_a_restart_mends_ends_liveness() {
        check(&well(), true, true, Verdict::Healthy);
        check(&Signs { phase: Phase::Starting, ..well() }, true, false, Verdict::Healthy);
        check(&Signs { knows_fleet: false, ..well() }, true, false, Verdict::Healthy);
        check(&Signs { phase: Phase::Stopping, ..well() }, true, false, Verdict::Healthy);
        check(&Signs { phase: Phase::Stopped, ..well() }, false, false, Verdict::Down);
        check(&Signs { is_dropped: true, ..well() }, false, false, Verdict::Down);
        check(&Signs { silence: None, ..well() }, true, true, Verdict::Healthy);
        check(&Signs { silence: Some(SILENCE_MAX), ..well() }, true, true, Verdict::Healthy);
        let silence = Some(SILENCE_MAX + Duration::from_millis(1));
        check(&Signs { silence, ..well() }, false, false, Verdict::Down);
        check(&Signs { held: 0, ..well() }, true, true, Verdict::Healthy);
    }

    #[test]
    fn slow_processor_is_dead_only_if_it_is_asked_for() {
        check(&slow(1), true, true, Verdict::Degraded);
        check(&slow(2), true, true, Verdict::Down);
        assert!(slow(1).alive(Some(Duration::from_mins(12))).is_ok());
        assert!(slow(1).alive(Some(Duration::from_mins(11))).is_err());
        assert!(well().alive(Some(Duration::ZERO)).is_ok());
    }

    #[test]
    fn start_says_what_it_waits_for() {
        let starting = Signs { phase: Phase::Starting, ..well() };
        assert_eq!(starting.ready().unwrap_err(), "prepare the lease table: throttled");
        let silent = Signs { waits_for: None, ..starting };
        assert_eq!(silent.ready().unwrap_err(), "the worker is starting");
    }
}
