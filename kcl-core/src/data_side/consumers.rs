//! Starts a consumer for each newly held lease, on the application's runtime.

use kcl_proto::worker::shutdown;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::data_side::consumer;
use crate::data_side::parts::ConsumerParts;
use crate::messages::Grant;
use crate::report::event::Event;
use crate::report::log::shard_span;
use crate::tasks::supervisor::{Tasks, panic_of};

/// Runs consumers until the lease side and all of them have ended. A consumer whose thread the
/// application blocks never ends, so the wait for the last ones is bounded. Returns whether none is
/// left.
pub(crate) async fn run(mut grants: mpsc::Receiver<Grant>, parts: ConsumerParts) -> bool {
    let mut consumers = Tasks::default();
    loop {
        tokio::select! {
            biased;
            grant = grants.recv() => match grant {
                Some(grant) => {
                    let span = shard_span(&grant.stream, &grant.lease.key.shard());
                    consumers.spawn("consumer", span, run_one(grant, parts.clone()));
                }
                None => break,
            },
            _ = consumers.ended() => {}
        }
    }
    let rest = async {
        while consumers.len() > 0 {
            consumers.ended().await;
        }
    };
    let time = shutdown::consumers_time(parts.config.delivery.cancel_grace);
    let have_ended = timeout(time, rest).await.is_ok();
    if !have_ended {
        parts.events.emit(&Event::ConsumersBlocked { count: consumers.len() });
    }
    have_ended
}

/// Runs a consumer. The holder notices a panic by itself, and releases the lease.
fn run_one(grant: Grant, parts: ConsumerParts) -> impl Future<Output = ()> + Send + 'static {
    let (shard, events) = (grant.lease.key.shard(), parts.events.clone());
    let work = Box::pin(consumer::run(grant, parts));
    async move {
        if let Some(error) = panic_of(work).await {
            events.emit(&Event::ConsumerPanicked { shard, error });
        }
    }
}
