//! When an event happened, and to which worker.

use kcl_proto::model::{StreamName, Timestamp, WorkerId};

/// When an event happened, and to which worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EventContext {
    /// The time of day by this machine's clock.
    pub time: Timestamp,
    /// The application, as given to [`Worker::builder`](crate::Worker::builder).
    pub application: String,
    /// The worker.
    pub worker: WorkerId,
    /// The stream; `None` until the worker has looked at it.
    pub stream: Option<StreamName>,
}
