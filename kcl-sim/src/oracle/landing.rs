//! A write that lands.

use kcl_core::backend::LeaseWrite;
use kcl_core::model::Lease;

use crate::time::Time;

/// A write that has landed and changed a row.
pub(crate) struct Landing<'a> {
    pub(crate) at: Time,
    pub(crate) write: &'a LeaseWrite,
    pub(crate) before: Option<&'a Lease>,
    pub(crate) after: Option<&'a Lease>,
}
