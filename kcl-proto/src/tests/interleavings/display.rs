//! A world in one line, for traces.
//!
//! `[3 owner b from a at 2] a holds@1, runs, Renew ?; b asks@1; 1 in flight` is a row at counter 3
//! that moves from `a` to `b`, with record 2 as its checkpoint. Worker `a` holds it, its clock
//! stands at tick 1, the application's code may run, and a renewal is in flight (`?`; later `made`,
//! `lost` or `failed`). Worker `b` runs a request. One copy of a write is in the network.

use std::fmt;

use super::call::{Call, CallState};
use super::worker::Role;
use super::world::World;
use crate::model::{Conditional, WorkerId};

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.row {
            None => write!(f, "[no row]")?,
            Some(row) => {
                let name = |id: Option<&WorkerId>| {
                    id.map_or_else(|| "-".to_owned(), |id| id.name().to_owned())
                };
                write!(
                    f,
                    "[{} owner {} from {} at {}]",
                    row.counter,
                    name(row.owner.as_ref()),
                    name(row.checkpoint_owner.as_ref()),
                    row.checkpoint
                )?;
            }
        }
        for worker in &self.workers {
            let role = match &worker.role {
                Role::Watching => "watches",
                Role::Asking(_) => "asks",
                Role::Taking { .. } => "takes",
                Role::Holding(_) => "holds",
                Role::Losing(_) => "loses",
            };
            let runs = if worker.may_run() { ", runs" } else { "" };
            write!(f, " {} {role}@{}{runs}", worker.me.name(), worker.ticks)?;
            if let Some(Call { write, state, .. }) = &worker.call {
                let kind = format!("{:?}", write.kind);
                let kind = kind.split([' ', '(']).next().unwrap_or_default();
                let state = match state {
                    CallState::Waiting => "?",
                    CallState::Answered(answer) => match **answer {
                        Conditional::Applied(_) => "made",
                        Conditional::Lost { .. } => "lost",
                    },
                    CallState::Failed => "failed",
                };
                write!(f, ", {kind} {state}")?;
            }
            write!(f, ";")?;
        }
        write!(f, " {} in flight", self.network.len())
    }
}
