//! Polls the application's futures, and stops polling them at the moment when they may not run.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use kcl_proto::consumer::backoff;
use kcl_proto::model::Moment;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::Clock;
use crate::data_side::call_outcome::{Interrupt, Stop};
use crate::messages::Order;
use crate::tasks::sleep::sleep_until;
use crate::tasks::supervisor::panic_message;

/// How a call of the application's code ended.
#[derive(Debug)]
pub(super) enum CallEnd<T> {
    /// It returned in time.
    Returned(T),
    /// It panicked with this message.
    Panicked(String),
    /// It was dropped, never began, or returned too late to count.
    Stopped(Stop),
}

/// The bounds of one consumer: its lease's deadline and the holder's order.
///
/// The guard reads the fence clock before each poll of the application's future, and again when the
/// future is ready: a timer alone fires too late after the process or the machine was suspended.
#[derive(Debug)]
pub(super) struct Guard {
    clock: Arc<dyn Clock>,
    deadline: watch::Receiver<Moment>,
    order: watch::Receiver<Order>,
    grace: Duration,
    /// Until when a future may run after a loss. Set when the loss is noticed.
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

    /// Runs the application's future until it ends or may not run, at `until` at the latest.
    ///
    /// On loss it cancels `cancelled`, and drops the future after the grace, at the deadline at the
    /// latest. A value that the future returns after a loss does not count.
    pub(super) async fn call<T>(
        &mut self,
        cancelled: &CancellationToken,
        until: Option<Moment>,
        work: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> CallEnd<T> {
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
                    CallEnd::Stopped(stop)
                }
                Some(Err(panic)) => CallEnd::Panicked(panic_message(&*panic)),
                // A success counts only if the lease is still held.
                Some(Ok(value)) => {
                    self.lease_stop().map_or(CallEnd::Returned(value), CallEnd::Stopped)
                }
            };
        }
    }

    /// Waits for work that is not the application's, or until the holder asks for a drain.
    pub(super) async fn wait<T>(
        &mut self,
        mut work: Pin<&mut (impl Future<Output = T> + Send)>,
    ) -> Result<T, Interrupt> {
        loop {
            if let Order::Drain { .. } = self.standing().map_err(Interrupt::Stopped)? {
                return Err(Interrupt::DrainAsked);
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

    /// Waits before the next attempt. During a drain, only if it leaves time for that attempt.
    pub(super) async fn pause(&mut self, pause: Duration) -> Result<(), Interrupt> {
        let end = self.clock.now() + pause;
        loop {
            let now = self.clock.now();
            if let Order::Drain { until } = self.standing().map_err(Interrupt::Stopped)?
                && !backoff::fits(end - now, until - now)
            {
                return Err(Interrupt::DrainAsked);
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

    /// A receiver of the holder's orders.
    pub(super) fn orders(&self) -> watch::Receiver<Order> {
        self.order.clone()
    }

    /// Waits until the lease is lost or its deadline has passed.
    pub(super) async fn lease_gone(&mut self) {
        while self.lease_stop().is_none() {
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                biased;
                _ = self.order.changed() => {}
                Ok(()) = self.deadline.changed() => {}
                () = sleep_until(&*self.clock, deadline) => {}
            }
        }
    }

    /// The holder's order, or why the application's code may not run.
    pub(super) fn standing(&mut self) -> Result<Order, Stop> {
        if let Some(stop) = self.lease_stop() {
            return Err(stop);
        }
        match self.ordered() {
            Order::Drain { until } if self.clock.now() >= until => Err(Stop::TimeUp),
            order @ (Order::Run | Order::Drain { .. } | Order::Lost { .. }) => Ok(order),
        }
    }

    fn lease_stop(&mut self) -> Option<Stop> {
        if let Order::Lost { .. } = self.ordered() {
            return Some(Stop::Lost);
        }
        let deadline = *self.deadline.borrow_and_update();
        (self.clock.now() >= deadline).then_some(Stop::DeadlinePassed)
    }

    /// Until when the application's code may run, and why no longer.
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

    /// The current order. A holder that is gone holds no lease.
    fn ordered(&mut self) -> Order {
        let order = *self.order.borrow_and_update();
        if self.order.has_changed().is_err() { order.lost() } else { order }
    }
}

/// Polls `work` before `limit`. Returns `None` once `limit` is reached.
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
