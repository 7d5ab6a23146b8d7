//! Waiting while records are under way: the processor's background work goes on, acknowledgements
//! are published, and the first one that fails ends it.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::backoff;
use kcl_proto::consumer::checkpointing::{AckFailure, Marks, Reached};
use kcl_proto::model::{Moment, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::BoxError;
use crate::backend::Clock;
use crate::data_side::deadline_guard::{Call, Guard, Stop};
use crate::data_side::processor_call::{Current, Delivery, Mishap};
use crate::messages::{Order, Reports};
use crate::report::log::chain;

/// How often what was acknowledged is published at most.
const PUBLISH_EVERY: Duration = Duration::from_millis(20);

/// For how long is waited.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Until the holder asks to let go.
    UntilAsked,
    /// Until the holder asks to let go so soon that what is tried again at this moment comes too late.
    WhileInTime(Moment),
    /// Until the time to let go is up, at this moment at the latest.
    UntilTimeUp(Option<Moment>),
}

/// How a wait ended.
#[derive(Debug)]
pub(super) enum Attended<T> {
    /// With what was waited for.
    Done(T),
    /// The holder asks to let go.
    DrainAsked,
    /// A record under way failed. There is no processor any more.
    Broken(Mishap),
    /// The application may not run any more.
    Stopped(Stop),
}

enum Met<T> {
    Value(T),
    Asked,
    AckFailed(AckFailure),
    Background(Result<(), BoxError>),
}

impl Delivery {
    /// Waits for `work` while the processor's background work goes on, if records are under way.
    pub(super) async fn attend<T>(
        &mut self,
        guard: &mut Guard,
        patience: Patience,
        work: impl Future<Output = T> + Send,
    ) -> Attended<T>
    where
        T: Send,
    {
        let mut work = pin!(work);
        let mut is_idle = self.reached().in_flight == 0;
        let until = match patience {
            Patience::UntilAsked | Patience::WhileInTime(_) => None,
            Patience::UntilTimeUp(until) => until,
        };
        loop {
            let clock = Arc::clone(&self.desk().clock);
            let (asked, reports) = (asked(guard.orders(), patience, clock), self.reports.clone());
            let Some(Current { processor, context, .. }) = &mut self.current else {
                return Attended::Done(work.await);
            };
            let acks = watch_acks(context.checkpointer.marks.clone(), reports);
            let met = async {
                tokio::select! {
                    biased;
                    failure = acks => Met::AckFailed(failure),
                    () = asked => Met::Asked,
                    value = &mut work => Met::Value(value),
                    end = processor.background(context), if !is_idle => Met::Background(end),
                }
            };
            let call = guard.call(&context.cancelled, until, met).await;
            return match call {
                Call::Done(Met::Value(value)) => Attended::Done(value),
                Call::Done(Met::Asked) => Attended::DrainAsked,
                Call::Done(Met::Background(Ok(()))) => {
                    is_idle = true;
                    continue;
                }
                Call::Done(Met::Background(Err(error))) => {
                    Attended::Broken(self.broken(chain(&*error)))
                }
                Call::Done(Met::AckFailed(failure)) => {
                    Attended::Broken(self.unacknowledged(failure))
                }
                Call::Panicked(said) => Attended::Broken(self.broken(format!("panicked: {said}"))),
                Call::Stopped(stop) => Attended::Stopped(stop),
            };
        }
    }

    /// Waits until fewer than so many records are under way.
    pub(super) fn room(&self, in_flight: usize) -> impl Future<Output = ()> + Send + use<> {
        let marks = self.current.as_ref().map(|it| it.context.checkpointer.marks.subscribe());
        async move {
            if let Some(mut marks) = marks {
                drop(marks.wait_for(|marks| marks.in_flight() < in_flight).await);
            }
        }
    }

    /// Replaces a processor of which an acknowledgement failed.
    pub(super) fn unacknowledged(&mut self, failure: AckFailure) -> Mishap {
        self.retire();
        let AckFailure { position, error, is_final } = failure;
        Mishap { error, named: vec![position], in_flight: Some(vec![position]), is_final }
    }

    /// Replaces a processor of which the background work failed: any record under way may be at fault.
    fn broken(&mut self, error: String) -> Mishap {
        let current = self.current.as_ref();
        let outstanding = current.map(|current| {
            let marks = current.context.checkpointer.marks.borrow();
            marks.outstanding().collect()
        });
        self.retire();
        Mishap { error, named: Vec::new(), in_flight: outstanding, is_final: false }
    }

    /// Tells the holder what may be stored by the way.
    pub(super) fn publish(&self, caught_up_at: Option<Timestamp>) {
        publish(&self.reports, self.reached(), caught_up_at);
    }
}

/// Publishes what is acknowledged, until an acknowledgement fails.
pub(super) async fn watch_acks(marks: watch::Sender<Marks>, reports: Reports) -> AckFailure {
    let mut seen = marks.subscribe();
    loop {
        let (reached, failure) = {
            let marks = seen.borrow_and_update();
            (marks.reached(), marks.failure().cloned())
        };
        publish(&reports, reached, None);
        if let Some(failure) = failure {
            return failure;
        }
        drop(seen.changed().await); // It cannot be closed: a sender is held here.
        sleep(PUBLISH_EVERY).await;
    }
}

fn publish(reports: &Reports, reached: Reached, caught_up_at: Option<Timestamp>) {
    reports.vitals.send_if_modified(|vitals| {
        let before = std::mem::replace(&mut vitals.under_way, reached.under_way);
        before != vitals.under_way
    });
    let caught_up_at = caught_up_at.filter(|_| reached.is_all_done);
    reports.progress.send_if_modified(|done| {
        let before = *done;
        done.checkpoint = done.checkpoint.max(reached.automatic);
        done.records = done.records.max(reached.records);
        done.caught_up_at = done.caught_up_at.max(caught_up_at);
        *done != before
    });
}

async fn asked(mut orders: watch::Receiver<Order>, patience: Patience, clock: Arc<dyn Clock>) {
    let ends = |order: &Order| match (*order, patience) {
        (Order::Drain { .. }, Patience::UntilAsked) => true,
        (Order::Drain { until }, Patience::WhileInTime(end)) => {
            let now = clock.now();
            !backoff::fits(end - now, until - now)
        }
        (Order::Drain { .. }, Patience::UntilTimeUp(_)) | (Order::Run | Order::Lost { .. }, _) => {
            false
        }
    };
    if orders.wait_for(ends).await.is_err() {
        pending::<()>().await; // The guard knows what that means.
    }
}
