//! How a stream in memory behaves towards its readers.

use std::time::Duration;

use kcl_core::backend::ShardClosed;
use kcl_core::model::{ShardId, Timestamp};

use super::limits::Limits;
use super::shard_map::ShardMap;

/// The default retention, as in Kinesis.
const RETENTION: Duration = Duration::from_hours(24);

/// The default expiry of an iterator, as in Kinesis.
const ITERATOR_EXPIRY: Duration = Duration::from_mins(5);

/// Which pages of a shard list are stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a list has a first page and others")]
pub enum LatePage {
    /// The first page.
    First,
    /// All pages but the first one.
    Others,
}

/// How the stream behaves towards its readers.
#[derive(Debug)]
pub(super) struct Knobs {
    pub(super) retention: Duration,
    pub(super) limits: Limits,
    pub(super) throttle_next: usize,
    pub(super) iterator_expiry: Duration,
    pub(super) list_lag: Duration,
    pub(super) page_shards: Option<usize>,
    pub(super) late_page: LatePage,
    pub(super) end_apart: bool,
    pub(super) end_childless: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            retention: RETENTION,
            limits: Limits::NONE,
            throttle_next: 0,
            iterator_expiry: ITERATOR_EXPIRY,
            list_lag: Duration::ZERO,
            page_shards: None,
            late_page: LatePage::First,
            end_apart: false,
            end_childless: false,
        }
    }
}

impl Knobs {
    pub(super) fn throttles_next(&mut self) -> bool {
        let throttles = self.throttle_next > 0;
        self.throttle_next = self.throttle_next.saturating_sub(1);
        throttles
    }

    /// Returns the end of a shard.
    pub(super) fn end(&self, shards: &ShardMap, shard: &ShardId) -> ShardClosed {
        let children = (!self.end_childless).then(|| shards.children(shard));
        ShardClosed::new(children.unwrap_or_default())
    }

    /// Returns the time as of which a shard list shows each of its shards, by index.
    pub(super) fn shown_at(&self, now: Timestamp) -> impl Fn(usize) -> Timestamp {
        let (page, late) = (self.page_shards.unwrap_or(usize::MAX), now.before(self.list_lag));
        let is_first_late = self.page_shards.is_none() || self.late_page == LatePage::First;
        move |nth| if (nth < page) == is_first_late { late } else { now }
    }
}
