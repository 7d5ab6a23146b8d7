//! Watches the leases of a fleet from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_core::model::{LeaseCounter, LeaseKey, WorkerId};
use kcl_tests::fleet::Fleet;
use tokio::time::{Instant, sleep};

/// How often the table is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happened to the leases of a fleet that should rest.
#[derive(Debug, Default)]
pub(crate) struct LeaseWatch {
    leases: BTreeMap<LeaseKey, Seen>,
    /// How often a lease changed its owner, or had none.
    pub(crate) lost: u32,
    /// The longest time between two renewals of a lease, to a tenth of a second.
    pub(crate) gap_max: Duration,
}

#[derive(Debug)]
struct Seen {
    owner: Option<WorkerId>,
    counter: LeaseCounter,
    moved_at: Instant,
}

impl LeaseWatch {
    /// Watches for some time.
    pub(crate) async fn run(fleet: &Fleet, time: Duration) -> anyhow::Result<Self> {
        let (mut watch, began) = (Self::default(), Instant::now());
        while began.elapsed() < time {
            watch.look(fleet).await?;
            sleep(LOOK_EVERY).await;
        }
        Ok(watch)
    }

    async fn look(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        let (leases, now) = (fleet.leases().await?, Instant::now());
        for lease in leases {
            let seen = Seen { owner: lease.owner, counter: lease.counter, moved_at: now };
            let Some(last) = self.leases.get_mut(&lease.key) else {
                self.leases.insert(lease.key, seen);
                continue;
            };
            self.gap_max = self.gap_max.max(now - last.moved_at);
            self.lost += u32::from(last.owner != seen.owner);
            if last.counter != seen.counter || last.owner != seen.owner {
                *last = seen;
            }
        }
        Ok(())
    }
}
