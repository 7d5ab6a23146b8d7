//! `kclctl watch`: what changes, line by line.

use std::collections::BTreeMap;

use kcl_operate::{FleetReport, ShardState, short_name};
use serde_json::json;
use tokio::time::sleep;

use crate::args::Watch;
use crate::exit::End;
use crate::view::{View, print};

/// What is compared: the state and the owner of a shard, and the state of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    shards: BTreeMap<String, (ShardState, Option<String>)>,
    workers: BTreeMap<String, String>,
}

pub(crate) async fn run(view: &View, arguments: &Watch) -> anyhow::Result<End> {
    let app = view.application(arguments.target.app.as_deref())?;
    let mut known: Option<Known> = None;
    let mut looks = 0;
    loop {
        let scene = view.look(&app, &arguments.target.stream, |_| None).await?;
        let report = scene.report();
        let now = Known::of(&report);
        let changes = match &known {
            None => vec![format!("{} shards, {} workers", now.shards.len(), now.workers.len())],
            Some(before) => before.changes(&now),
        };
        known = Some(now);
        for change in changes {
            let line = if view.is_json() {
                json!({ "at": report.at, "change": change }).to_string()
            } else {
                format!("{}  {change}", clock(&report))
            };
            if !print(&(line + "\n"))? {
                return Ok(End::Good);
            }
        }
        looks += 1;
        if arguments.looks.is_some_and(|max| looks >= max) {
            return Ok(End::from(report.verdict));
        }
        sleep(arguments.every).await;
    }
}

/// The time of day of a report, in UTC.
fn clock(report: &FleetReport) -> String {
    let text = report.at.to_string();
    text.get(11..19).unwrap_or(&text).to_owned()
}

impl Known {
    fn of(report: &FleetReport) -> Self {
        let shards = report.shards.iter().map(|shard| {
            let owner = shard.owner.as_ref().map(|owner| owner.name().to_owned());
            (short_name(&shard.shard), (shard.state, owner))
        });
        let workers = report
            .workers
            .iter()
            .map(|worker| (worker.worker.to_string(), worker.state.to_string()));
        Self { shards: shards.collect(), workers: workers.collect() }
    }

    fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (shard, (state, owner)) in &now.shards {
            let Some((old_state, old_owner)) = self.shards.get(shard) else {
                changes.push(format!("shard {shard}  new, {state}"));
                continue;
            };
            if old_owner != owner {
                let name = |owner: &Option<String>| owner.clone().unwrap_or_else(|| "–".to_owned());
                changes.push(format!("shard {shard}  {} → {}", name(old_owner), name(owner)));
            }
            if old_state != state {
                changes.push(format!("shard {shard}  {old_state} → {state}"));
            }
        }
        let gone = self.shards.keys().filter(|shard| !now.shards.contains_key(*shard));
        changes.extend(gone.map(|shard| format!("shard {shard}  deleted")));
        for (worker, state) in &now.workers {
            match self.workers.get(worker) {
                None => changes.push(format!("worker {worker}  {state}")),
                Some(old) if old != state => {
                    changes.push(format!("worker {worker}  {old} → {state}"));
                }
                Some(_) => {}
            }
        }
        let gone = self.workers.keys().filter(|worker| !now.workers.contains_key(*worker));
        changes.extend(gone.map(|worker| format!("worker {worker}  left")));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(shards: &[(&str, ShardState, &str)], workers: &[(&str, &str)]) -> Known {
        let shards = shards.iter().map(|(shard, state, owner)| {
            let owner = (!owner.is_empty()).then(|| (*owner).to_owned());
            ((*shard).to_owned(), (*state, owner))
        });
        let workers = workers.iter().map(|(worker, it)| ((*worker).to_owned(), (*it).to_owned()));
        Known { shards: shards.collect(), workers: workers.collect() }
    }

    #[test]
    fn changes_are_lines() {
        let before = known(
            &[("0", ShardState::CaughtUp, "a"), ("1", ShardState::CaughtUp, "b")],
            &[("a:1", "running"), ("b:1", "running")],
        );
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let after = known(
            &[
                ("0", ShardState::Stuck, "a"),
                ("1", ShardState::Unowned, ""),
                ("2", ShardState::Blocked, ""),
            ],
            &[("a:1", "running"), ("c:1", "running")],
        );
        assert_eq!(
            before.changes(&after),
            [
                "shard 0  caught-up → stuck",
                "shard 1  b → –",
                "shard 1  caught-up → unowned",
                "shard 2  new, blocked",
                "worker c:1  running",
                "worker b:1  left",
            ]
        );
    }
}
