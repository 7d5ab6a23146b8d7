//! The lease side: takes and holds leases, on a thread and a runtime of its own, so that a
//! processor that blocks every thread of the application's runtime cannot delay a renewal.
//!
//! ```text
//!  lease side: own thread, own runtime          data side: the application's runtime
//!
//!  startup checks ─▶ main loop ──── grant ────▶ consumer(shard) ── reader ──▶ RecordSource
//!                     ├─ scan ─▶ fleet::balance   │  └─ guard ── processor call ──▶ RecordProcessor
//!                     ├─ request(lease)           │       ▲
//!                     ├─ housekeeping             │       │ deadline, order
//!                     ├─ presence, or session     │       │
//!                     └─ take ─▶ holder(lease) ───┼───────┘
//!                                  │     ◀────────┘ progress, checkpoint, ended, drained
//!                                  ▼
//!                             lease::holding ── writes ──▶ LeaseStore
//! ```
//!
//! The main loop asks `worker::schedule` what is due and `worker::shutdown` how to stop. Tasks
//! share nothing that changes: each owns its state and sends messages. Every channel is bounded.

mod attempts;
mod consumer_link;
mod consumer_watch;
mod first_leases;
mod fleet_counts;
mod fleet_view;
mod grant_signs;
mod handover_requests;
mod held_leases;
mod holder;
mod housekeeping;
mod inbox;
mod jobs;
mod known_rows;
pub(crate) mod lease_calls;
mod lease_creation;
mod lease_rows;
mod lookout;
mod lookout_calls;
mod lookout_end;
mod main_loop;
mod moves;
mod own_leases;
mod own_row;
mod own_session;
mod presence;
mod relatives;
pub(crate) mod reported_rows;
mod reported_workers;
mod session_link;
mod settlement;
pub(crate) mod shared;
mod startup_checks;
mod startup_step;
mod stream_facts;
mod table_scan;
mod takes;
mod verdicts;
mod worker_report;

use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::lease_side::main_loop::MainLoop;
pub(crate) use crate::lease_side::own_session::resign;
use crate::lease_side::shared::Shared;
use crate::messages::Grant;
use crate::report::error::RunError;
use crate::report::event::{ShardReport, WorkerStatus};

/// The pause between two signs that the lease thread runs.
const PULSE_EVERY: Duration = Duration::from_secs(1);

/// How the lease side ended.
pub(crate) type LeaseSideEnd = Result<Vec<ShardReport>, RunError>;

/// The channels of the lease side to the rest of the worker.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) grants: mpsc::Sender<Grant>,
    pub(crate) status: watch::Sender<WorkerStatus>,
    pub(crate) stop: CancellationToken,
}

/// Runs the lease side on the caller's runtime.
pub(crate) async fn run(shared: Arc<Shared>, channels: Channels) -> LeaseSideEnd {
    let Channels { grants, status, stop } = channels;
    let Some(start) = startup_checks::run(&shared, &stop).await? else {
        return Ok(Vec::new());
    };
    MainLoop::new(shared, start, grants, status, &stop).run().await
}

/// Shows once a second that the lease thread runs. Never ready.
async fn pulse(shared: &Shared) {
    while !shared.crash.is_cancelled() {
        shared.registry.pulse();
        tokio::time::sleep(PULSE_EVERY).await;
    }
    pending::<()>().await;
}

/// Runs the lease side on a thread of its own. The receiver gets how it ended. Dropping the receiver
/// ends the thread like a crash: calls in flight are dropped, and nothing is released.
///
/// The thread enters no spans: a subscriber may block.
pub(crate) fn spawn(
    shared: Arc<Shared>,
    channels: Channels,
) -> Result<oneshot::Receiver<LeaseSideEnd>, RunError> {
    let (mut report, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Thread(error.into()))?;
    let work = move || {
        let end = runtime.block_on(async {
            tokio::select! {
                biased;
                () = report.closed() => None,
                end = run(Arc::clone(&shared), channels) => Some(end),
                () = pulse(&shared) => None,
            }
        });
        if let Some(end) = end {
            drop(report.send(end)); // The worker may have been dropped meanwhile.
        }
        runtime.shutdown_background(); // A name lookup may block for long.
    };
    thread::Builder::new()
        .name("kcl-leases".to_owned())
        .spawn(work)
        .map_err(|error| RunError::Thread(error.into()))?;
    Ok(ended)
}
