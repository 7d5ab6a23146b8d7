//! What the workers delivered: who ran under which token, and how far records are processed.

use super::consumer::{Consumer, position};
use super::violation::{Violation, require};
use crate::model::{Checkpoint, LeaseCounter, WorkerId};

/// What the workers delivered so far.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Deliveries {
    /// The newest token under which a worker ran, and that worker.
    newest: Option<(LeaseCounter, WorkerId)>,
    /// The last record that any worker processed.
    processed: u8,
}

impl Deliveries {
    /// Checks the workers that may run the application's code now, each with its token.
    pub(super) fn see(
        &mut self,
        running: impl Iterator<Item = (WorkerId, LeaseCounter)>,
        is_ended: bool,
    ) -> Result<(), Violation> {
        for (nth, (worker, token)) in running.enumerate() {
            require(!is_ended, "NoResurrection", || {
                "a worker may run the application's code for a finished shard".to_owned()
            })?;
            require(nth == 0, "OneDeliverer", || {
                "both workers may run the application's code".to_owned()
            })?;
            if let Some((newest, whose)) = &self.newest {
                require(*newest <= token, "TokensRise", || {
                    format!("{worker} runs under {token} after {newest}")
                })?;
                require(*newest != token || *whose == worker, "TokensRise", || {
                    format!("{whose} and {worker} ran under {token}")
                })?;
            }
            self.newest = Some((token, worker));
        }
        Ok(())
    }

    /// Whether everything up to a checkpoint is processed.
    pub(super) fn reach(&self, checkpoint: Checkpoint) -> bool {
        checkpoint <= position(self.processed)
    }

    /// The number of the last record that is processed.
    pub(super) const fn processed(&self) -> u8 {
        self.processed
    }

    /// Lets a consumer process its next record. Returns its checkpoint after that.
    pub(super) fn process(&mut self, consumer: &Consumer) -> Result<Checkpoint, Violation> {
        let next = (1..=u8::MAX).find(|number| position(*number) > consumer.processed);
        let next = next.unwrap_or(u8::MAX);
        require(next <= self.processed + 1, "NoSkip", || {
            format!("record {next} is processed before {}", self.processed + 1)
        })?;
        self.processed = self.processed.max(next);
        Ok(position(next))
    }
}
