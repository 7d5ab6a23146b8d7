//! A holder that does as the test says.

use std::time::Duration;

use kcl_proto::model::{Checkpoint, Moment};
use tokio::sync::{mpsc, oneshot, watch};

use crate::messages::{FromConsumer, Order};
use kcl_proto::consumer::progress::Done;

/// The holder's end of a grant.
#[derive(Debug)]
pub(super) struct Held {
    /// When it was granted.
    pub(super) now: Moment,
    pub(super) deadline: watch::Sender<Moment>,
    pub(super) order: watch::Sender<Order>,
    pub(super) progress: watch::Receiver<Done>,
    pub(super) from_consumer: mpsc::Receiver<FromConsumer>,
    pub(super) gone: oneshot::Receiver<()>,
    /// What the application checkpointed.
    pub(super) stored: Vec<Checkpoint>,
}

impl Held {
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.progress.borrow().checkpoint
    }

    /// Stores what the consumer asks for until it says its last word; none if it goes without one.
    pub(super) async fn last_word(&mut self) -> Option<FromConsumer> {
        loop {
            match self.from_consumer.recv().await? {
                FromConsumer::Checkpoint { checkpoint, reply } => {
                    self.stored.push(checkpoint);
                    reply.send(Ok(())).unwrap();
                }
                FromConsumer::Prepare { reply, .. } => reply.send(()).unwrap(),
                word @ (FromConsumer::ShardEnded { .. }
                | FromConsumer::Drained
                | FromConsumer::Failed) => return Some(word),
            }
        }
    }

    /// Serves the consumer for a time in which it says no last word.
    pub(super) async fn serve(&mut self, time: Duration) {
        if let Ok(word) = tokio::time::timeout(time, self.last_word()).await {
            panic!("the consumer said {word:?}");
        }
    }

    /// Lets the lease go, as a holder does once everything is stored.
    pub(super) async fn let_go(mut self) {
        self.from_consumer.close();
        // The order still stands: that the channel is closed is the whole message.
        (&mut self.gone).await.unwrap_err();
    }
}
