//! Starts a consumer for each lease that comes to be held, on the application's runtime.

use tokio::sync::mpsc;

use crate::engine::consumer::{self, ConsumerParts};
use crate::engine::link::Grant;
use crate::engine::supervisor::Tasks;
use crate::telemetry::shard_span;

/// Runs consumers until there are no more grants and all of them have ended.
pub(super) async fn run(mut grants: mpsc::Receiver<Grant>, parts: ConsumerParts) {
    let mut consumers = Tasks::default();
    let mut is_open = true;
    while is_open || consumers.len() > 0 {
        tokio::select! {
            biased;
            grant = grants.recv(), if is_open => match grant {
                Some(grant) => {
                    let span = shard_span(&grant.stream, &grant.lease.key.shard());
                    consumers.spawn("consumer", span, consumer::run(grant, parts.clone()));
                }
                None => is_open = false,
            },
            end = consumers.ended(), if consumers.len() > 0 => {
                // Its holder has noticed: it releases the lease, and somebody resumes the shard.
                if let Some(message) = end.panic {
                    tracing::error!(reason = message, "consumer panicked");
                }
            }
        }
    }
}
