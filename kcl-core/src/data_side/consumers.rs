//! Starts a consumer for each newly held lease, on the application's runtime.

use kcl_proto::worker::shutdown;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::data_side::consumer;
use crate::data_side::parts::ConsumerParts;
use crate::messages::Grant;
use crate::report::log::shard_span;
use crate::tasks::supervisor::{TaskEnd, Tasks};

/// Runs consumers until the lease side and all of them have ended. A consumer whose thread the
/// application blocks never ends, so the wait for the last ones is bounded.
pub(crate) async fn run(mut grants: mpsc::Receiver<Grant>, parts: ConsumerParts) {
    let mut consumers = Tasks::default();
    loop {
        tokio::select! {
            biased;
            grant = grants.recv() => match grant {
                Some(grant) => {
                    let span = shard_span(&grant.stream, &grant.lease.key.shard());
                    consumers.spawn("consumer", span, consumer::run(grant, parts.clone()));
                }
                None => break,
            },
            end = consumers.ended() => report(end),
        }
    }
    let rest = async {
        while consumers.len() > 0 {
            report(consumers.ended().await);
        }
    };
    let time = shutdown::consumers_time(parts.config.delivery.cancel_grace);
    if timeout(time, rest).await.is_err() {
        let left = consumers.len();
        tracing::error!(left, "processors block their threads until the process exits");
    }
}

/// Logs a panic. The holder notices by itself, and releases the lease.
fn report(end: TaskEnd) {
    if let Some(message) = end.panic {
        tracing::error!(reason = message, "consumer panicked");
    }
}
