//! Makes one take, and asks again until its outcome is known or no longer matters.

use std::time::Duration;

use kcl_proto::lease::write::LeaseWrite;
use kcl_proto::model::{Conditional, Lease, Moment};
use tokio::time::sleep;

use crate::lease_side::shared::Side;
use crate::report::event::Event;
use crate::report::log::chain;

/// The pause before a take of unknown outcome is sent again.
const RESEND_AFTER: Duration = Duration::from_millis(200);

/// What came of a take.
#[derive(Debug)]
pub(super) enum Taken {
    /// The lease is this worker's, from when the first copy was sent.
    Held { row: Box<Lease>, sent: Moment },
    /// Somebody else was first; this is the row, if there is one.
    Lost(Option<Box<Lease>>),
    /// No answer within the time for which a lease so taken would be held.
    Unknown,
}

/// Makes the take `write`. The identical write is sent again while its outcome is unknown.
pub(super) async fn run(side: &Side, write: &LeaseWrite) -> Taken {
    let sent = side.clock.now();
    let patience = side.config.lease.expiry / 10 * 9;
    loop {
        match side.store.write(write).await {
            Ok(Conditional::Applied(row)) => return Taken::Held { row: Box::new(row), sent },
            Ok(Conditional::Lost { found: Some(row) }) if write.made(&row) => {
                return Taken::Held { row: Box::new(as_taken(row, side)), sent };
            }
            Ok(Conditional::Lost { found }) => return Taken::Lost(found.map(Box::new)),
            Err(error) => {
                let (doing, error, retry_in) = ("take a lease", chain(&error), RESEND_AFTER);
                side.events.emit(&Event::CallFailed { doing, error, retry_in });
            }
        }
        if side.clock.now().since(sent) >= patience {
            return Taken::Unknown;
        }
        sleep(RESEND_AFTER).await;
    }
}

/// The row as the take left it: somebody may have asked for the lease since, which the holder learns
/// from its next write.
fn as_taken(row: Lease, side: &Side) -> Lease {
    let mut lease = row;
    lease.owner = Some(side.me.clone());
    lease.checkpoint_owner = None;
    lease
}
