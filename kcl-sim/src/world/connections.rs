//! The connections of each worker to the table: how many calls are in flight, and when one must
//! wait for a new connection.

use std::collections::BTreeMap;

/// The connections of all workers.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    of: BTreeMap<String, Pool>,
}

/// The connections of one worker. They stay open.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    open: usize,
    busy: usize,
}

impl Connections {
    /// A worker makes a call. Returns whether it opens a connection for it.
    pub(crate) fn begin(&mut self, worker: &str) -> bool {
        let pool = self.of.entry(worker.to_owned()).or_default();
        pool.busy += 1;
        let is_new = pool.busy > pool.open;
        pool.open = pool.open.max(pool.busy);
        is_new
    }

    /// A call ends.
    pub(crate) fn end(&mut self, worker: &str) {
        if let Some(pool) = self.of.get_mut(worker) {
            pool.busy = pool.busy.saturating_sub(1);
        }
    }

    /// How many calls of a worker are in flight.
    pub(crate) fn busy(&self, worker: &str) -> usize {
        self.of.get(worker).map_or(0, |pool| pool.busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_opened_when_all_are_busy() {
        let mut connections = Connections::default();
        assert!(connections.begin("w") && connections.begin("w"));
        assert!(connections.begin("x"));
        connections.end("w");
        assert!(!connections.begin("w"));
        assert_eq!(
            [connections.busy("w"), connections.busy("x"), connections.busy("y")],
            [2, 1, 0]
        );
    }
}
