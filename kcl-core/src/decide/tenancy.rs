//! x
use crate::lease_store::JavaRow;
use crate::model::*;
use std::time::Duration;
#[derive(Default)]
pub struct TenancyWatch;
pub enum Tenancy {
    Clear,
    Wait { until: Moment, seen: String },
    Alive { seen: String },
}
impl TenancyWatch {
    pub fn observe(&mut self, _: &[Lease], _: &[JavaRow], _: Duration, _: Moment) -> Tenancy {
        todo!()
    }
}
