//! Writes this worker's own row, every third of an expiry, and removes it at the end.

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::Presence;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::LeaseStoreError;
use crate::lease_side::shared::Side;
use crate::report::event::Event;
use crate::report::log::chain;

/// How far in the past a Java leader is told that the row was written, so that it never assigns
/// leases to a worker that it does not know.
const LAST_UPDATE_AGE: Duration = Duration::from_hours(1);

/// The pause before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How often the removal is tried: a row that stays is only judged absent later.
const REMOVALS_MAX: u32 = 3;

/// Writes the row with `beat`.
pub(super) async fn write(side: &Side, beat: u64) -> Result<(), LeaseStoreError> {
    let last_update = side.clock.time_of_day().before(LAST_UPDATE_AGE);
    let presence = Presence::new(side.me.clone(), beat, side.config.lease.expiry, last_update);
    side.store.put_presence(&presence).await
}

/// Keeps the row moving until `stop`, then removes it and says so by dropping `removed`.
pub(super) async fn run(side: Arc<Side>, stop: CancellationToken, removed: oneshot::Sender<()>) {
    let mut beat = 1;
    let mut pause = side.config.lease.expiry / 3;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
        beat += 1;
        pause = match write(&side, beat).await {
            Ok(()) => side.config.lease.expiry / 3,
            Err(error) => {
                report(&side, "write this worker's presence", &error);
                RETRY_AFTER
            }
        };
    }
    remove(&side).await;
    drop(removed);
}

/// Removes the row, if it can.
pub(super) async fn remove(side: &Side) {
    for _ in 0..REMOVALS_MAX {
        match side.store.delete_presence(&side.me).await {
            Ok(()) => break,
            Err(error) => report(side, "remove this worker's presence", &error),
        }
    }
}

fn report(side: &Side, doing: &'static str, error: &LeaseStoreError) {
    let retry_in = RETRY_AFTER;
    side.events.emit(&Event::CallFailed { doing, error: chain(error), retry_in });
}
