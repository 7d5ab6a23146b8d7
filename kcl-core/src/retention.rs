//! How long the stream keeps records, as last described: [`Retention`].

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::Moment;
use tokio::sync::{Mutex, watch};

use crate::backend::{Clock, RecordSource};

/// The shortest time between two descriptions that consumers ask for. All workers of an account
/// share 20 calls a second.
///
/// Source: Kinesis API reference, `DescribeStreamSummary`.
const ASK_EVERY: Duration = Duration::from_mins(5);

/// How long the stream keeps records. Clones share the value, which every description of the stream
/// updates: the worker's own turns of housekeeping, which are rare in a large fleet, and those that
/// consumers ask for while it matters.
#[derive(Clone, Debug)]
pub(crate) struct Retention(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: watch::Sender<Duration>,
    /// When a consumer last asked, or the worker started. Locked while one asks.
    asked: Mutex<Moment>,
}

impl Retention {
    /// The retention of a stream that was described at `now`.
    pub(crate) fn new(described: Duration, now: Moment) -> Self {
        Self(Arc::new(Shared { known: watch::Sender::new(described), asked: Mutex::new(now) }))
    }

    /// The retention as last described.
    pub(crate) fn get(&self) -> Duration {
        *self.0.known.borrow()
    }

    /// Sets the retention to that of a new description.
    pub(crate) fn described(&self, retention: Duration) {
        self.0.known.send_replace(retention);
    }

    /// Asks for a new description, unless a consumer of this worker did so lately. A failure leaves
    /// the retention as it is.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the retention as it is.
    pub(crate) async fn refresh(&self, source: &dyn RecordSource, clock: &dyn Clock) {
        let mut asked = self.0.asked.lock().await;
        let now = clock.now();
        if now.since(*asked) < ASK_EVERY {
            return;
        }
        *asked = now;
        if let Ok(description) = source.describe().await {
            self.described(description.retention);
        }
    }
}
