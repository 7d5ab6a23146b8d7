//! How many leases of the table are in which state, for metrics.

use kcl_proto::model::WorkerId;

use crate::lease_side::fleet_view::FleetView;
use crate::metrics::registry::FleetCounts;

/// Counts the leases and workers that `me` knows of, or returns `None` before it has read the
/// table.
pub(super) fn count(fleet: &FleetView, me: &WorkerId) -> Option<FleetCounts> {
    let workers = fleet.company().len();
    let mut counts = FleetCounts { workers, ..FleetCounts::default() };
    for lease in fleet.rows().values() {
        let count = match &lease.owner {
            _ if lease.is_ended() => &mut counts.ended,
            None => &mut counts.free,
            Some(owner) if owner == me => &mut counts.mine,
            Some(_) => &mut counts.others,
        };
        *count += 1;
    }
    (workers > 0).then_some(counts)
}
