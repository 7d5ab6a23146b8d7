//! What a holder is about to do with its lease.

use crate::model::ChildShard;

/// The goal of the holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Goal {
    /// To hold the lease.
    Hold,
    /// To hand it to the worker that asked for it.
    Handover,
    /// To release it.
    Release,
    /// To store the shard's end.
    EndShard { children: Vec<ChildShard>, created: bool },
}
