//! Why a shard is not processed: the checks in their order, and the first one that fails.

use std::fmt;

use crate::model::{HoldUpKind, LeaseKey, ShardId, WorkerId};
use crate::operate::fleet_report::FleetReport;
use crate::operate::look::Seen;
use crate::operate::progress::has_moved;
use crate::operate::shard_report::{ShardReport, ShardState, note, short_name};
use crate::operate::worker_report::{WorkerReport, WorkerState};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Found {
    /// This is as it should be.
    Ok,
    /// This is why the shard is not processed.
    Cause,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Cause => "CAUSE",
            Self::Note => "note",
        })
    }
}

/// One check of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Check {
    /// What is checked, such as `owner alive`.
    pub name: &'static str,
    /// What was found.
    pub found: Found,
    /// What was found, in one line.
    pub text: String,
}

/// Why a shard is not processed, or that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Why {
    /// The version of its JSON.
    pub schema: u32,
    /// The shard.
    pub shard: ShardId,
    /// The answer, in one line.
    pub summary: String,
    /// The checks, in order. The first one that fails is the cause, and the last but for notes.
    pub checks: Vec<Check>,
    /// What to do, or `None` if nothing needs to be done.
    pub advice: Option<String>,
}

/// The cause that a check found.
struct Cause {
    text: String,
    summary: String,
    advice: String,
}

/// A check that found no cause says what it found; nothing if the rows do not tell.
type Outcome = Result<String, Cause>;

impl Why {
    /// Explains the shard of this id.
    #[must_use]
    pub fn of(shard: &ShardId, report: &FleetReport, seen: &Seen<'_>) -> Self {
        let mut why = Self {
            schema: FleetReport::SCHEMA,
            shard: shard.clone(),
            summary: String::new(),
            checks: Vec::new(),
            advice: None,
        };
        let name = short_name(shard);
        let lease = match lease(shard, report, seen) {
            Ok(lease) => lease,
            Err(cause) => return why.caused("lease", cause),
        };
        why.checks.push(Check { name: "lease", found: Found::Ok, text: "exists".to_owned() });
        if lease.state == ShardState::Ended {
            let children: Vec<_> = lease.children.iter().map(short_name).collect();
            let children = children.join(" and ");
            why.summary = format!("Shard {name} is finished: its children are {children}.");
            return why.ok("ended", "all its records are processed".to_owned());
        }
        let case = Case { name: &name, shard: lease, report, seen };
        for (check, outcome) in [
            ("parents", case.parents()),
            ("library", case.library()),
            ("owner", case.owner()),
            ("owner alive", case.owner_alive()),
            ("hand-over", case.hand_over()),
            ("lease table", case.table()),
            ("processor", case.processor()),
            ("reads", case.reads()),
            ("progress", case.progress()),
        ] {
            match outcome {
                // What an owner does not post is not known to be good.
                Ok(text) if text.is_empty() => {}
                Ok(text) => why = why.ok(check, text),
                Err(cause) => return why.caused(check, cause).noting(&case),
            }
        }
        why.summary = case.fine();
        why.noting(&case)
    }

    /// Whether a cause was found.
    #[must_use]
    pub fn has_cause(&self) -> bool {
        self.checks.iter().any(|check| check.found == Found::Cause)
    }

    fn ok(mut self, name: &'static str, text: String) -> Self {
        self.checks.push(Check { name, found: Found::Ok, text });
        self
    }

    fn caused(mut self, name: &'static str, cause: Cause) -> Self {
        self.checks.push(Check { name, found: Found::Cause, text: cause.text });
        self.summary = cause.summary;
        self.advice = Some(cause.advice);
        self
    }

    /// Adds what is worth knowing besides.
    fn noting(mut self, case: &Case<'_>) -> Self {
        let lag = case.shard.lag.filter(|_| !case.shard.lag_is_bound);
        if let (Some(lag), Some(retention)) = (lag, case.report.retention) {
            let left = retention.saturating_sub(lag);
            let text = if left.is_zero() {
                "its oldest records have been trimmed".to_owned()
            } else {
                format!("{} until its records are trimmed", spoken(left.as_secs()))
            };
            self.checks.push(Check { name: "retention", found: Found::Note, text });
        }
        let worker = case.worker().filter(|worker| worker.clock_ahead.is_some());
        if let Some((worker, ahead)) = worker.and_then(|it| Some((it, it.clock_ahead?))) {
            let direction = if ahead > 0 { "ahead" } else { "behind" };
            let text = format!(
                "the clock of {} is about {} {direction}",
                worker.name,
                spoken(ahead.unsigned_abs())
            );
            self.checks.push(Check { name: "clock", found: Found::Note, text });
        }
        self
    }
}

/// Returns the shard's lease, or why there is none.
fn lease<'a>(
    shard: &ShardId,
    report: &'a FleetReport,
    seen: &Seen<'_>,
) -> Result<&'a ShardReport, Cause> {
    let name = short_name(shard);
    if let Some(found) = report.shards.iter().find(|found| found.shard == *shard) {
        return Ok(found);
    }
    let row = seen.look.unreadable.iter().find(|row| row.key == shard.as_str());
    if let Some(row) = row {
        return Err(Cause {
            text: format!("the row is unreadable: {}", row.problem),
            summary: format!("Shard {name} is not processed: its row is unreadable."),
            advice: "correct the attribute, or delete the row: the shard then starts again from \
                     its oldest record"
                .to_owned(),
        });
    }
    let is_listed = seen.stream.map(|it| it.shards.iter().any(|listed| listed.id == *shard));
    Err(match is_listed {
        Some(true) => Cause {
            text: "the stream has the shard, and the table has no lease for it".to_owned(),
            summary: format!("Shard {name} is not processed: it has no lease."),
            advice:
                "running workers create it within a minute, unless its parent is not finished; \
                     if they do not, look for HashKeysUncovered in their logs"
                    .to_owned(),
        },
        Some(false) => Cause {
            text: "neither the stream nor the table has it".to_owned(),
            summary: format!("There is no shard {name}."),
            advice: format!("kclctl describe {}", report.application),
        },
        None => Cause {
            text: "the table has no lease for it, and the stream was not read".to_owned(),
            summary: format!("Shard {name} has no lease."),
            advice: "name the stream with --stream, and see whether it has the shard".to_owned(),
        },
    })
}

/// A shard that has a lease and is not finished.
#[derive(Clone, Copy)]
struct Case<'a> {
    name: &'a str,
    shard: &'a ShardReport,
    report: &'a FleetReport,
    seen: &'a Seen<'a>,
}

impl Case<'_> {
    fn worker(&self) -> Option<&WorkerReport> {
        let owner = self.shard.owner.as_ref()?;
        self.report.workers.iter().find(|worker| worker.worker == *owner)
    }

    fn waits(&self, text: String, advice: String) -> Cause {
        let summary = format!("Shard {} is not processed: {text}.", self.name);
        Cause { text, summary, advice }
    }

    fn parents(&self) -> Outcome {
        let Some(parent) = &self.shard.waits_for else {
            let none = self.shard.parents.is_empty();
            return Ok(if none { "it has none" } else { "finished" }.to_owned());
        };
        let (parent, app) = (short_name(parent), &self.report.application);
        let text = format!("its parent, shard {parent}, is not finished");
        let advice = format!(
            "nothing if that shard is making progress; otherwise: kclctl why {app} {parent}"
        );
        Err(self.waits(text, advice))
    }

    /// Whether the lease is the Java KCL's although workers of this library are there for it.
    fn library(&self) -> Outcome {
        if self.shard.is_ours {
            return Ok("written by this library".to_owned());
        }
        let never_taken = self.shard.owner.is_none() && self.shard.counter.0 == 0;
        let in_the_way = !never_taken && self.seen.look.stream().is_some();
        let is_lost = self.worker().is_none_or(|worker| !worker.may_work());
        if in_the_way && is_lost {
            let text = "its row is the Java KCL's, and no Java worker is alive".to_owned();
            let advice =
                "workers of this library take it once the rows have stood still for 90 s: \
                          wait, and see that no Java worker starts again"
                    .to_owned();
            return Err(self.waits(text, advice));
        }
        if in_the_way {
            let text = "its row is the Java KCL's, and a Java worker may be alive".to_owned();
            let advice = "stop the Java workers: workers of this library wait until their rows \
                          have stood still for 90 s"
                .to_owned();
            return Err(self.waits(text, advice));
        }
        Ok(if never_taken { "no worker took it yet" } else { "written by the Java KCL" }.to_owned())
    }

    fn owner(&self) -> Outcome {
        if let Some(owner) = &self.shard.owner {
            let token = self.shard.token.map(|token| format!(", token {token}"));
            return Ok(format!("{owner}{}", token.unwrap_or_default()));
        }
        let alive = self.report.workers_alive();
        let text = match alive {
            0 => "it has no owner, and no worker runs".to_owned(),
            1 => "it has no owner, although one worker runs".to_owned(),
            _ => format!("it has no owner, although {alive} workers run"),
        };
        let advice = if alive == 0 {
            "start workers".to_owned()
        } else {
            "a free shard is taken within seconds. If it stays free: the workers have reached \
             lease.leases_max, or its processor failed for good (ShardStopped in their logs)"
                .to_owned()
        };
        Err(self.waits(text, advice))
    }

    fn owner_alive(&self) -> Outcome {
        let Some(worker) = self.worker() else { return Ok("unknown".to_owned()) };
        let name = name_of(&worker.worker);
        let ago = worker.wrote_ago.map(|ago| spoken(ago.as_secs()));
        let expiry = worker.expiry.map(|expiry| spoken(expiry.as_secs()));
        let text = match worker.state {
            WorkerState::Running | WorkerState::Leaving if worker.clock_ahead.is_some() => {
                return Ok(format!("{name} is alive, with a wrong clock"));
            }
            WorkerState::Running | WorkerState::Leaving => {
                let ago = ago.unwrap_or_else(|| "moments".to_owned());
                return Ok(format!("{name} is alive, wrote {ago} ago"));
            }
            WorkerState::Unknown => {
                return Ok(format!("{name} may be alive: --for 20s tells"));
            }
            WorkerState::Silent => {
                let ago = ago.unwrap_or_default();
                format!("its owner {name} has been silent for {ago}")
            }
            WorkerState::Dead => format!("its owner {name} is dead, by its own row"),
            WorkerState::Gone => format!("its owner {name} is gone: it has no row"),
        };
        let others = self.report.workers_alive();
        let advice = match (others, expiry) {
            (0, _) => "start workers: none runs".to_owned(),
            (_, Some(expiry)) => format!(
                "another worker takes it once the owner was silent for its expiry, {expiry}; if \
                 none does, look at their logs"
            ),
            (_, None) => {
                "another worker takes it soon; if none does, look at their logs".to_owned()
            }
        };
        Err(self.waits(text, advice))
    }

    fn hand_over(&self) -> Outcome {
        let Some(next) = &self.shard.next else { return Ok("none open".to_owned()) };
        let worker = self.report.workers.iter().find(|worker| worker.worker == *next);
        let next = name_of(next);
        if worker.is_none_or(WorkerReport::may_work) {
            return Ok(format!("open: {next} waits for it"));
        }
        let text = format!("it is being handed over to {next}, which is dead");
        let advice = "its owner keeps it once the other worker's expiry has passed".to_owned();
        Err(self.waits(text, advice))
    }

    /// Whether the owner posts trouble of this kind.
    fn posted(&self, kinds: &[HoldUpKind]) -> Option<String> {
        let hold_up = self.shard.hold_up.as_ref()?;
        kinds.contains(&hold_up.kind).then(|| note(hold_up))
    }

    fn table(&self) -> Outcome {
        let owner = self.shard.owner.as_ref();
        let posted = owner.and_then(|owner| self.seen.look.sessions.get(owner));
        let Some(table) = posted.and_then(|row| row.posted.table.as_ref()) else {
            return Ok(String::new());
        };
        let text = format!("calls of its owner to the lease table fail: {}", table.text);
        let advice = if table.text.contains("throttled") {
            "raise the table's capacity, or bill it by request"
        } else {
            "look at the owner's log and at the table"
        };
        Err(self.waits(text, advice.to_owned()))
    }

    fn processor(&self) -> Outcome {
        let Some(text) = self.posted(&[HoldUpKind::Call, HoldUpKind::Failing]) else {
            return Ok(String::new());
        };
        let is_call = self.posted(&[HoldUpKind::Call]).is_some();
        let owner = self.shard.owner.as_ref().map(name_of).unwrap_or_default();
        if is_call {
            let text = format!("a call of its processor on {owner} has not returned: {text}");
            let advice = "give what the processor calls a time limit; restarting the worker moves \
                          the shard at once"
                .to_owned();
            return Err(self.waits(text, advice));
        }
        let text = format!("its processor on {owner} is {text}");
        let advice = "look at the record that fails: correct the processor, or let \
                      delivery.failure set such records aside (FailurePolicy::attempts)"
            .to_owned();
        Err(self.waits(text, advice))
    }

    fn reads(&self) -> Outcome {
        let Some(text) = self.posted(&[HoldUpKind::Reads]) else {
            return Ok(String::new());
        };
        let advice = if text.contains("throttled") {
            "another application reads the stream too: use enhanced fan-out, or raise \
             retrieval.poll_every"
        } else {
            "look at the owner's log: network, permissions and the stream"
        };
        Err(self.waits(text, advice.to_owned()))
    }

    fn progress(&self) -> Outcome {
        let lag = self.lag();
        match self.shard.state {
            ShardState::Stuck => {
                let advice = "look at the owner's log".to_owned();
                Err(self.waits(format!("no record is done, {lag}"), advice))
            }
            ShardState::FallingBehind if self.stands_still() => {
                let between = spoken(self.seen.between().as_secs());
                let text = format!("no record was done between two looks {between} apart, {lag}");
                let advice = "look at the owner's log: its processor takes long, hangs or fails, \
                              or reads of the shard fail; the rows do not say which"
                    .to_owned();
                Err(self.waits(text, advice))
            }
            ShardState::FallingBehind => {
                let text = format!("more arrives than its processor does, {lag}");
                let advice =
                    "make the processor faster (for_each with more at once), or split the \
                              shard: more workers do not help one shard"
                        .to_owned();
                Err(self.waits(text, advice))
            }
            ShardState::Ended
            | ShardState::Blocked
            | ShardState::Unowned
            | ShardState::Expired
            | ShardState::Moving
            | ShardState::Held
            | ShardState::CaughtUp
            | ShardState::CatchingUp
            | ShardState::Behind => Ok(lag),
        }
    }

    /// Whether the shard's progress is the same in both looks.
    fn stands_still(&self) -> bool {
        let lease = self.seen.look.leases.get(self.shard.shard.as_str());
        lease.and_then(|lease| has_moved(lease, self.seen)) == Some(false)
    }

    fn lag(&self) -> String {
        let Some(lag) = self.shard.lag else { return "its lag is unknown".to_owned() };
        let seconds = spoken(lag.as_secs());
        if self.shard.lag_is_bound {
            format!("at most {seconds} behind")
        } else {
            format!("{seconds} behind")
        }
    }

    fn fine(&self) -> String {
        let (name, state, lag) = (self.name, self.shard.state, self.lag());
        format!("Shard {name} is processed: {state}, {lag}.")
    }
}

fn name_of(worker: &WorkerId) -> String {
    worker.name().to_owned()
}

/// Returns whole seconds for people: `41 s`, `5 m 3 s`, `3 h 2 m`, `2 d 3 h`.
#[must_use]
pub fn spoken(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) if seconds.is_multiple_of(60) => format!("{minutes} m"),
        (0, 0, minutes) => format!("{minutes} m {} s", seconds % 60),
        (0, hours, minutes) if minutes.is_multiple_of(60) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {} m", minutes % 60),
        (days, hours, _) if hours.is_multiple_of(24) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

/// Returns the shard that people name by its number, such as `2`, or by its id.
#[must_use]
pub fn shard_named(text: &str) -> ShardId {
    let number = text.parse().ok().and_then(ShardId::of_number);
    number.unwrap_or_else(|| LeaseKey::from(text).shard())
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
