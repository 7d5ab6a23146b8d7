//! What a worker knows about its stream.

use std::sync::Arc;

use kcl_proto::model::{Moment, StreamStart, Timestamp};

use crate::retention::Retention;

/// What a worker knows about its stream once it has started.
#[derive(Clone, Debug)]
pub(super) struct StreamFacts {
    /// Which stream of that name, and where it begins for this application.
    pub(super) start: Arc<StreamStart>,
    /// How long the stream keeps records.
    pub(super) retention: Retention,
    /// The service's time when this worker described the stream.
    pub(super) started_at: Timestamp,
    /// When that was.
    pub(super) described_at: Moment,
}
