//! Releases a lease that names this worker as its holder, and that it neither holds nor can take.

use kcl_proto::lease::settle::Settler;
use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::model::{Conditional, Lease, LeaseCounter, LeaseKey, SessionProgress};

use crate::backend::LeaseStoreError;
use crate::lease_side::shared::Shared;

/// Reads the row of a lease, and frees it or completes its hand-over. `progress` is that of this
/// worker's session. Returns the row as it is then, or `None` if there is none.
pub(super) async fn run(
    shared: &Shared,
    key: &LeaseKey,
    progress: &SessionProgress,
) -> Result<Option<Lease>, LeaseStoreError> {
    let end = settle(shared, key, progress).await;
    end.inspect_err(|error| {
        shared.events.lease_call_failed(key, "let go of a lease", error, None);
    })
}

async fn settle(
    shared: &Shared,
    key: &LeaseKey,
    progress: &SessionProgress,
) -> Result<Option<Lease>, LeaseStoreError> {
    let Some(row) = shared.calls.read_moving(key).await? else { return Ok(None) };
    let (me, expiry) = (&shared.me, shared.config.lease.expiry);
    let settler = Settler { me, expiry, progress, is_stopping: true };
    let Some(kind) = settler.settle(&row, LeaseCounter::default()) else { return Ok(Some(row)) };
    let (worker, number) = (me.clone(), shared.write_numbers().draw());
    let write = LeaseWrite { key: key.clone(), worker, number, kind };
    Ok(match shared.calls.write_moving(&write).await? {
        Conditional::Applied(row) => Some(row),
        Conditional::Lost { found } => found,
    })
}
