//! The consumer of one ownership, as far as the lease side sees it.

use crate::model::{Checkpoint, LeaseCounter, Moment, Position, SequenceNumber};

pub(super) fn position(number: u8) -> Checkpoint {
    match number {
        0 => Checkpoint::TrimHorizon,
        _ => Checkpoint::After(Position::of(SequenceNumber::from(u128::from(number)))),
    }
}

/// What the lease side has ordered a consumer to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Run,
    Drain { until: Moment },
    Lost { until: Option<Moment> },
}

/// The consumer of one ownership.
#[derive(Clone, Debug, Hash)]
pub(super) struct Consumer {
    pub(super) token: LeaseCounter,
    pub(super) processed: Checkpoint,
    pub(super) deadline: Moment,
    pub(super) order: Order,
    /// Whether it has not reported its end.
    pub(super) is_active: bool,
}

impl Consumer {
    /// Whether the application's code may run, as the deadline guard of the data side decides.
    pub(super) fn may_run(&self, now: Moment) -> bool {
        let until = match self.order {
            Order::Run | Order::Lost { until: None } => self.deadline,
            // After a loss the drain's deadline still applies.
            Order::Drain { until } | Order::Lost { until: Some(until) } => until,
        };
        self.is_active && now < self.deadline.min(until)
    }

    pub(super) fn drain(&mut self, until: Moment) {
        match self.order {
            Order::Run => self.order = Order::Drain { until },
            Order::Drain { until: earlier } if until < earlier => {
                self.order = Order::Drain { until };
            }
            Order::Drain { .. } | Order::Lost { .. } => {}
        }
    }

    pub(super) fn lose(&mut self) {
        self.order = match self.order {
            Order::Run => Order::Lost { until: None },
            Order::Drain { until } => Order::Lost { until: Some(until) },
            lost @ Order::Lost { .. } => lost,
        };
    }
}
