//! Writes this worker's own row every third of an expiry, and removes it at the end.

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::Presence;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::LeaseStoreError;
use crate::lease_side::shared::Shared;

/// The name of the write, in events.
pub(super) const WRITE: &str = "write this worker's presence";

/// How old the row claims to be, so that a Java leader never assigns leases to this worker.
const LAST_UPDATE_AGE: Duration = Duration::from_hours(1);

/// The pause before a failed write is retried.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How often the removal is tried. A row that stays counts as present until its heartbeat has stood
/// still for an expiry.
const REMOVALS_MAX: u32 = 3;

/// Writes the row with the heartbeat `beat`.
pub(super) async fn write(shared: &Shared, beat: u64) -> Result<(), LeaseStoreError> {
    let last_update = shared.clock.time_of_day().before(LAST_UPDATE_AGE);
    let expiry = shared.config.lease.expiry;
    let presence = Presence::new(shared.me.clone(), beat, expiry, last_update);
    shared.store.put_presence(&presence).await
}

/// Keeps the heartbeat moving until `stop`, then removes the row.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut beat = 1;
    let mut pause = shared.config.lease.expiry / 3;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(pause) => {}
        }
        beat += 1;
        pause = match write(&shared, beat).await {
            Ok(()) => shared.config.lease.expiry / 3,
            Err(error) => {
                shared.events.call_failed(WRITE, &error, Some(RETRY_AFTER));
                RETRY_AFTER
            }
        };
    }
    remove(&shared).await;
}

/// Removes the row, if the table allows it.
pub(super) async fn remove(shared: &Shared) {
    for attempt in 1..=REMOVALS_MAX {
        let Err(error) = shared.store.delete_presence(&shared.me).await else { return };
        let retry_in = (attempt < REMOVALS_MAX).then_some(Duration::ZERO);
        shared.events.call_failed("remove this worker's presence", &error, retry_in);
    }
}
