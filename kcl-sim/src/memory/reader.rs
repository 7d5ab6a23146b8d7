//! Readers of a stream in memory.

use async_trait::async_trait;
use kcl_core::backend::{Fetched, ShardClosed, ShardReader, SourceError};
use kcl_core::model::{Moment, ShardId};

use super::pushes::Subscription;
use super::stream::MemoryStream;

/// Reads one shard. A clone is an independent reader at the same position.
#[derive(Clone, Debug)]
pub struct MemoryReader {
    pub(super) stream: MemoryStream,
    /// The stream of that name: iterators do not outlive it.
    pub(super) incarnation: u64,
    pub(super) shard: ShardId,
    /// The number of the record to read next.
    pub(super) next: u64,
    /// When the service made the iterator.
    pub(super) made: Moment,
    pub(super) end: Option<ShardClosed>,
    pub(super) subscription: Subscription,
    pub(super) may_subscribe: bool,
}

impl MemoryReader {
    /// Returns the shard.
    #[must_use]
    pub const fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Returns the bytes of what the reader brings next, if anything has come: a reader of a stream
    /// that does not [push](MemoryStream::set_pushes) is always ready. Subscribes if it has to.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn ready_now(&mut self) -> Result<Option<u64>, SourceError> {
        if self.end.is_some() {
            return Ok(Some(0));
        }
        let stream = self.stream.clone();
        stream.pushed(self)
    }

    /// Returns whether the stream pushed to readers when this one was opened: then it has to be
    /// asked whether it is [ready](Self::ready_now).
    #[must_use]
    pub const fn may_subscribe(&self) -> bool {
        self.may_subscribe
    }

    /// Ends the subscription, as a broken connection does. The position stays.
    pub fn unsubscribe(&mut self) {
        self.subscription.end();
    }

    /// Returns whether the stream pushes to the reader: its next read takes what came.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        self.subscription.is_active()
    }

    /// Returns the next records, as [`ShardReader::read`] does.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn read_now(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        if let Some(end) = &self.end {
            return Ok(Fetched::new(Vec::new(), None, Some(end.clone())));
        }
        let (reply, made, end) = if self.is_subscribed() {
            let stream = self.stream.clone();
            stream.event(self, records_max)?
        } else {
            self.stream.read(self, records_max)?
        };
        self.next = reply.next;
        self.made = made;
        self.end.clone_from(&end);
        Ok(Fetched::new(reply.records, Some(reply.behind), end))
    }
}

#[async_trait]
impl ShardReader for MemoryReader {
    async fn read(&mut self, records_max: usize) -> Result<Fetched, SourceError> {
        self.read_now(records_max)
    }
}
