//! The holder's end of the channels between a lease's holder and its consumer.

use std::mem;
use std::sync::Arc;

use kcl_proto::consumer::progress::Done;
use kcl_proto::lease::holding::{Holding, HoldingInput};
use kcl_proto::model::{Checkpoint, Moment};
use tokio::sync::{mpsc, oneshot, watch};

use crate::lease_side::stream_facts::StreamFacts;
use crate::messages::{FROM_CONSUMER_MAX, FromConsumer, Grant, Order, Vitals};
use crate::metrics::shard_series::ShardSeries;
use crate::report::error::CheckpointError;

/// The channels to one consumer, and the requests of it that wait for a reply.
#[derive(Debug)]
pub(super) struct ConsumerLink {
    messages: mpsc::Receiver<Box<FromConsumer>>,
    progress: watch::Receiver<Done>,
    deadline: watch::Sender<Moment>,
    order: watch::Sender<Order>,
    gone: oneshot::Receiver<()>,
    is_gone: bool,
    checkpoints: Vec<CheckpointRequest>,
    prepares: Vec<oneshot::Sender<()>>,
}

/// A checkpoint that the consumer waits for.
#[derive(Debug)]
struct CheckpointRequest {
    checkpoint: Checkpoint,
    reply: oneshot::Sender<Result<(), CheckpointError>>,
}

impl ConsumerLink {
    /// Returns both ends of a new link.
    pub(super) fn new(
        holding: &Holding,
        stream: &StreamFacts,
        series: Arc<ShardSeries>,
    ) -> (Self, Grant) {
        let (holder, messages) = mpsc::channel(FROM_CONSUMER_MAX);
        let (done, progress) = watch::channel(Done::default());
        let (deadline, deadlines) = watch::channel(holding.deadline());
        let (order, orders) = watch::channel(Order::Run);
        let (alive, gone) = oneshot::channel();
        let grant = Grant {
            stream: stream.start.stream.clone(),
            start: Arc::clone(&stream.start),
            retention: stream.retention.clone(),
            lease: Arc::new(holding.row().clone()),
            token: holding.row().counter,
            deadline: deadlines,
            order: orders,
            progress: done,
            vitals: watch::Sender::new(Vitals::default()),
            series,
            holder,
            alive,
        };
        let (checkpoints, prepares, is_gone) = (Vec::new(), Vec::new(), false);
        let link =
            Self { messages, progress, deadline, order, gone, is_gone, checkpoints, prepares };
        (link, grant)
    }

    /// Waits for something that the consumer did or asks for.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> HoldingInput {
        tokio::select! {
            biased;
            Some(message) = self.messages.recv() => self.received(*message),
            Ok(()) = self.progress.changed() => self.progress(),
            _ = &mut self.gone, if !self.is_gone => {
                self.is_gone = true;
                HoldingInput::ConsumerFailed
            }
            else => std::future::pending().await,
        }
    }

    /// The newest progress, which no call of [`next`](Self::next) may have returned yet.
    pub(super) fn progress(&mut self) -> HoldingInput {
        HoldingInput::Progress(*self.progress.borrow_and_update())
    }

    fn received(&mut self, message: FromConsumer) -> HoldingInput {
        match message {
            FromConsumer::Checkpoint { checkpoint, reply } => {
                self.checkpoints.push(CheckpointRequest { checkpoint, reply });
                HoldingInput::Checkpoint(checkpoint)
            }
            FromConsumer::Prepare { pending, reply } => {
                self.prepares.push(reply);
                HoldingInput::Prepare(pending)
            }
            FromConsumer::ShardEnded { children } => HoldingInput::ShardEnded(children),
            FromConsumer::Drained => HoldingInput::Drained,
            FromConsumer::Failed => HoldingInput::ConsumerFailed,
        }
    }

    /// Moves the deadline.
    pub(super) fn set_deadline(&self, deadline: Moment) {
        self.deadline.send_replace(deadline);
    }

    /// Orders the consumer to drain, unless it has to be done sooner already.
    pub(super) fn drain(&self, until: Moment) {
        self.order.send_if_modified(|order| {
            let is_sooner = match *order {
                Order::Run => true,
                Order::Drain { until: ordered } => until < ordered,
                Order::Lost { .. } => false,
            };
            if is_sooner {
                *order = Order::Drain { until };
            }
            is_sooner
        });
    }

    /// Orders the consumer to stop at once.
    pub(super) fn cancel(&self) {
        self.order.send_modify(|order| *order = order.lost());
    }

    /// Replies to all requests for checkpoints up to `stored`.
    pub(super) fn stored(&mut self, stored: Checkpoint) {
        let requests = mem::take(&mut self.checkpoints).into_iter();
        let (answered, waiting): (Vec<_>, _) =
            requests.partition(|request| request.checkpoint <= stored);
        self.checkpoints = waiting;
        for request in answered {
            drop(request.reply.send(Ok(())));
        }
    }

    /// Replies to the last request for `refused`.
    pub(super) fn refused(&mut self, refused: Checkpoint) {
        let is_refused = |request: &CheckpointRequest| request.checkpoint == refused;
        let Some(index) = self.checkpoints.iter().rposition(is_refused) else { return };
        let request = self.checkpoints.swap_remove(index);
        drop(request.reply.send(Err(match refused.position() {
            Some(position) => CheckpointError::OutOfRange { position },
            None => CheckpointError::LeaseLost,
        })));
    }

    /// Replies to all requests to prepare.
    pub(super) fn prepared(&mut self) {
        for reply in self.prepares.drain(..) {
            _ = reply.send(()); // The caller may have dropped its future.
        }
    }

    /// Refuses every request, and waits until the consumer is gone.
    pub(super) async fn close(&mut self) {
        self.checkpoints.clear();
        self.prepares.clear();
        self.messages.close();
        if !self.is_gone {
            drop((&mut self.gone).await); // Nothing is sent: an error means that it is gone.
            self.is_gone = true;
        }
    }
}
