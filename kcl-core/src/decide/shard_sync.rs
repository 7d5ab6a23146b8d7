//! x
use crate::model::*;
use std::collections::*;
pub struct SyncPlan {
    pub create: Vec<NewLease>,
    pub delete_untouched: Vec<LeaseKey>,
    pub holes: Vec<HashKeyRange>,
}
pub fn plan(_: &[Shard], _: &BTreeMap<LeaseKey, Lease>, _: &StreamStart) -> SyncPlan {
    todo!()
}
