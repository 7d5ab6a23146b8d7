//! x
use crate::model::*;
use std::collections::*;
pub fn deletable(_: &BTreeMap<LeaseKey, Lease>) -> Vec<(LeaseKey, LeaseCounter)> {
    todo!()
}
