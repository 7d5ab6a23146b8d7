//! A holder that follows the test's script.

use std::sync::Arc;
use std::time::Duration;

use kcl_proto::consumer::lifecycle::ConsumerEnd;
use kcl_proto::consumer::progress::Done;
use kcl_proto::model::{Checkpoint, ChildShard, Moment, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::backend::Clock as _;
use crate::data_side::tests::clock::TestClock;
use crate::messages::{FromConsumer, Order};

/// The holder's end of a grant.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) clock: Arc<TestClock>,
    pub(super) deadline: watch::Sender<Moment>,
    pub(super) order: watch::Sender<Order>,
    pub(super) progress: watch::Receiver<Done>,
    pub(super) from_consumer: mpsc::Receiver<Box<FromConsumer>>,
    pub(super) gone: oneshot::Receiver<()>,
    /// The checkpoints that the application stored.
    pub(super) stored: Vec<Checkpoint>,
    /// The children that the consumer reported with the shard's end.
    pub(super) children: Vec<ChildShard>,
}

impl Holder {
    /// The consumer's own checkpoint.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.progress.borrow().checkpoint
    }

    pub(super) fn caught_up_at(&self) -> Option<Timestamp> {
        self.progress.borrow().caught_up_at
    }

    /// Moves the deadline to `time` from now.
    pub(super) fn expire_in(&self, time: Duration) {
        self.deadline.send_replace(self.clock.now() + time);
    }

    /// Orders a drain of at most `time`, and returns when it ends.
    pub(super) fn drain(&self, time: Duration) -> Moment {
        let until = self.clock.now() + time;
        self.order.send_replace(Order::Drain { until });
        until
    }

    /// Reports that the lease is lost.
    pub(super) fn lose(&self) {
        self.order.send_modify(|order| *order = order.lost());
    }

    /// Serves the consumer until it reports its end. `None` if it ends without a report.
    pub(super) async fn end(&mut self) -> Option<ConsumerEnd> {
        loop {
            match *self.from_consumer.recv().await? {
                FromConsumer::Checkpoint { checkpoint, reply } => {
                    self.stored.push(checkpoint);
                    reply.send(Ok(())).unwrap();
                }
                FromConsumer::Prepare { reply, .. } => reply.send(()).unwrap(),
                FromConsumer::ShardEnded { children } => {
                    self.children = children;
                    return Some(ConsumerEnd::ShardEnded);
                }
                FromConsumer::Drained => return Some(ConsumerEnd::Drained),
                FromConsumer::Failed => return Some(ConsumerEnd::Failed),
            }
        }
    }

    /// Serves the consumer for `time`, in which it must not end.
    pub(super) async fn serve(&mut self, time: Duration) {
        if let Ok(end) = timeout(time, self.end()).await {
            panic!("the consumer ended: {end:?}");
        }
    }

    /// Releases the lease: closes the channel, under the last order, and waits for the consumer to
    /// be gone.
    pub(super) async fn release(&mut self) {
        self.from_consumer.close();
        (&mut self.gone).await.unwrap_err();
    }
}
