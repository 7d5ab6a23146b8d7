//! Promises about a fleet after the faults.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::event::{WorkerState, WorkerStatus};
use kcl_core::model::{Lease, LeaseKey, WorkerId};

use super::Oracle;
use super::facts::Facts;

/// Checks whether a fleet is healthy.
///
/// # Errors
/// The promise that does not hold yet, and what is wrong.
pub(crate) fn is_healthy(
    facts: &Facts,
    leases: &[Lease],
    workers: &[WorkerStatus],
) -> Result<(), (Oracle, String)> {
    for worker in workers {
        if worker.state != WorkerState::Running {
            return Err((Oracle::WorkersRun, format!("{} is {:?}", worker.worker, worker.state)));
        }
    }
    let by_key: BTreeMap<_, _> = leases.iter().map(|lease| (&lease.key, lease)).collect();
    let held = held(facts, &by_key, workers)?;
    done(facts, &by_key)?;
    let counts = held.values().map(Vec::len);
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    // Workers at their maximum leave more to the others.
    if most > least + 1 && !facts.holdings.are_limited() {
        return Err((Oracle::Balanced, format!("{least} to {most} held: {held:?}")));
    }
    for worker in workers {
        let table = held.get(&worker.worker).cloned().unwrap_or_default();
        let reported: Vec<_> = worker.held.iter().map(|shard| shard.key.clone()).collect();
        if table != reported {
            let seen = format!("{} reports {reported:?}, the table has {table:?}", worker.worker);
            return Err((Oracle::StatusTrue, seen));
        }
        for shard in &worker.held {
            let lease = by_key.get(&shard.key);
            let stored = lease.map(|lease| lease.checkpoint);
            if shard.checkpoint != stored || shard.behind_latest != Some(Duration::ZERO) {
                let seen = format!("{} reports {shard:?}, the table has {stored:?}", worker.worker);
                return Err((Oracle::StatusTrue, seen));
            }
        }
    }
    Ok(())
}

/// All leases.
type ByKey<'a> = BTreeMap<&'a LeaseKey, &'a Lease>;

type Held = BTreeMap<WorkerId, Vec<LeaseKey>>;

fn held(
    facts: &Facts,
    leases: &ByKey<'_>,
    workers: &[WorkerStatus],
) -> Result<Held, (Oracle, String)> {
    let mut held: Held = workers.iter().map(|worker| (worker.worker.clone(), Vec::new())).collect();
    for lease in leases.values().filter(|lease| !lease.is_ended()) {
        if lease.checkpoint_owner.is_some() {
            return Err((
                Oracle::HandoversEnd,
                format!("the hand-over of {} has not ended", lease.key),
            ));
        }
        let keys = lease.owner.as_ref().and_then(|owner| held.get_mut(owner));
        let Some(keys) = keys else {
            return Err((Oracle::AllHeld, format!("{} is owned by {:?}", lease.key, lease.owner)));
        };
        keys.push(lease.key.clone());
    }
    for (shard, known) in facts.shards.iter().filter(|(_, known)| !known.is_closed) {
        let key = LeaseKey::from(shard);
        if !leases.contains_key(&key) {
            let seen =
                format!("open shard {shard} has no lease, all done: {}", known.is_all_done());
            return Err((Oracle::AllHeld, seen));
        }
    }
    Ok(held)
}

fn done(facts: &Facts, leases: &ByKey<'_>) -> Result<(), (Oracle, String)> {
    for (shard, known) in &facts.shards {
        if !known.is_all_done() {
            let (done, all) = (known.done(), known.records.len());
            return Err((Oracle::AllDone, format!("{shard}: {done} of {all} records are done")));
        }
        let lease = leases.get(&LeaseKey::from(shard));
        if known.is_closed && lease.is_some_and(|lease| !lease.is_ended()) {
            return Err((Oracle::AllDone, format!("{shard} is closed, and its end is not stored")));
        }
        let place = lease.and_then(|lease| known.after(lease.checkpoint, lease.start_at));
        let is_stored = !facts.is_automatic
            || place.is_none_or(|place| place.max(known.trimmed) >= known.records.len());
        if !is_stored {
            let checkpoint = lease.map(|lease| lease.checkpoint);
            return Err((Oracle::AllDone, format!("the checkpoint of {shard} is {checkpoint:?}")));
        }
    }
    // The library stores the ends of closed shards by itself.
    let mut open = facts.shards.values().filter(|known| !known.is_closed);
    let is_worked_on = open.any(|known| known.done() > known.unexpected());
    if is_worked_on && !facts.has_stored {
        return Err((Oracle::AllDone, "processors store no checkpoint".to_owned()));
    }
    Ok(())
}
