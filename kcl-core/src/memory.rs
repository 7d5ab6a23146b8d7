//! The memory that records may hold: [`MemoryBudget`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcl_proto::consumer::memory_pool::{Pool, ShareId};
use kcl_proto::consumer::read_size::{ReadGrant, ReadRequest};
use tokio::sync::oneshot;

/// A limit of the bytes of records that workers hold. Clones share the same budget.
///
/// By default a worker has its own budget of [`retrieval.memory_max`] bytes. To share one between
/// the workers of a process, pass it to [`WorkerBuilder::memory`] of each.
///
/// A record counts from before its read until its batch is done, or until the last
/// [acknowledgement](crate::RecordBatch::into_acks) of the batch. Copies that a processor keeps for
/// longer do not count.
///
/// The budget can be exceeded by one record for each shard: a shard that holds nothing may always
/// read one record, so that slow shards never block others. Records still held by a replaced
/// processor count against the budget, but never block its successor.
///
/// [`retrieval.memory_max`]: crate::config::RetrievalConfig::memory_max
/// [`WorkerBuilder::memory`]: crate::WorkerBuilder::memory
///
/// # Examples
/// ```
/// let budget = kcl_core::MemoryBudget::new(64 * 1024 * 1024);
/// // Worker::builder("orders").memory(budget.clone())…
/// // Worker::builder("clicks").memory(budget.clone())…
/// assert_eq!(budget.usage().used, 0);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    // A mutex, because destructors return memory and cannot await.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    waiting: BTreeMap<ShareId, oneshot::Sender<ReadGrant>>,
}

/// The use of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryUsage {
    /// The bytes held by records or reserved for reads.
    pub used: u64,
    /// The size of the budget, in bytes. [`used`](Self::used) may exceed it by one record for each
    /// shard.
    pub budget: u64,
}

impl MemoryBudget {
    /// Returns a budget of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let pool = Pool::new(u64::try_from(bytes).unwrap_or(u64::MAX));
        Self { state: Arc::new(Mutex::new(State { pool, waiting: BTreeMap::new() })) }
    }

    /// The current use of the budget.
    #[must_use]
    pub fn usage(&self) -> MemoryUsage {
        let state = self.lock();
        MemoryUsage { used: state.pool.used(), budget: state.pool.budget() }
    }

    /// Adds a shard that shares the budget.
    pub(crate) fn join(&self) -> MemoryShare {
        let id = self.lock().pool.join();
        MemoryShare(Arc::new(Membership { budget: self.clone(), id }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn release(&mut self, id: ShareId, bytes: u64) {
        let granted = self.pool.release(id, bytes);
        self.answer(granted);
    }

    fn answer(&mut self, mut granted: Vec<(ShareId, ReadGrant)>) {
        while let Some((id, grant)) = granted.pop() {
            let answered = self.waiting.remove(&id).is_some_and(|it| it.send(grant).is_ok());
            if !answered {
                granted.extend(self.pool.release(id, grant.bytes));
            }
        }
    }
}

/// One shard's share of a budget. The shard leaves when the last clone and reservation is dropped.
#[derive(Clone, Debug)]
pub(crate) struct MemoryShare(Arc<Membership>);

#[derive(Debug)]
struct Membership {
    budget: MemoryBudget,
    id: ShareId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        let granted = state.pool.leave(self.id);
        state.answer(granted);
    }
}

impl MemoryShare {
    /// Another share of the same budget, which holds nothing.
    pub(crate) fn another(&self) -> Self {
        self.0.budget.join()
    }

    /// Waits for memory for a read, and reserves it. A share has at most one wait at a time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self, request: ReadRequest) -> Reserved {
        let mut waiting = match self.request(request) {
            Ok(reserved) => return reserved,
            Err(waiting) => waiting,
        };
        match (&mut waiting.answer).await {
            Ok(grant) => self.reserved(grant),
            // A newer request replaced this one: nothing is reserved.
            Err(_) => self.reserved(ReadGrant::TURN),
        }
    }

    fn request(&self, request: ReadRequest) -> Result<Reserved, Request<'_>> {
        let mut state = self.0.budget.lock();
        match state.pool.request(self.0.id, request) {
            Some(grant) => Ok(self.reserved(grant)),
            None => {
                let (sender, answer) = oneshot::channel();
                state.waiting.insert(self.0.id, sender);
                Err(Request { share: self, answer })
            }
        }
    }

    fn reserved(&self, ReadGrant { records, bytes }: ReadGrant) -> Reserved {
        Reserved { share: self.clone(), records, bytes, _reply: None }
    }
}

/// A request for memory in the queue. Dropping it withdraws the request.
struct Request<'a> {
    share: &'a MemoryShare,
    answer: oneshot::Receiver<ReadGrant>,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let id = self.share.0.id;
        let mut state = self.share.0.budget.lock();
        state.pool.withdraw(id);
        state.waiting.remove(&id);
        // The grant may have arrived without being polled.
        if let Ok(grant) = self.answer.try_recv() {
            state.release(id, grant.bytes);
        }
    }
}

/// Memory reserved for a read, then for its records. Dropping it releases the memory.
#[derive(Debug)]
pub(crate) struct Reserved {
    share: MemoryShare,
    records: usize,
    bytes: u64,
    /// The reply that these records were expanded from, and share the memory of.
    _reply: Option<Arc<Self>>,
}

impl Reserved {
    /// The most records to read.
    pub(crate) const fn records(&self) -> usize {
        self.records
    }

    /// Replaces the reservation by the bytes that the records need.
    pub(crate) fn settle(&mut self, bytes: u64) {
        let mut state = self.share.0.budget.lock();
        if bytes > self.bytes {
            state.pool.add(self.share.0.id, bytes - self.bytes);
        } else {
            state.release(self.share.0.id, self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// Adds `bytes` for records that were expanded from this reply, which is held with them.
    pub(crate) fn expanded(self: &Arc<Self>, bytes: u64) -> Self {
        let share = self.share.clone();
        share.0.budget.lock().pool.add(share.0.id, bytes);
        Self { share, records: 0, bytes, _reply: Some(Arc::clone(self)) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.share.0.budget.lock().release(self.share.0.id, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    const REQUEST: ReadRequest =
        ReadRequest { records_max: 10, record: MIB, reply_max: 10 * MIB, copies: 3 };

    #[test]
    fn dropped_reservation_is_released() {
        let budget = MemoryBudget::new(128 << 20);
        let share = budget.join();
        let mut reserved = share.reserve(REQUEST).now_or_never().unwrap();
        assert_eq!((reserved.records(), budget.usage().used), (10, 30 * MIB));
        reserved.settle(7 * MIB);
        assert_eq!(budget.usage().used, 7 * MIB);
        reserved.settle(40 * MIB);
        assert_eq!(budget.usage().used, 40 * MIB);
        drop(share);
        drop(reserved);
        assert_eq!(budget.usage().used, 0);
    }

    #[test]
    fn expanded_records_hold_their_reply() {
        let budget = MemoryBudget::new(128 << 20);
        let mut reply = budget.join().reserve(REQUEST).now_or_never().unwrap();
        reply.settle(7 * MIB);
        let reply = Arc::new(reply);
        let (one, other) = (reply.expanded(MIB), reply.expanded(2 * MIB));
        assert_eq!(budget.usage().used, 10 * MIB);
        drop((reply, one));
        assert_eq!(budget.usage().used, 9 * MIB);
        drop(other);
        assert_eq!(budget.usage().used, 0);
    }

    #[tokio::test]
    async fn wait_ends_when_memory_is_released() {
        let budget = MemoryBudget::new(9 << 20);
        let (one, other) = (budget.join(), budget.join());
        let mut in_hand = one.reserve(REQUEST).await;
        in_hand.settle(4 * MIB);
        let mut ahead = Box::pin(one.reserve(REQUEST));
        assert!((&mut ahead).now_or_never().is_none());
        drop(in_hand);
        assert_eq!(ahead.await.records(), 1);
        assert_eq!(budget.usage().used, 0);
        drop(other);
    }

    #[test]
    fn dropped_wait_reserves_nothing() {
        for is_answered in [false, true] {
            let budget = MemoryBudget::new(9 << 20);
            let share = budget.join();
            let mut in_hand = share.reserve(REQUEST).now_or_never().unwrap();
            in_hand.settle(8 * MIB);
            let mut ahead = Box::pin(share.reserve(REQUEST));
            assert!((&mut ahead).now_or_never().is_none());
            if is_answered {
                in_hand.settle(0);
                assert!(budget.usage().used > 0);
            }
            drop(ahead);
            drop(in_hand);
            assert_eq!(budget.usage().used, 0);
        }
    }
}
