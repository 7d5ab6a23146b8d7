//! The promise about how long records wait.

use std::time::Duration;

use kcl_core::model::{ShardId, Timestamp};

use super::{Facts, Oracle};
use crate::time::Time;

/// How long records may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Those that were put before do not count.
    since: Time,
    most: Duration,
}

impl Patience {
    /// For how many milliseconds a record has waited, if that is too long.
    fn is_over(self, put: Timestamp, now: Time) -> Option<u128> {
        let waited = now.time_of_day().epoch_millis() - put.epoch_millis();
        let waited = u128::try_from(waited).unwrap_or_default();
        (put >= self.since.time_of_day() && waited > self.most.as_millis()).then_some(waited)
    }
}

impl Facts {
    /// No record that is put after `since` may wait for longer than `most`.
    pub(crate) const fn be_patient(&mut self, since: Time, most: Duration) {
        self.patience = Some(Patience { since, most });
    }

    /// Looks whether a record has been waiting for too long.
    pub(crate) fn look_for_waits(&mut self, now: Time) {
        if self.patience.is_some() {
            let first = self.shards.iter().map(|(shard, facts)| (shard.clone(), facts.done()));
            let first: Vec<_> = first.collect();
            first.into_iter().for_each(|(shard, place)| self.waits(now, &shard, place));
        }
    }

    /// A record is there that is not done, or only now.
    pub(crate) fn waits(&mut self, now: Time, shard: &ShardId, place: usize) {
        let Some(patience) = self.patience else { return };
        let put = self.shards.get(shard).and_then(|facts| facts.records.get(place));
        if let Some(waited) = put.and_then(|put| patience.is_over(put.at, now)) {
            self.broken(now, Oracle::WaitsBounded, || {
                format!("{shard}: the record at place {place} waited for {waited} ms")
            });
        }
    }
}
