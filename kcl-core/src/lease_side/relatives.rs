//! The rows of leases with those of their holders and parents, which say whether they may be taken.

use std::collections::BTreeSet;

use kcl_proto::model::{Lease, LeaseKey, WorkerId};

use crate::backend::{LeaseStoreError, Page, ROWS_MAX, Reading};
use crate::lease_side::shared::Shared;

/// The rows of leases, and those that say whether they may be taken.
#[derive(Debug)]
pub(super) struct Relatives {
    pub(super) page: Page,
    /// The parents that were not found.
    pub(super) gone: Vec<LeaseKey>,
    /// The holders whose sessions were not found.
    pub(super) missing: Vec<WorkerId>,
}

/// Reads the rows of leases, then those of their holders and parents.
pub(super) async fn read(shared: &Shared, keys: &[LeaseKey]) -> Result<Relatives, LeaseStoreError> {
    let keys: Vec<_> = keys.iter().map(LeaseKey::to_string).collect();
    let mut page = shared.store.rows(&keys, Reading::Consistent).await?;
    let holders = page.leases.iter().filter_map(Lease::session_holder);
    let mut missing: BTreeSet<_> = holders.filter(|it| **it != shared.me).cloned().collect();
    let parents = page.leases.iter().flat_map(|row| row.parents.iter().map(LeaseKey::from));
    let mut gone: BTreeSet<_> = parents.collect();
    let holders = missing.iter().map(WorkerId::to_string);
    let relatives: Vec<_> = holders.chain(gone.iter().map(LeaseKey::to_string)).collect();
    for keys in relatives.chunks(ROWS_MAX) {
        let more = shared.store.rows(keys, Reading::Consistent).await?;
        page.sessions.extend(more.sessions);
        page.leases.extend(more.leases);
    }
    page.leases.iter().for_each(|row| _ = gone.remove(&row.key));
    page.sessions.iter().for_each(|row| _ = missing.remove(&row.worker));
    let (gone, missing) = (gone.into_iter().collect(), missing.into_iter().collect());
    Ok(Relatives { page, gone, missing })
}
