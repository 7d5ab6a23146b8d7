//! The closed shards of the stream, for all consumers of a worker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kcl_proto::model::{Moment, Shard, ShardFilter, ShardId};
use tokio::sync::Mutex;

use crate::backend::{Clock, RecordSource, SourceError};

/// How old a list may be: a worker asks for one in that time, however many quiet shards it has.
const AGE_MAX: Duration = Duration::from_secs(150);

/// A list of the closed shards. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedShards(Arc<Mutex<Option<Listed>>>);

#[derive(Debug)]
struct Listed {
    at: Moment,
    closed: BTreeSet<ShardId>,
}

impl ClosedShards {
    /// Returns whether the shard is listed as closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn contains(
        &self,
        shard: &ShardId,
        source: &dyn RecordSource,
        clock: &dyn Clock,
    ) -> Result<bool, SourceError> {
        let mut listed = self.0.lock().await;
        let is_new = |listed: &Listed| clock.now().since(listed.at) < AGE_MAX;
        if let Some(listed) = listed.as_ref().filter(|listed| is_new(listed)) {
            return Ok(listed.closed.contains(shard));
        }
        let at = clock.now();
        let shards = source.list_shards(ShardFilter::All).await?;
        let closed: BTreeSet<_> =
            shards.into_iter().filter(Shard::is_closed).map(|shard| shard.id).collect();
        let contains = closed.contains(shard);
        *listed = Some(Listed { at, closed });
        Ok(contains)
    }
}
