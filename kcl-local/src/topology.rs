//! A cache of streams and their shards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::store::Store;
use ferrokinesis::types::{Stream, StreamStatus};
use tokio::time::{Instant, sleep};

/// The streams, at most [`STALE`] old.
///
/// The embedded store returns copies only, and a stream of a thousand shards is ten thousand
/// strings. Only the server's thread uses the cache; the lock is for `Sync`.
pub(crate) struct Topology {
    store: Store,
    seen: Mutex<BTreeMap<String, Sighting>>,
}

struct Sighting {
    at: Instant,
    stream: Arc<Stream>,
}

impl Topology {
    /// Creates a cache of the streams of `store`.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, seen: Mutex::default() }
    }

    /// Returns a stream that is at most [`STALE`] old.
    pub(crate) async fn recent(&self, name: &str) -> Result<Arc<Stream>, KinesisErrorResponse> {
        let now = Instant::now();
        let known = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(name)
                .filter(|sighting| now - sighting.at < STALE)
                .map(|sighting| Arc::clone(&sighting.stream))
        };
        match known {
            Some(stream) => Ok(stream),
            None => self.current(name).await,
        }
    }

    /// Returns the current stream.
    pub(crate) async fn current(&self, name: &str) -> Result<Arc<Stream>, KinesisErrorResponse> {
        let stream = Arc::new(self.store.get_stream(name).await?);
        let sighting = Sighting { at: Instant::now(), stream: Arc::clone(&stream) };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), sighting);
        Ok(stream)
    }

    /// Waits until no stream is changing its shards, then clears the cache.
    pub(crate) async fn settle(&self) {
        let deadline = Instant::now() + CHANGE_MAX;
        while self.changes().await && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        self.forget();
    }

    async fn changes(&self) -> bool {
        for name in self.store.list_stream_names().await {
            let stream = self.store.get_stream(&name).await;
            if stream.is_ok_and(|stream| stream.stream_status == StreamStatus::Updating) {
                return true;
            }
        }
        false
    }

    /// Clears the cache, because a call has changed a stream.
    pub(crate) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How old a cached stream may be: some changes take effect after their call.
const STALE: Duration = Duration::from_millis(20);

/// How long to wait for a change of shards: if it takes longer, the disk has failed.
const CHANGE_MAX: Duration = Duration::from_secs(10);
