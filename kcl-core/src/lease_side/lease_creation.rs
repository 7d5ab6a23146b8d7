//! Creates leases from a list of shards, while that list is recent.

use std::time::Duration;

use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::model::{Conditional, Moment, NewLease};

use crate::backend::LeaseStoreError;
use crate::lease_side::shared::Shared;
use crate::report::event::Event;

/// The oldest list of shards that leases are created from. It is well below
/// [`cleanup::DELETE_AFTER`](kcl_proto::shards::cleanup::DELETE_AFTER), after which the lease of a
/// finished shard may be deleted: an older list would bring it back.
const LIST_AGE_MAX: Duration = Duration::from_secs(30);

/// Creates leases from one list of shards.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseCreation<'a> {
    pub(super) shared: &'a Shared,
    /// When the list was made.
    pub(super) listed_at: Moment,
}

/// Why a lease was not created.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreationError {
    #[error("the list of shards is older than {LIST_AGE_MAX:?}")]
    ListTooOld,
    #[error(transparent)]
    Store(#[from] LeaseStoreError),
}

impl LeaseCreation<'_> {
    /// Creates a lease, unless it exists. Returns whether it did not.
    pub(super) async fn create(self, new: NewLease, number: u64) -> Result<bool, CreationError> {
        let Self { shared, listed_at } = self;
        if shared.clock.now().since(listed_at) > LIST_AGE_MAX {
            return Err(CreationError::ListTooOld);
        }
        let (key, worker) = (new.key.clone(), shared.me.clone());
        let write = LeaseWrite { key, worker, number, kind: WriteKind::Create(new) };
        match shared.store.write(&write).await? {
            Conditional::Applied(lease) => {
                shared.events.emit(&Event::LeaseCreated { key: lease.key });
                Ok(true)
            }
            Conditional::Lost { .. } => Ok(false),
        }
    }
}
