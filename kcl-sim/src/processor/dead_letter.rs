//! A dead letter that is slow, and fails, as chance has it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl_core::BoxError;
use kcl_core::backend::{DeadLetter, FailedRecord};
use tokio::time::sleep;

use super::{Ways, as_chance_has_it};
use crate::chance::Chance;
use crate::journal::{Journal, Said};
use crate::world::faults::Fault;

/// A dead letter.
#[derive(Debug)]
pub(crate) struct Shelf {
    ways: Ways,
    /// Drawn from by all consumers of a worker, never across an await point.
    chance: Mutex<Chance>,
    journal: Journal,
}

impl Shelf {
    pub(crate) fn new(ways: Ways, chance: Chance, journal: Journal) -> Self {
        Self { ways, chance: Mutex::new(chance), journal }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl DeadLetter for Shelf {
    async fn store(&self, failed: &FailedRecord) -> Result<(), BoxError> {
        if !self.ways.is_calm() {
            sleep(Duration::from_millis(self.draw(|chance| chance.between(0, 500)))).await;
        }
        if self.draw(|chance| self.ways.loses(chance, Fault::FailedDeadLetter)) {
            return Err(as_chance_has_it());
        }
        let (shard, record) = (failed.shard.clone(), failed.record.position);
        self.journal.say(Said::Stored { shard, record });
        Ok(())
    }
}
