//! The table and the stream, as the world holds them.

use futures::FutureExt;
use kcl_core::backend::{LeaseStore, LeaseStoreError, Page, PageToken, Reading};
use kcl_core::model::{Lease, LeaseKey, StartPosition, StreamName};

use crate::memory::{MemoryLeaseStore, MemoryStream};

/// The stream's name.
pub(crate) const STREAM: &str = "simulated";

/// The table and the stream.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) stream: MemoryStream,
    pub(crate) table: MemoryLeaseStore,
    /// Whether somebody wants to read what calls came to.
    pub(crate) tells: bool,
}

/// What a call to a service in memory comes to: they answer at once.
pub(crate) fn at_once<T, E>(
    call: impl Future<Output = Result<T, E>>,
    otherwise: impl FnOnce() -> E,
) -> Result<T, E> {
    call.now_or_never().unwrap_or_else(|| Err(otherwise()))
}

impl Services {
    /// The row of a lease as it is.
    pub(crate) fn lease(&self, key: &LeaseKey) -> Option<Lease> {
        self.table.get(key).now_or_never().and_then(Result::ok).flatten()
    }

    /// Where the application began, once that is stored.
    pub(crate) fn start(&self) -> Option<StartPosition> {
        let start = self.table.stream_start(&StreamName::new(STREAM)).now_or_never();
        start.and_then(Result::ok).flatten().map(|start| start.position)
    }

    /// A page of a scan; an eventual one as it was `stale` writes ago.
    pub(crate) fn scan(
        &self,
        from: Option<PageToken>,
        reading: Reading,
        stale: usize,
    ) -> Result<Page, LeaseStoreError> {
        let table = self.table.clone().with_stale_scans(stale);
        at_once(table.scan(from, reading), crate::world::call::ClientError::unavailable)
    }
}
