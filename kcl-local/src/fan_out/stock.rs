//! What subscriptions read from: [`Stock`].

use std::sync::Arc;

use ferrokinesis::store::Store;
use tokio::sync::{Mutex, watch};

use crate::fan_out::rules::SubscriptionRules;
use crate::topology::Topology;

/// The records of a stack, and the rules by which they are sent.
#[derive(Clone)]
pub(crate) struct Stock {
    pub(crate) rules: Arc<SubscriptionRules>,
    pub(crate) store: Store,
    pub(crate) topology: Arc<Topology>,
    /// Held during a write.
    pub(crate) writes: Arc<Mutex<()>>,
    /// Changes after every write and every change of streams.
    pub(crate) news: watch::Sender<u64>,
}
