//! Polls the application's futures, and stops polling them the moment they may not run any more.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use kcl_proto::consumer::backoff;
use kcl_proto::consumer::lifecycle::Event as Happened;
use kcl_proto::model::Moment;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::Clock;
use crate::messages::Order;
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::panic_message;

/// Why the application may not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The lease is lost.
    Lost,
    /// The lease's deadline passed without a word from the holder.
    DeadlinePassed,
    /// The time to let go is up.
    TimeUp,
}

/// How a call of the application's code ended.
#[derive(Debug)]
pub(super) enum Call<T> {
    /// It returned this, in time.
    Done(T),
    /// It panicked, and said this.
    Panicked(String),
    /// It was dropped, or never began, or came too late to count.
    Stopped(Stop),
}

impl From<Stop> for Happened {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lost => Self::LeaseLost,
            Stop::DeadlinePassed => Self::DeadlinePassed,
            Stop::TimeUp => Self::TimeUp,
        }
    }
}

/// What bounds one consumer: its lease's deadline and its orders.
///
/// The fence clock is asked before each poll of the application's future, and once more when that is
/// ready: a timer alone would come too late in a process that was stopped or a machine that slept.
#[derive(Debug)]
pub(super) struct Guard {
    clock: Arc<dyn Clock>,
    deadline: watch::Receiver<Moment>,
    order: watch::Receiver<Order>,
    grace: Duration,
    /// Until when a future may still run after a loss: set when the loss is noticed.
    grace_until: Option<Moment>,
}

impl Guard {
    pub(super) const fn new(
        clock: Arc<dyn Clock>,
        deadline: watch::Receiver<Moment>,
        order: watch::Receiver<Order>,
        grace: Duration,
    ) -> Self {
        Self { clock, deadline, order, grace, grace_until: None }
    }

    /// Runs the application's future until it ends or may not run any more, at `until` at the latest.
    ///
    /// On loss `cancelled` is set, and the future dropped after a grace that ends at the deadline at
    /// the latest. What it returns after that does not count.
    pub(super) async fn call<T>(
        &mut self,
        cancelled: &CancellationToken,
        until: Option<Moment>,
        work: impl Future<Output = T> + Send,
    ) -> Call<T> {
        let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
        loop {
            let (limit, stop) = self.limit(until);
            let is_lost = stop == Stop::Lost;
            if is_lost {
                cancelled.cancel();
            }
            let end = tokio::select! {
                biased;
                _ = self.order.changed(), if !is_lost => continue,
                Ok(()) = self.deadline.changed() => continue,
                end = before(&*self.clock, limit, work.as_mut()) => end,
                () = sleep_until(&*self.clock, limit) => continue,
            };
            return match end {
                None => {
                    cancelled.cancel();
                    Call::Stopped(stop)
                }
                Some(Err(panic)) => Call::Panicked(panic_message(&*panic)),
                // A success is acted upon only after another look at the clock.
                Some(Ok(value)) => {
                    self.standing_of_lease().map_or(Call::Done(value), Call::Stopped)
                }
            };
        }
    }

    /// Waits for something that is not the application's, or until the consumer has to let go.
    pub(super) async fn wait<T>(
        &mut self,
        work: impl Future<Output = T> + Send,
    ) -> Result<T, Happened> {
        let mut work = pin!(work);
        loop {
            if let Order::Drain { .. } = self.standing()? {
                return Err(Happened::DrainAsked);
            }
            let (limit, _) = self.limit(None);
            tokio::select! {
                biased;
                _ = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                done = &mut work => return Ok(done),
                () = sleep_until(&*self.clock, limit) => {}
            }
        }
    }

    /// Waits before something is tried again. While the holder asks to let go, only if there is time
    /// to try it.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), Happened> {
        let end = self.clock.now() + pause;
        loop {
            let now = self.clock.now();
            if let Order::Drain { until } = self.standing()?
                && !backoff::fits(end - now, until - now)
            {
                return Err(Happened::DrainAsked);
            }
            if now >= end {
                return Ok(());
            }
            let (limit, _) = self.limit(Some(end));
            tokio::select! {
                biased;
                _ = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                () = sleep_until(&*self.clock, limit) => {}
            }
        }
    }

    /// The orders, to be waited for.
    pub(super) fn orders(&self) -> watch::Receiver<Order> {
        self.order.clone()
    }

    /// Waits until the lease is lost or its deadline has passed.
    pub(super) async fn lease_gone(&mut self) {
        while self.standing_of_lease().is_none() {
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                biased;
                _ = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                () = sleep_until(&*self.clock, deadline) => {}
            }
        }
    }

    /// What is ordered, or why nothing may go on.
    pub(super) fn standing(&mut self) -> Result<Order, Stop> {
        if let Some(stop) = self.standing_of_lease() {
            return Err(stop);
        }
        match self.ordered() {
            Order::Drain { until } if self.clock.now() >= until => Err(Stop::TimeUp),
            order @ (Order::Run | Order::Drain { .. } | Order::Lost { .. }) => Ok(order),
        }
    }

    fn standing_of_lease(&mut self) -> Option<Stop> {
        if let Order::Lost { .. } = self.ordered() {
            return Some(Stop::Lost);
        }
        let deadline = *self.deadline.borrow_and_update();
        (self.clock.now() >= deadline).then_some(Stop::DeadlinePassed)
    }

    /// Up to when the application may run as things stand, and why no longer.
    fn limit(&mut self, until: Option<Moment>) -> (Moment, Stop) {
        let deadline = *self.deadline.borrow_and_update();
        let time_up = |until| (deadline.min(until), Stop::TimeUp);
        match (self.ordered(), until) {
            (Order::Lost { until: drained }, _) => {
                let grace_until = self.clock.now() + self.grace;
                let grace_until = *self.grace_until.get_or_insert(grace_until);
                let latest = drained.map_or(deadline, |drained| deadline.min(drained));
                (latest.min(grace_until), Stop::Lost)
            }
            (Order::Drain { until: drain }, Some(until)) if drain.min(until) < deadline => {
                time_up(drain.min(until))
            }
            (Order::Drain { until }, None) | (Order::Run, Some(until)) if until < deadline => {
                time_up(until)
            }
            (Order::Drain { .. } | Order::Run, _) => (deadline, Stop::DeadlinePassed),
        }
    }

    /// The order as it stands. A holder that is gone holds nothing.
    fn ordered(&mut self) -> Order {
        let order = *self.order.borrow_and_update();
        if self.order.has_changed().is_err() { order.lost() } else { order }
    }
}

/// Polls `work` as long as `limit` is not reached; none when it is.
async fn before<T>(
    clock: &dyn Clock,
    limit: Moment,
    mut work: Pin<&mut (impl Future<Output = T> + Send)>,
) -> Option<T> {
    std::future::poll_fn(|context| {
        if clock.now() >= limit {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}
