//! x
use crate::model::*;
use std::collections::*;
pub fn workable(
    _: &BTreeMap<LeaseKey, Lease>,
    _: Option<&BTreeSet<ShardId>>,
) -> BTreeSet<LeaseKey> {
    todo!()
}
