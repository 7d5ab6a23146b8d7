//! Subscriptions of a stream in memory: records that come without being asked for.

use std::time::Duration;

use kcl_core::model::Moment;

/// How a stream pushes its records, as enhanced fan-out does.
///
/// ```
/// # use std::time::Duration;
/// # use kcl_sim::memory::Pushes;
/// let pushes = Pushes { lifetime: Duration::from_secs(20), ..Pushes::KINESIS };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by `..Pushes::KINESIS`")]
pub struct Pushes {
    /// How long a subscription lasts, more than a heartbeat. Its reader subscribes again where it
    /// ended.
    pub lifetime: Duration,
    /// How often a subscription brings an event without records.
    pub heartbeat_every: Duration,
    /// How long a reader waits for an event before it subscribes again.
    pub silence_max: Duration,
    /// The shortest time between two subscriptions of a reader.
    pub call_every: Duration,
    /// How long an event is on its way: it shows the shard as it was that long ago.
    pub delay: Duration,
}

impl Pushes {
    /// The times of Kinesis, and events that come at once.
    ///
    /// Source: Kinesis API reference, `SubscribeToShard`.
    pub const KINESIS: Self = Self {
        lifetime: Duration::from_mins(5),
        heartbeat_every: Duration::from_secs(5),
        silence_max: Duration::from_secs(30),
        call_every: Duration::from_secs(1),
        delay: Duration::ZERO,
    };
}

/// How often subscriptions began and broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushCounts {
    /// Subscriptions that began.
    pub begun: u64,
    /// Subscriptions that lasted for their lifetime.
    pub ended: u64,
    /// Subscriptions that brought nothing, until their readers subscribed again.
    pub lost: u64,
    /// Events that did not arrive in full.
    pub torn: u64,
    /// Events with records that came late.
    pub late: u64,
}

/// The knobs of pushes, and what they led to.
#[derive(Debug, Default)]
pub(super) struct PushState {
    pub(super) rules: Option<Pushes>,
    /// Whether the stream ever pushed: then readers look whether it does.
    pub(super) is_offered: bool,
    pub(super) lose_next: usize,
    pub(super) tear_next: usize,
    pub(super) counts: PushCounts,
}

/// What the subscription of a reader is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Begin, or begin anew.
    Subscribe,
    /// Wait: the last call is too recent, or nothing can come.
    Wait,
    /// Bring what there is, and a heartbeat if there is nothing and it is due.
    Bring { heartbeat: bool },
}

/// The subscription of a reader.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subscription {
    /// When the last call was made.
    called: Option<Moment>,
    /// When the last event came, or the subscription began. `None` without a subscription.
    heard: Option<Moment>,
    is_lost: bool,
}

impl Subscription {
    pub(super) const fn is_active(&self) -> bool {
        self.heard.is_some()
    }

    /// Ends it. The next call must wait.
    pub(super) const fn end(&mut self) {
        self.heard = None;
    }
}

impl PushState {
    /// Returns what a subscription does now. Ends it if its time is over.
    pub(super) fn course(
        &mut self,
        rules: &Pushes,
        subscription: &mut Subscription,
        now: Moment,
    ) -> Course {
        let age = subscription.called.map(|called| now.since(called));
        let Some(heard) = subscription.heard else {
            let may = age.is_none_or(|age| age >= rules.call_every);
            return if may { Course::Subscribe } else { Course::Wait };
        };
        let silence = now.since(heard);
        if subscription.is_lost {
            if silence >= rules.silence_max {
                self.counts.lost += 1;
                subscription.heard = None;
            }
            return Course::Wait;
        }
        if age.is_some_and(|age| age >= rules.lifetime) {
            self.counts.ended += 1;
            subscription.heard = None;
            return Course::Wait;
        }
        Course::Bring { heartbeat: silence >= rules.heartbeat_every }
    }

    /// Begins a subscription, which may be one that brings nothing.
    pub(super) fn begin(&mut self, subscription: &mut Subscription, now: Moment) {
        self.counts.begun += 1;
        let is_lost = self.lose_next > 0;
        self.lose_next = self.lose_next.saturating_sub(1);
        *subscription = Subscription { called: Some(now), heard: Some(now), is_lost };
    }

    /// An event is read. Returns false if it does not arrive in full, which ends the subscription.
    pub(super) fn arrives(&mut self, subscription: &mut Subscription, now: Moment) -> bool {
        let is_torn = self.tear_next > 0;
        self.tear_next = self.tear_next.saturating_sub(1);
        self.counts.torn += u64::from(is_torn);
        subscription.heard = (!is_torn).then_some(now);
        !is_torn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn subscriptions_end_and_begin_again() {
        let (mut state, mut one, rules) =
            (PushState::default(), Subscription::default(), Pushes::KINESIS);
        assert_eq!(state.course(&rules, &mut one, at(0)), Course::Subscribe);
        state.begin(&mut one, at(0));
        assert_eq!(state.course(&rules, &mut one, at(4)), Course::Bring { heartbeat: false });
        assert_eq!(state.course(&rules, &mut one, at(5)), Course::Bring { heartbeat: true });
        assert!(state.arrives(&mut one, at(299)));
        assert_eq!(state.course(&rules, &mut one, at(299)), Course::Bring { heartbeat: false });
        assert_eq!(state.course(&rules, &mut one, at(300)), Course::Wait);
        assert_eq!(state.course(&rules, &mut one, at(300)), Course::Subscribe);
        assert_eq!((state.counts.begun, state.counts.ended), (1, 1));
    }

    #[test]
    fn lost_subscriptions_are_replaced() {
        let (mut state, mut one, rules) =
            (PushState::default(), Subscription::default(), Pushes::KINESIS);
        state.lose_next = 1;
        state.begin(&mut one, at(0));
        assert_eq!(state.course(&rules, &mut one, at(29)), Course::Wait);
        assert_eq!(state.course(&rules, &mut one, at(30)), Course::Wait);
        assert_eq!(state.course(&rules, &mut one, at(30)), Course::Subscribe);
        assert_eq!(state.counts.lost, 1);
        state.begin(&mut one, at(30));
        assert_eq!(state.course(&rules, &mut one, at(31)), Course::Bring { heartbeat: false });
    }

    #[test]
    fn torn_event_ends_its_subscription() {
        let (mut state, mut one, rules) =
            (PushState::default(), Subscription::default(), Pushes::KINESIS);
        state.begin(&mut one, at(0));
        state.tear_next = 1;
        assert!(!state.arrives(&mut one, at(0)));
        // Not before a second is over.
        assert_eq!(state.course(&rules, &mut one, at(0)), Course::Wait);
        assert_eq!(state.course(&rules, &mut one, at(1)), Course::Subscribe);
        assert_eq!(state.counts.torn, 1);
    }
}
