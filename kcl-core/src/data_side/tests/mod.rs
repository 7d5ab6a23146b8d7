//! One consumer against a shard in memory, a scripted processor and a holder that does as told.

mod acks;
mod clock;
mod deadline;
mod delivery;
mod ending;
mod failing;
mod failing_calls;
mod held;
mod histories;
mod kit;
mod reading;
mod shard_end;

use std::time::Duration;

use kcl_proto::model::{Checkpoint, ChildShard};
use tokio::join;

use crate::backend::Clock;
use crate::data_side::tests::kit::{SECOND, World};
use crate::messages::{FromConsumer, Order};

/// Runs a consumer for so long, drains it, and returns the checkpoint it leaves: the application's
/// or its own, whichever is further.
async fn run_for(world: &World, time: Duration) -> Option<Checkpoint> {
    let (mut held, run) = world.start();
    let script = async {
        held.serve(time).await;
        let until = world.clock.now() + SECOND * 20;
        held.order.send_replace(Order::Drain { until });
        assert!(matches!(held.last_word().await, Some(FromConsumer::Drained)));
        let checkpoint = held.checkpoint().max(held.stored.last().copied());
        held.let_go().await;
        checkpoint
    };
    join!(run, script).1
}

fn ids(children: &[ChildShard]) -> Vec<&str> {
    children.iter().map(|child| child.id.as_str()).collect()
}
