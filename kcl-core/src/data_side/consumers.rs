//! Starts a consumer for each lease that comes to be held, on the application's runtime.

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::data_side::consumer::{self, ConsumerParts};
use crate::data_side::processor_call::LOSS_TIME_MAX;
use crate::messages::Grant;
use crate::report::log::shard_span;
use crate::tasks::supervisor::{TaskEnd, Tasks};

/// Runs consumers until the lease side is over and all of them have ended, or their time is up: one
/// that the application blocks never ends.
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
            end = consumers.ended() => tell(end),
        }
    }
    let rest = async {
        while consumers.len() > 0 {
            tell(consumers.ended().await);
        }
    };
    let time = LOSS_TIME_MAX + parts.config.delivery.cancel_grace;
    if timeout(time, rest).await.is_err() {
        let left = consumers.len();
        tracing::error!(left, "processors block their threads: only the process's exit ends them");
    }
}

/// Tells of a panic. The holder has noticed: it releases the lease, and somebody resumes the shard.
fn tell(end: TaskEnd) {
    if let Some(message) = end.panic {
        tracing::error!(reason = message, "consumer panicked");
    }
}
