//! Counts the calls of clients, by service and operation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The number of calls of each operation since the start.
///
/// The server's thread counts and any thread reads, behind a lock that is held for nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<BTreeMap<String, u64>>);

impl Calls {
    /// Adds one call, under a name such as `Kinesis.GetRecords`.
    pub(crate) fn count(&self, service: &str, operation: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = String::with_capacity(service.len() + 1 + operation.len());
        name.push_str(service);
        name.push('.');
        name.push_str(operation);
        *counts.entry(name).or_default() += 1;
    }

    /// Returns the counts so far.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
