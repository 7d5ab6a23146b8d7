//! Writes this worker's own row every third of an expiry, announces that the worker leaves, and
//! removes the row at the end.

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::backoff::Backoff;
use kcl_proto::model::{Presence, WorkerId};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::LeaseStoreError;
use crate::lease_side::inbox::ToMainLoop;
use crate::lease_side::shared::Shared;

/// The name of the write, in events.
pub(super) const WRITE: &str = "write this worker's presence";

/// How old the row claims to be, so that a Java leader never assigns leases to this worker.
const LAST_UPDATE_AGE: Duration = Duration::from_hours(1);

/// How often the removal is tried. A row that stays says that the worker leaves, or counts as
/// present until its heartbeat has stood still for an expiry.
const REMOVALS_MAX: u32 = 3;

/// When a worker announces that it leaves, and when it removes its row. Both happen once.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) announce: CancellationToken,
    pub(super) remove: CancellationToken,
}

/// What this worker's row says.
#[derive(Clone, Copy)]
struct Heartbeat {
    beat: u64,
    is_leaving: bool,
}

/// Writes the first heartbeat.
pub(super) async fn write_first(shared: &Shared) -> Result<(), LeaseStoreError> {
    write(shared, Heartbeat { beat: 1, is_leaving: false }).await
}

async fn write(shared: &Shared, heartbeat: Heartbeat) -> Result<(), LeaseStoreError> {
    let last_update = shared.clock.time_of_day().before(LAST_UPDATE_AGE);
    let (expiry, beat) = (shared.config.lease.expiry, heartbeat.beat);
    let mut presence = Presence::new(shared.me.clone(), beat, expiry, last_update);
    presence.is_leaving = heartbeat.is_leaving;
    shared.store.put_presence(&presence).await
}

/// Keeps the heartbeat moving, announces that the worker leaves, and removes the row.
pub(super) async fn run(
    shared: Arc<Shared>,
    leaving: Leaving,
    main_loop: mpsc::Sender<ToMainLoop>,
) {
    let Leaving { announce, remove: removal } = leaving;
    let mut heartbeat = Heartbeat { beat: 1, is_leaving: false };
    let mut written = shared.clock.now();
    let mut failures = 0;
    let mut pause = shared.config.lease.expiry / 3;
    loop {
        tokio::select! {
            biased;
            () = removal.cancelled() => break,
            () = announce.cancelled(), if !heartbeat.is_leaving => heartbeat.is_leaving = true,
            () = sleep(pause) => {}
        }
        heartbeat.beat += 1;
        let sent = shared.clock.now();
        let Some(outcome) = removal.run_until_cancelled(write(&shared, heartbeat)).await else {
            break;
        };
        match outcome {
            Ok(()) => {
                let was_silent = shared.clock.now().since(written) >= shared.config.lease.expiry;
                if heartbeat.is_leaving {
                    drop(main_loop.try_send(ToMainLoop::Announced));
                } else if was_silent {
                    drop(main_loop.try_send(ToMainLoop::Revived));
                }
                (written, failures) = (sent, 0);
                pause = shared.config.lease.expiry / 3;
            }
            Err(error) => {
                failures += 1;
                pause = pause_after(&error, failures, &shared);
                shared.events.call_failed(WRITE, &error, Some(pause));
            }
        }
    }
    remove(&shared).await;
}

/// The pause before a failed write is repeated.
fn pause_after(error: &LeaseStoreError, failures: u32, shared: &Shared) -> Duration {
    if error.is_throttled() {
        (shared.config.lease.expiry / 10).mul_f64(shared.chance.draw_near_one())
    } else {
        Backoff::PRESENCE.jittered(failures, shared.chance.draw())
    }
}

/// Removes the row, if the table allows it.
pub(super) async fn remove(shared: &Shared) {
    for attempt in 1..=REMOVALS_MAX {
        let Err(error) = shared.store.delete_presence(&shared.me, None).await else { return };
        let retry_in = (attempt < REMOVALS_MAX).then_some(Duration::ZERO);
        shared.events.call_failed("remove this worker's presence", &error, retry_in);
    }
}

/// Removes the row of a dead worker, unless its heartbeat moved.
pub(super) async fn remove_dead(shared: &Shared, dead: &WorkerId, beat: u64) {
    if let Err(error) = shared.store.delete_presence(dead, Some(beat)).await {
        shared.events.call_failed("remove a dead worker's presence", &error, None);
    }
}
