//! x
use crate::model::*;
use crate::record_source::ShardFilter;
pub enum StreamChange {
    OtherStream,
    Recreated { stored: String, found: String },
}
pub fn start(_: InitialPosition, _: &StreamDescription) -> StreamStart {
    todo!()
}
pub fn check(_: &StreamStart, _: &StreamDescription) -> Option<StreamChange> {
    todo!()
}
pub fn filter(_: &StreamStart) -> ShardFilter {
    todo!()
}
pub fn first_leases(_: &StreamStart, _: &[Shard]) -> Vec<NewLease> {
    todo!()
}
