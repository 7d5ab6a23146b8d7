//! Runs [`decide::asking`](kcl_proto::lease::request) for one lease that this worker wants.

use std::sync::Arc;

use kcl_proto::lease::request::{AskEnd, Asking, AskingEffect, AskingInput};
use kcl_proto::model::{Lease, LeaseKey, WorkerId};
use tokio_util::sync::CancellationToken;

use crate::lease_side::shared::Side;
use crate::report::event::Event;
use crate::report::log::chain;
use crate::tasks::sleep::sleep_until;

/// Asks `owner` for the lease `key` until the request ends. `saw` gets each row that was read.
pub(super) async fn run(
    side: Arc<Side>,
    (key, owner): (LeaseKey, WorkerId),
    stop: CancellationToken,
    mut saw: impl FnMut(&Lease) + Send,
) -> AskEnd {
    let now = side.clock.now();
    let (mut asking, first) =
        Asking::new(side.me.clone(), (key, owner.clone()), side.write_numbers(), now);
    let mut next = Some(first);
    let mut stopped = false;
    loop {
        let input = match next.take() {
            Some(AskingEffect::Ended(end)) => return end,
            Some(AskingEffect::Begun) => {
                let (key, owner) = (asking.key().clone(), owner.clone());
                side.events.emit(&Event::HandOverBegun { key, owner });
                continue;
            }
            Some(AskingEffect::Read) => read(&side, asking.key(), &mut saw).await,
            Some(AskingEffect::Write(write)) => match side.store.write(&write).await {
                Ok(outcome) => AskingInput::Answered(outcome),
                Err(error) => {
                    report(&side, "ask for a lease", &error);
                    AskingInput::Unanswered
                }
            },
            None => tokio::select! {
                biased;
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    AskingInput::Stop
                }
                () = sleep_until(&*side.clock, asking.wake_at()) => AskingInput::Tick,
            },
        };
        if !stopped && stop.is_cancelled() {
            stopped = true;
            drop(asking.on(AskingInput::Stop, side.clock.now()));
        }
        next = asking.on(input, side.clock.now());
    }
}

async fn read(side: &Side, key: &LeaseKey, saw: &mut (impl FnMut(&Lease) + Send)) -> AskingInput {
    match side.store.get(key).await {
        Ok(row) => {
            if let Some(row) = &row {
                saw(row);
            }
            AskingInput::Read(row)
        }
        Err(error) => {
            report(side, "read a lease", &error);
            AskingInput::Unread
        }
    }
}

fn report(side: &Side, doing: &'static str, error: &crate::backend::LeaseStoreError) {
    let retry_in = std::time::Duration::from_millis(250);
    side.events.emit(&Event::CallFailed { doing, error: chain(error), retry_in });
}
