//! How much memory records may take: [`MemoryBudget`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcl_proto::consumer::memory_pool::{Pool, ShareId};
use kcl_proto::consumer::read_size::{Grant, Want};
use tokio::sync::oneshot;

/// How many bytes of records the workers of a process hold at most. Clones are the same budget.
///
/// A worker has one of its own, of [`retrieval.memory_max`] bytes. Several workers of one process
/// share one that is given to [`WorkerBuilder::memory`] of each.
///
/// A record counts from before it is asked for until its batch is done: where a processor
/// [detaches](crate::RecordBatch::into_acks) acknowledgements, until all of the batch are given. The
/// budget can be exceeded by one record for each shard: a shard that holds nothing may always read
/// one, so that slow shards never keep others from working. A processor that takes over from one that
/// left acknowledgements behind holds nothing. What a processor keeps for longer is its own affair.
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
    // Asked by consumers on all threads of a runtime, and given back in destructors, which cannot wait.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    waiting: BTreeMap<ShareId, oneshot::Sender<Grant>>,
}

/// How much of a budget is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryUsage {
    /// The bytes that are held by records or reserved for some.
    pub used: u64,
    /// The bytes that there are. Shards that are given one record each may exceed it.
    pub budget: u64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let pool = Pool::new(u64::try_from(bytes).unwrap_or(u64::MAX));
        Self { state: Arc::new(Mutex::new(State { pool, waiting: BTreeMap::new() })) }
    }

    /// How much of it is in use.
    #[must_use]
    pub fn usage(&self) -> MemoryUsage {
        let state = self.lock();
        MemoryUsage { used: state.pool.used(), budget: state.pool.budget() }
    }

    /// One more shard that shares it.
    pub(crate) fn join(&self) -> MemoryShare {
        let id = self.lock().pool.join();
        MemoryShare(Arc::new(Membership { budget: self.clone(), id }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_back(&mut self, id: ShareId, bytes: u64) {
        let granted = self.pool.give_back(id, bytes);
        self.hand_out(granted);
    }

    fn hand_out(&mut self, mut granted: Vec<(ShareId, Grant)>) {
        while let Some((id, grant)) = granted.pop() {
            let answered = self.waiting.remove(&id).is_some_and(|it| it.send(grant).is_ok());
            if !answered {
                granted.extend(self.pool.give_back(id, grant.bytes));
            }
        }
    }
}

/// One shard's part in a budget. It leaves when the last clone and reservation is dropped.
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
        state.hand_out(granted);
    }
}

impl MemoryShare {
    /// Another part in the same budget, which holds nothing.
    pub(crate) fn another(&self) -> Self {
        self.0.budget.join()
    }

    /// Waits until there is memory for a read, and reserves it. One at a time.
    ///
    /// # Cancel safety
    /// Dropping the future reserves nothing.
    pub(crate) async fn reserve(&self, want: Want) -> Reserved {
        let mut waiting = match self.ask(want) {
            Ok(reserved) => return reserved,
            Err(waiting) => waiting,
        };
        match (&mut waiting.answer).await {
            Ok(grant) => self.reserved(grant),
            // Asked for anew before this was answered: nothing is reserved.
            Err(_) => self.reserved(Grant::TURN),
        }
    }

    fn ask(&self, want: Want) -> Result<Reserved, Waiting<'_>> {
        let mut state = self.0.budget.lock();
        match state.pool.ask(self.0.id, want) {
            Some(grant) => Ok(self.reserved(grant)),
            None => {
                let (sender, answer) = oneshot::channel();
                state.waiting.insert(self.0.id, sender);
                Err(Waiting { share: self, answer })
            }
        }
    }

    fn reserved(&self, Grant { records, bytes }: Grant) -> Reserved {
        Reserved { share: self.clone(), records, bytes }
    }
}

/// A wait for memory. Dropping it ends the wait.
struct Waiting<'a> {
    share: &'a MemoryShare,
    answer: oneshot::Receiver<Grant>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let id = self.share.0.id;
        let mut state = self.share.0.budget.lock();
        state.pool.withdraw(id);
        state.waiting.remove(&id);
        // It may have come a moment ago, unseen.
        if let Ok(grant) = self.answer.try_recv() {
            state.give_back(id, grant.bytes);
        }
    }
}

/// Memory that is set aside for a read, then for what it brought. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Reserved {
    share: MemoryShare,
    records: usize,
    bytes: u64,
}

impl Reserved {
    /// The most records to ask for.
    pub(crate) const fn records(&self) -> usize {
        self.records
    }

    /// Notes what is needed in fact.
    pub(crate) fn settle(&mut self, bytes: u64) {
        let mut state = self.share.0.budget.lock();
        if bytes > self.bytes {
            state.pool.add(self.share.0.id, bytes - self.bytes);
        } else {
            state.give_back(self.share.0.id, self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.share.0.budget.lock().give_back(self.share.0.id, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    const WANT: Want = Want { records_max: 10, each: MIB, whole_max: 10 * MIB };

    #[test]
    fn what_is_reserved_is_given_back_when_it_is_dropped() {
        let budget = MemoryBudget::new(128 << 20);
        let share = budget.join();
        let mut reserved = share.reserve(WANT).now_or_never().unwrap();
        assert_eq!((reserved.records(), budget.usage().used), (10, 30 * MIB));
        reserved.settle(7 * MIB);
        assert_eq!(budget.usage().used, 7 * MIB);
        reserved.settle(40 * MIB);
        assert_eq!(budget.usage().used, 40 * MIB);
        drop(share);
        drop(reserved);
        assert_eq!(budget.usage().used, 0);
    }

    #[tokio::test]
    async fn a_wait_ends_when_memory_comes_back() {
        let budget = MemoryBudget::new(9 << 20);
        let (one, other) = (budget.join(), budget.join());
        let mut in_hand = one.reserve(WANT).await;
        in_hand.settle(4 * MIB);
        let mut ahead = Box::pin(one.reserve(WANT));
        assert!((&mut ahead).now_or_never().is_none());
        drop(in_hand);
        assert_eq!(ahead.await.records(), 1);
        assert_eq!(budget.usage().used, 0);
        drop(other);
    }

    #[test]
    fn a_dropped_wait_takes_nothing_whether_or_not_it_was_answered() {
        for is_answered in [false, true] {
            let budget = MemoryBudget::new(9 << 20);
            let share = budget.join();
            let mut in_hand = share.reserve(WANT).now_or_never().unwrap();
            in_hand.settle(8 * MIB);
            let mut ahead = Box::pin(share.reserve(WANT));
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
