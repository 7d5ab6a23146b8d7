//! A world in one line, for traces.
//!
//! `[3 owner b from a at 2 S] a:0=2 b:0! a holds@1, runs, Renew ?, Beat made; b idle@1; 1 in flight`
//! is a row at counter 3 with the mark of a session, the session of `a` with record 2, a dead one of
//! `b`, and two workers.

use std::fmt;

use super::message::Call;
use super::worker::Role;
use super::world::World;
use crate::model::{Liveness, WorkerId};

/// Shortens an id of 16 hexadecimal digits.
fn short(id: &WorkerId) -> String {
    format!("{}:{}", id.name(), id.as_str().rsplit('0').next().unwrap_or_default())
}

fn call<W: fmt::Debug, R>(call: Option<&Call<W, R>>, kind: &str) -> String {
    call.map_or_else(String::new, |call| {
        let state = if call.has_failed {
            "failed"
        } else if call.answer.is_some() {
            "answered"
        } else {
            "?"
        };
        format!(", {} {state}", kind.split([' ', '(', ',']).next().unwrap_or_default())
    })
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id: Option<&WorkerId>| id.map_or_else(|| "-".to_owned(), short);
        let row = &self.row;
        let mark = if row.lives_by() == Liveness::Session { " S" } else { "" };
        let (owner, from) = (name(row.owner.as_ref()), name(row.checkpoint_owner.as_ref()));
        write!(f, "[{} owner {owner} from {from} at {}{mark}]", row.counter, row.checkpoint)?;
        for session in self.sessions.values() {
            let dead = if session.dead.is_some() { "!" } else { "" };
            write!(f, " {}@{}{dead}", short(&session.worker), session.beat)?;
            for entry in session.progress.0.values() {
                write!(f, "={:?}/{}", entry.position, entry.token)?;
            }
        }
        for worker in &self.workers {
            let role = match &worker.role {
                Role::Idle => "idle",
                Role::Taking { .. } => "takes",
                Role::Errand => "asks",
                Role::Holding(_) => "holds",
                Role::Losing(_) => "loses",
            };
            let runs = if worker.may_run() { ", runs" } else { "" };
            let stops = if worker.is_stopping { ", stops" } else { "" };
            write!(f, " {} {role}@{}{runs}{stops}", short(&worker.me), worker.ticks)?;
            let kind = worker.beating.as_ref().map(|it| format!("{:?}", it.write.kind));
            write!(f, "{}", call(worker.beating.as_ref(), &kind.unwrap_or_default()))?;
            let kind = worker.call.as_ref().map(|it| format!("{:?}", it.write.kind));
            write!(f, "{};", call(worker.call.as_ref(), &kind.unwrap_or_default()))?;
        }
        write!(f, " {} in flight", self.network.len())
    }
}
