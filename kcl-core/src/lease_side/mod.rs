//! The lease side: on a thread and a runtime of its own, so that a processor that blocks every
//! thread of the application's runtime cannot stop a renewal.

mod asker;
mod fleet_view;
mod handover_requests;
mod held_leases;
mod holder;
mod housekeeping;
mod main_loop;
mod presence;
pub(crate) mod shared;
mod startup_checks;
mod table_scan;
mod take;

use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::lease_side::main_loop::Scanner;
use crate::lease_side::shared::Side;
use crate::messages::Grant;
use crate::report::error::RunError;
use crate::report::event::{ShardReport, WorkerState, WorkerStatus};

/// How the lease side ended.
pub(crate) type LeaseSideEnd = Result<Vec<ShardReport>, RunError>;

/// What the lease side talks through.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) grants: mpsc::Sender<Grant>,
    pub(crate) status: watch::Sender<WorkerStatus>,
    pub(crate) stop: CancellationToken,
}

/// Runs the lease side where it is called.
pub(crate) async fn run(side: Arc<Side>, channels: Channels) -> LeaseSideEnd {
    let Channels { grants, status, stop } = channels;
    let Some((start, description)) = startup_checks::run(&side, &stop).await? else {
        return Ok(Vec::new());
    };
    status.send_modify(|status| status.state = WorkerState::Running);
    Scanner::new(side, (start, description.retention), grants, status).run(stop).await
}

/// Runs the lease side on a thread of its own. The receiver gets how it ended.
pub(crate) fn spawn(
    side: Arc<Side>,
    channels: Channels,
    span: Span,
) -> Result<oneshot::Receiver<LeaseSideEnd>, RunError> {
    let (report, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Thread(error.into()))?;
    let work = move || {
        let end = runtime.block_on(run(side, channels).instrument(span));
        drop(report.send(end)); // Nobody waits any more if the worker was dropped.
    };
    thread::Builder::new()
        .name("kcl-leases".to_owned())
        .spawn(work)
        .map_err(|error| RunError::Thread(error.into()))?;
    Ok(ended)
}
