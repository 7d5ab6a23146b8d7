//! The table as a service under load: calls queue, and some are not let through.

use std::time::Duration;

use super::capacity::{Capacity, CapacityPlan, Units};
use crate::time::Time;

/// How a table behaves under load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ServicePlan {
    pub(crate) capacity: CapacityPlan,
    /// How many calls are carried out at once.
    pub(crate) servers: usize,
    /// How long it takes to carry out a call on one row.
    pub(crate) row: Duration,
    /// How long it takes to read a full page of a scan.
    pub(crate) page: Duration,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cost {
    /// The row that it names. A page of a scan lies in the partition of the row before it.
    pub(crate) row: String,
    pub(crate) units: Units,
    /// Which part of a full page it reads. `None` if it reads or writes one row.
    pub(crate) page: Option<f64>,
}

/// A table under load.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    plan: ServicePlan,
    capacity: Capacity,
    /// When each server is free again.
    free_at: Vec<Time>,
}

impl Service {
    pub(crate) fn new(plan: ServicePlan) -> Self {
        let (capacity, servers) = (Capacity::new(&plan.capacity), plan.servers.max(1));
        Self { plan, capacity, free_at: vec![Time::default(); servers] }
    }

    /// Changes the units a second of the whole table, by a factor of those planned.
    pub(crate) fn scale(&mut self, factor: f64, now: Time) {
        let Units { writes, reads } = self.plan.capacity.units;
        self.capacity.set_units(Units { writes: writes * factor, reads: reads * factor }, now);
    }

    /// Takes a call that arrives. Returns when it is carried out, or `None` if it is throttled.
    pub(crate) fn take(&mut self, cost: &Cost, now: Time) -> Option<Time> {
        if !self.capacity.admits(&cost.row, cost.units, now) {
            return None;
        }
        let time = cost.page.map_or(self.plan.row, |part| self.plan.page.mul_f64(part));
        let server = self.free_at.iter_mut().min()?;
        *server = (*server).max(now) + time.max(Duration::from_millis(1));
        Some(*server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_wait_for_a_free_server() {
        let units = Units { writes: 1_000.0, reads: 1_000.0 };
        let capacity = CapacityPlan { units, burst: Duration::from_secs(1), partitions: 1 };
        let millis = Duration::from_millis;
        let plan = ServicePlan { capacity, servers: 2, row: millis(10), page: millis(100) };
        let mut service = Service::new(plan);
        let write = Units { writes: 1.0, reads: 0.0 };
        let write = Cost { row: "row".to_owned(), units: write, page: None };
        let page = Cost { page: Some(0.5), ..write.clone() };
        let mut take = |cost: &Cost| service.take(cost, Time::default()).map(Time::millis);
        assert_eq!([take(&write), take(&page), take(&write)], [Some(10), Some(50), Some(20)]);
        assert_eq!(service.take(&write, Time::from_millis(40)).map(Time::millis), Some(50));
        service.scale(0.001, Time::from_millis(40));
        assert_eq!(service.take(&write, Time::from_millis(40)).map(Time::millis), Some(60));
        assert_eq!(service.take(&write, Time::from_millis(40)), None);
    }
}
