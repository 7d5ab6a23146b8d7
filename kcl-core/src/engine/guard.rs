//! Polls the application's futures, and stops polling them the moment they may not run any more.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::link::Order;
use crate::engine::supervisor::said;
use crate::engine::timer::sleep_until;
use crate::model::Moment;

/// Why the application's future may not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The lease is lost.
    Lost,
    /// The lease's deadline passed without word from the holder.
    Overdue,
    /// The time to drain is up.
    TimeUp,
}

/// How a call of the application's code ended.
#[derive(Debug)]
pub(super) enum Call<T> {
    /// It returned this, in time.
    Done(T),
    /// It panicked, and said this.
    Panicked(String),
    /// It was dropped.
    Stopped(Stop),
}

/// What bounds the calls of one consumer: its lease's deadline and its orders.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deadline: watch::Receiver<Moment>,
    pub(super) order: watch::Receiver<Order>,
    pub(super) cancelled: CancellationToken,
    pub(super) grace: std::time::Duration,
}

impl Guard {
    /// The order as it is now.
    pub(super) fn order(&self) -> Order {
        *self.order.borrow()
    }

    /// Why nothing may run now, if so.
    pub(super) fn stop(&self) -> Option<Stop> {
        let now = self.clock.now();
        match self.order() {
            Order::Lost => Some(Stop::Lost),
            _ if now >= *self.deadline.borrow() => Some(Stop::Overdue),
            Order::Drain { until } if now >= until => Some(Stop::TimeUp),
            Order::Drain { .. } | Order::Run => None,
        }
    }

    /// Waits until there is an order other than to run, or the deadline passed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn interrupted(&mut self) {
        loop {
            if self.order() != Order::Run || self.stop().is_some() {
                return;
            }
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                biased;
                Ok(()) = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                () = sleep_until(&*self.clock, deadline) => {}
            }
        }
    }

    /// Runs the application's future until it ends or may not run any more.
    ///
    /// The clock is asked before each poll. On loss the future is told through the context's
    /// `cancelled()`, and dropped after a grace that ends at the deadline at the latest.
    pub(super) async fn call<T>(&mut self, work: impl Future<Output = T> + Send) -> Call<T> {
        let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
        let mut grace_until = None;
        loop {
            let order = *self.order.borrow_and_update();
            let deadline = *self.deadline.borrow_and_update();
            let (limit, stop) = match order {
                Order::Run => (deadline, Stop::Overdue),
                Order::Drain { until } if until < deadline => (until, Stop::TimeUp),
                Order::Drain { .. } => (deadline, Stop::Overdue),
                Order::Lost => {
                    self.cancelled.cancel();
                    let until = *grace_until.get_or_insert_with(|| self.clock.now() + self.grace);
                    (until.min(deadline), Stop::Lost)
                }
            };
            let clock = Arc::clone(&self.clock);
            let polled = std::future::poll_fn(|context| {
                if clock.now() >= limit {
                    return Poll::Ready(None);
                }
                work.as_mut().poll(context).map(Some)
            });
            tokio::select! {
                biased;
                Ok(()) = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                end = polled => match end {
                    Some(Ok(value)) => return Call::Done(value),
                    Some(Err(panic)) => return Call::Panicked(said(&*panic)),
                    None => {
                        self.cancelled.cancel();
                        return Call::Stopped(stop);
                    }
                },
                () = sleep_until(&*clock, limit) => {}
            }
        }
    }
}
