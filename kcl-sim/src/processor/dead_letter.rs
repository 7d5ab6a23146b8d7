//! A dead letter store that is slow and fails at random.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::BoxError;
use kcl_core::backend::{DeadLetter, FailedRecord};
use tokio::time::sleep;

use super::behavior::{Behavior, drawn_error};
use crate::chance::Chance;
use crate::fault::Fault;
use crate::journal::{Entry, Journal};

/// A dead letter store.
#[derive(Debug)]
pub(crate) struct FlakyDeadLetter {
    behavior: Behavior,
    /// Shared by all consumers of a worker, never locked across an await point.
    chance: Mutex<Chance>,
    journal: Journal,
}

impl FlakyDeadLetter {
    pub(crate) fn new(behavior: Behavior, chance: Chance, journal: Journal) -> Self {
        Self { behavior, chance: Mutex::new(chance), journal }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl DeadLetter for FlakyDeadLetter {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        if !self.behavior.is_calm() {
            sleep(Duration::from_millis(self.draw(|chance| chance.between(0, 500)))).await;
        }
        if self.draw(|chance| self.behavior.loses(chance, Fault::FailedDeadLetter)) {
            return Err(drawn_error());
        }
        let (shard, record) = (failed.shard.clone(), failed.record.position);
        self.journal.log(Entry::Stored { shard, record });
        Ok(())
    }
}
