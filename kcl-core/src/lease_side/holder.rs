//! Runs the state machine [`Holding`] for one lease.
//!
//! One task for each held lease: it carries out the effects of the machine, and returns their
//! outcomes, the consumer's messages and the main loop's hints to it. It ends when the lease is no
//! longer held *and* the consumer is gone, so that this worker takes no lease whose former consumer
//! still exists.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::lease::holding::{Holding, HoldingEffect, HoldingInput};
use kcl_proto::lease::write::{LeaseWrite, WriteKind};
use kcl_proto::lease::write_numbers::WriteNumbers;
use kcl_proto::model::{ChildShard, Conditional, LeaseEnd, LeaseKey, Moment, NewLease};
use kcl_proto::worker::congestion;
use tokio::sync::{mpsc, watch};

use crate::lease_side::consumer_link::ConsumerLink;
use crate::lease_side::inbox::{EndedLease, ToMainLoop};
use crate::lease_side::jobs::Jobs;
use crate::lease_side::session_link::HolderEnd;
use crate::lease_side::shared::Shared;
use crate::lease_side::stream_facts::StreamFacts;
use crate::messages::Grant;
use crate::report::event::Event;
use crate::tasks::sleep::sleep_until;

/// How many hints wait for a holder at most. One that finds no room is dropped: the next scan
/// repeats it.
pub(super) const HINTS_MAX: usize = 16;

/// The pause before a failed create is sent again. A stop or a hand-over ends the attempts.
const CREATE_RETRY_AFTER: Duration = Duration::from_millis(500);

/// The pause before a row is read again that a hint was about.
const READ_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a scan or another worker says about a held lease.
#[derive(Debug)]
pub(super) enum Hint {
    /// A worker asks for the lease, or this worker no longer holds it.
    Changed,
    /// When the next owner's presence last moved.
    NextOwnerMoved(Option<Moment>),
}

/// The channels between a holder and the main loop.
#[derive(Debug)]
pub(super) struct HolderChannels {
    pub(super) hints: mpsc::Receiver<Hint>,
    /// When batches in hand are cancelled, once the worker stops.
    pub(super) stop: watch::Receiver<Option<Moment>>,
    pub(super) main_loop: mpsc::Sender<ToMainLoop>,
}

/// A lease that was just taken.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) holding: Holding,
    /// The link to this worker's session, if the lease lives by it.
    pub(super) session: Option<HolderEnd>,
}

/// The task of one held lease.
#[derive(Debug)]
pub(super) struct Holder {
    shared: Arc<Shared>,
    channels: HolderChannels,
    holding: Holding,
    /// The link to this worker's session, if the lease lives by it.
    session: Option<HolderEnd>,
    child_numbers: WriteNumbers,
    consumer: ConsumerLink,
    calls: Jobs<HoldingInput>,
    /// Whether the row is being read because of a hint. Others would say the same.
    is_looking: bool,
    has_ended: bool,
}

impl Holder {
    /// Returns the holder of a lease that was just taken, and the grant for its consumer.
    pub(super) fn new(
        shared: Arc<Shared>,
        channels: HolderChannels,
        Held { holding, session }: Held,
        stream: &StreamFacts,
    ) -> (Self, Grant) {
        let child_numbers = shared.write_numbers();
        let series = shared.registry.shard(holding.row().key.shard());
        let (consumer, grant) = ConsumerLink::new(&holding, stream, series);
        let holder = Self {
            shared,
            channels,
            holding,
            session,
            child_numbers,
            consumer,
            calls: Jobs::new(),
            is_looking: false,
            has_ended: false,
        };
        (holder, grant)
    }

    /// Holds the lease until it ends, then waits until the consumer is gone.
    ///
    /// Boxed, because the future has room for its arguments twice.
    pub(super) async fn run(mut self: Box<Self>) {
        while !self.has_ended {
            let input = self.next_input().await;
            if let Some(time) = self.shared.clock.holder_freeze() {
                tokio::time::sleep(time).await;
            }
            if let Some(session) = &self.session {
                session.answer();
            }
            for effect in self.effects(input) {
                if let Some(message) = self.carry_out(effect) {
                    drop(self.channels.main_loop.send(message).await);
                }
            }
        }
        self.consumer.close().await;
        let key = self.holding.row().key.clone();
        drop(self.channels.main_loop.send(ToMainLoop::ConsumerGone { key }).await);
    }

    async fn next_input(&mut self) -> HoldingInput {
        let wake = sleep_until(&*self.shared.clock, self.holding.wake_at());
        tokio::select! {
            biased;
            input = self.calls.next() => input,
            Some(hint) = self.channels.hints.recv() => match hint {
                Hint::Changed if self.is_looking => HoldingInput::Tick,
                Hint::Changed => HoldingInput::ChangeHinted,
                Hint::NextOwnerMoved(moved_at) => HoldingInput::NextOwnerMoved(moved_at),
            },
            Ok(()) = self.channels.stop.changed() => {
                let until = *self.channels.stop.borrow_and_update();
                until.map_or(HoldingInput::Tick, |until| HoldingInput::Stop { until })
            }
            input = news(self.session.as_mut()) => input,
            input = self.consumer.next() => input,
            () = wake => HoldingInput::Tick,
        }
    }

    /// Asks the machine what to do after an input.
    fn effects(&mut self, input: HoldingInput) -> Vec<HoldingEffect> {
        let now = self.shared.clock.now();
        let deadline = self.holding.deadline();
        let is_throttled = input == HoldingInput::Throttled;
        self.is_looking &= !matches!(input, HoldingInput::Read(_));
        let mut effects = Vec::new();
        let is_last = matches!(
            input,
            HoldingInput::Drained | HoldingInput::ConsumerFailed | HoldingInput::ShardEnded(_)
        );
        if is_last {
            // The consumer publishes its progress before it ends; the machine must know both.
            effects.extend(self.holding.on(self.consumer.progress(), now));
        }
        effects.extend(self.holding.on(input, now));
        let between = self.holding.deadline().since(deadline);
        if is_throttled || congestion::is_late(between, self.shared.config.lease.expiry) {
            self.shared.suffered(now);
        }
        effects
    }

    /// Carries out an effect, and returns what it has to tell the main loop.
    fn carry_out(&mut self, effect: HoldingEffect) -> Option<ToMainLoop> {
        let key = || self.holding.row().key.clone();
        match effect {
            HoldingEffect::Write(write) => self.write(write),
            HoldingEffect::Read => self.read(),
            HoldingEffect::Keep { progress, is_urgent } => {
                if let Some(session) = &self.session {
                    session.keep(progress, is_urgent);
                }
            }
            HoldingEffect::Deadline(deadline) => self.consumer.set_deadline(deadline),
            HoldingEffect::Drain { until } => self.consumer.drain(until),
            HoldingEffect::Cancel => self.consumer.cancel(),
            HoldingEffect::Stored(stored) => self.consumer.stored(stored),
            HoldingEffect::Prepared => self.consumer.prepared(),
            HoldingEffect::Refused(refused) => self.consumer.refused(refused),
            HoldingEffect::CreateChildren(children) => self.create_children(&children),
            HoldingEffect::HandoverRequested(next) => {
                let key = key();
                let event = Event::HandoverAsked { key: key.clone(), next: next.clone() };
                self.shared.events.emit(&event);
                return Some(ToMainLoop::HandoverAsked { key, next });
            }
            HoldingEffect::HandoverEnded(reason) => {
                self.shared.events.emit(&Event::HandoverEnded { key: key(), reason });
            }
            HoldingEffect::Ended(how) => return Some(self.end(how)),
        }
        None
    }

    fn end(&mut self, how: LeaseEnd) -> ToMainLoop {
        self.has_ended = true;
        let row = self.holding.row().clone();
        let (key, checkpoint) = (row.key.clone(), row.checkpoint);
        self.shared.events.emit(&Event::LeaseEnded { key, how, checkpoint });
        ToMainLoop::LeaseEnded(Box::new(EndedLease { how, row }))
    }

    fn write(&self, write: LeaseWrite) {
        let shared = Arc::clone(&self.shared);
        // A worker with lookouts does not scan.
        let main_loop = self.session.as_ref().map(|_| self.channels.main_loop.clone());
        self.calls.push(async move {
            match shared.calls.write_held(&write).await {
                Ok(outcome) => {
                    if let (Some(main_loop), Conditional::Applied(row)) = (main_loop, &outcome) {
                        let row = Box::new(row.clone());
                        drop(main_loop.send(ToMainLoop::RowKnown { row }).await);
                    }
                    HoldingInput::Answered(outcome)
                }
                Err(error) => {
                    shared.events.lease_call_failed(&write.key, "write a lease", &error, None);
                    if error.is_throttled() {
                        HoldingInput::Throttled
                    } else {
                        HoldingInput::Unanswered
                    }
                }
            }
        });
    }

    /// Reads the row. While a hand-over is open the machine asks again by itself; what a hint was
    /// about is read until that succeeds.
    fn read(&mut self) {
        let shared = Arc::clone(&self.shared);
        let key = self.holding.row().key.clone();
        let is_look = self.holding.next_owner().is_none();
        self.is_looking |= is_look;
        let retry_in = is_look.then_some(READ_RETRY_AFTER);
        self.calls.push(async move {
            loop {
                match shared.calls.read_moving(&key).await {
                    Ok(row) => return HoldingInput::Read(row),
                    Err(error) => {
                        shared.events.lease_call_failed(&key, "read a lease", &error, retry_in);
                    }
                }
                let Some(pause) = retry_in else { return HoldingInput::Tick };
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Creates the children's leases. Retries until all exist or the lease has ended.
    fn create_children(&mut self, children: &[ChildShard]) {
        let writes: Vec<_> = children
            .iter()
            .map(|child| LeaseWrite {
                key: LeaseKey::from(&child.id),
                worker: self.shared.me.clone(),
                number: self.child_numbers.draw(),
                kind: WriteKind::Create(NewLease::of(child)),
            })
            .collect();
        let shared = Arc::clone(&self.shared);
        self.calls.push(async move {
            for write in &writes {
                create(&shared, write).await;
            }
            HoldingInput::ChildrenCreated
        });
    }
}

/// Waits for news of the session; never ready without one.
async fn news(session: Option<&mut HolderEnd>) -> HoldingInput {
    match session {
        Some(session) => session.next().await,
        None => pending().await,
    }
}

async fn create(shared: &Shared, write: &LeaseWrite) {
    loop {
        match shared.calls.write_moving(write).await {
            Ok(Conditional::Applied(lease)) => {
                shared.events.emit(&Event::LeaseCreated { key: lease.key });
                return;
            }
            Ok(Conditional::Lost { .. }) => return, // The lease exists.
            Err(error) => {
                let retry_in = Some(CREATE_RETRY_AFTER);
                let doing = "create a child's lease";
                shared.events.lease_call_failed(&write.key, doing, &error, retry_in);
                tokio::time::sleep(CREATE_RETRY_AFTER).await;
            }
        }
    }
}
