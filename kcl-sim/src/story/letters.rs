//! The dead letter of a story, which fails on request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kcl_core::BoxError;
use kcl_core::backend::{DeadLetter, FailedRecord};

use crate::journal::{Entry, Journal};

/// What all workers of a story store. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    /// Written by workers, read by the test between two steps of the world.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<String>,
    failures: usize,
}

impl Letters {
    /// Refuses the next `count` records.
    pub(super) fn fail_next(&self, count: usize) {
        self.lock().failures = count;
    }

    /// The data of the stored records, in order.
    pub(super) fn stored(&self) -> Vec<String> {
        self.lock().stored.clone()
    }

    /// The dead letter of one worker.
    pub(super) fn of(&self, journal: &Journal) -> WorkerLetters {
        WorkerLetters { letters: self.clone(), journal: journal.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dead letter of one worker.
#[derive(Debug)]
pub(super) struct WorkerLetters {
    letters: Letters,
    journal: Journal,
}

#[async_trait]
impl DeadLetter for WorkerLetters {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        let mut state = self.letters.lock();
        if state.failures > 0 {
            state.failures -= 1;
            return Err("scripted".into());
        }
        state.stored.push(String::from_utf8_lossy(&failed.record.data).into_owned());
        drop(state);
        let (shard, record) = (failed.shard.clone(), failed.record.position);
        self.journal.log(Entry::Stored { shard, record });
        Ok(())
    }
}
