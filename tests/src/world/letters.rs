//! A dead letter in memory, which fails when told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kcl_core::BoxError;
use kcl_core::backend::{DeadLetter, FailedRecord};

/// The dead letter of a fleet. Clones are the same.
#[derive(Clone, Debug)]
pub struct Letters {
    // Written by all workers, read by the test: one look at a time.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<FailedRecord>,
    failures: usize,
}

impl Letters {
    pub(super) fn new() -> Self {
        Self { state: Arc::default() }
    }

    /// The next `count` records are refused.
    pub fn fail_next(&self, count: usize) {
        self.lock().failures = count;
    }

    /// The data of the records that are stored, in order.
    #[must_use]
    pub fn stored(&self) -> Vec<String> {
        let text =
            |failed: &FailedRecord| String::from_utf8_lossy(&failed.record.data).into_owned();
        self.lock().stored.iter().map(text).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DeadLetter for Letters {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let mut state = self.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err("as told".into());
        }
        state.stored.push(failed.clone());
        drop(state);
        Ok(())
    }
}
