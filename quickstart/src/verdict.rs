//! The verdict: the promises, checked against every delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kcl_core::model::{SequenceNumber, ShardId};

use crate::ledger::{Delivery, Ledger};
use crate::screen::grouped;

/// The outcome of a chapter.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    /// The chapter.
    pub(crate) what: &'static str,
    /// The outcome.
    pub(crate) text: String,
}

impl Passage {
    /// Creates an outcome of `text` and its durations: each of up to three, or the range.
    pub(crate) fn new(what: &'static str, text: String, durations: &[Duration]) -> Self {
        let seconds = |it: &Duration| format!("{:.1}", it.as_secs_f64());
        let text = match (durations, durations.iter().min(), durations.iter().max()) {
            ([one], ..) => format!("{text} {} s", seconds(one)),
            ([one, other], ..) => format!("{text} {} and {} s", seconds(one), seconds(other)),
            ([one, two, three], ..) => {
                format!("{text} {}, {} and {} s", seconds(one), seconds(two), seconds(three))
            }
            (_, Some(least), Some(most)) => {
                format!("{text} {} to {} s", seconds(least), seconds(most))
            }
            _ => text,
        };
        Self { what, text }
    }
}

/// The verdict on a run.
#[derive(Debug)]
pub(crate) struct Verdict {
    put: usize,
    missing: Vec<u64>,
    audit: Audit,
    killed: Option<&'static str>,
    passages: Vec<Passage>,
    logs: Option<String>,
}

impl Verdict {
    /// Checks the ledger.
    pub(crate) fn of(
        ledger: &Ledger,
        passages: Vec<Passage>,
        killed: Option<&'static str>,
    ) -> Self {
        let deliveries = ledger.deliveries();
        let delivered: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.number).collect();
        Self {
            put: ledger.put().len(),
            missing: ledger.put().difference(&delivered).copied().collect(),
            audit: Audit::of(&deliveries, killed),
            killed,
            passages,
            logs: None,
        }
    }

    /// Adds the folder of the workers' logs.
    pub(crate) fn with_logs(self, folder: String) -> Self {
        Self { logs: Some(folder), ..self }
    }

    /// Returns whether no record is missing and order held.
    pub(crate) fn is_good(&self) -> bool {
        self.missing.is_empty() && self.audit.violations.is_empty()
    }
}

/// The audit of all deliveries, by time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Audit {
    deliveries: usize,
    ownerships: usize,
    keys: usize,
    after_kill: usize,
    unexplained: usize,
    violations: Vec<String>,
}

impl Audit {
    fn of(deliveries: &[&Delivery], killed: Option<&str>) -> Self {
        let mut audit = Self { deliveries: deliveries.len(), ..Self::default() };
        let mut ownerships: BTreeMap<(&ShardId, u64), SequenceNumber> = BTreeMap::new();
        let mut newest: BTreeMap<&ShardId, u64> = BTreeMap::new();
        let mut seen: BTreeMap<(&ShardId, SequenceNumber), &Arc<str>> = BTreeMap::new();
        let mut keys: BTreeMap<&str, u64> = BTreeMap::new();
        for delivery in deliveries {
            let Delivery { worker, token, shard, sequence, number, key, .. } = delivery;
            let last = ownerships.insert((shard, *token), *sequence);
            if last.is_some_and(|last| *sequence <= last) {
                audit.violations.push(format!("{worker} went back in {shard} at record {number}"));
            }
            let owner = newest.entry(shard).or_insert(*token);
            if token < owner {
                audit.violations.push(format!("{worker} had lost {shard} before record {number}"));
            }
            *owner = (*owner).max(*token);
            let before = seen.insert((shard, *sequence), worker);
            let again = before.is_some_and(|before| Some(&**before) == killed);
            audit.after_kill += usize::from(again);
            audit.unexplained += usize::from(before.is_some() && !again);
            let furthest = keys.entry(key).or_insert(*number);
            if number < furthest && !again {
                audit.violations.push(format!("record {number} of {key} came after {furthest}"));
            }
            *furthest = (*furthest).max(*number);
        }
        audit.ownerships = ownerships.len();
        audit.keys = keys.len();
        audit
    }
}

/// The most violations in the verdict.
const VIOLATIONS_LISTED: usize = 5;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { put, missing, audit, killed, passages, logs } = self;
        let mut line =
            |name: &str, text: String| writeln!(f, "{}", format!("  {name:<17}{text}").trim_end());
        line("", String::new())?;
        line("Records put", format!("{:>7}", grouped(*put)))?;
        line("delivered", format!("{:>7}", grouped(put - missing.len())))?;
        line("missing", format!("{:>7}{}", grouped(missing.len()), some(missing)))?;
        let why = match killed {
            Some(name) if audit.after_kill > 0 => {
                format!("   {name} received them and was killed before the checkpoint")
            }
            Some(_) | None => String::new(),
        };
        line("delivered twice", format!("{:>7}{why}", grouped(audit.after_kill)))?;
        if audit.unexplained > 0 {
            let count = grouped(audit.unexplained);
            line("", format!("{count:>7}   more, without a crash as a reason"))?;
        }
        let order = if audit.violations.is_empty() {
            format!(
                "   held   in {} deliveries, {} ownerships of shards, {} keys",
                grouped(audit.deliveries),
                audit.ownerships,
                audit.keys
            )
        } else {
            format!(" broken   {} times", audit.violations.len())
        };
        line("order", order)?;
        for violation in audit.violations.iter().take(VIOLATIONS_LISTED) {
            line("", format!("          {violation}"))?;
        }
        line("", String::new())?;
        for passage in passages {
            line(passage.what, format!("  {}", passage.text))?;
        }
        line("", String::new())?;
        if let Some(folder) = logs {
            line("workers' logs", format!("  {folder}"))?;
        }
        let end = if self.is_good() {
            "No record was lost, and order held."
        } else {
            "This must not happen: please report it, with the logs."
        };
        write!(f, "  {end}")
    }
}

/// Lists the first missing records.
fn some(missing: &[u64]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let first: Vec<_> = missing.iter().take(VIOLATIONS_LISTED).map(u64::to_string).collect();
    format!("   such as {}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use kcl_core::model::Moment;

    use super::*;

    /// Deliveries as `worker token sequence number`, in this order, of one shard and one key.
    #[track_caller]
    fn check(
        lines: &[(&str, u64, u128, u64)],
        killed: Option<&str>,
        twice: [usize; 2],
        bad: usize,
    ) {
        let of = |(millis, line): (u64, &(&str, u64, u128, u64))| Delivery {
            at: Moment::from_origin(Duration::from_millis(millis)),
            worker: line.0.into(),
            token: line.1,
            shard: "shardId-0".into(),
            sequence: line.2.into(),
            number: line.3,
            key: "sensor".into(),
        };
        let deliveries: Vec<_> = (0..).zip(lines).map(of).collect();
        let audit = Audit::of(&deliveries.iter().collect::<Vec<_>>(), killed);
        assert_eq!([audit.after_kill, audit.unexplained], twice);
        assert_eq!(audit.violations.len(), bad, "{:?}", audit.violations);
    }

    #[test]
    fn crash_explains_repeats() {
        let lines = [("ben", 1, 10, 1), ("ben", 1, 11, 2), ("dan", 2, 10, 1), ("dan", 2, 11, 2)];
        check(&lines, Some("ben"), [2, 0], 0);
        check(&lines, None, [0, 2], 1);
    }

    #[test]
    fn owner_never_goes_back() {
        check(&[("ben", 1, 10, 1), ("ben", 1, 10, 1)], None, [0, 1], 1);
        check(&[("ben", 1, 11, 1), ("ben", 1, 10, 2)], None, [0, 0], 1);
    }

    #[test]
    fn former_owner_receives_nothing() {
        check(&[("dan", 2, 10, 1), ("ben", 1, 11, 2)], None, [0, 0], 1);
    }

    #[test]
    fn key_stays_in_order_across_owners() {
        check(&[("ben", 1, 10, 2), ("dan", 2, 11, 1)], None, [0, 0], 1);
        check(&[("ben", 1, 10, 1), ("dan", 2, 11, 2)], None, [0, 0], 0);
    }
}
