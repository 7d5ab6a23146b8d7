//! The subscriptions of all consumers: which calls may subscribe, and which streams they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::fan_out::rules::SubscriptionRules;
use crate::fan_out::strike::Fault;

/// A consumer and one of its shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) consumer: String,
    pub(crate) shard: String,
}

/// What a running subscription has to do. A later order replaces one that was not yet seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send events.
    Run,
    /// End: another call took the subscription over.
    TakenOver,
    /// End: the consumer was deregistered.
    ConsumerGone,
    /// Break.
    Break(Fault),
}

/// Why a call may not subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The call before was less than [`SubscriptionRules::call_every`] ago.
    TooSoon,
    /// The last subscription is younger than [`SubscriptionRules::taken_over_after`].
    InUse,
}

/// The calls and subscriptions of each consumer and shard.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<Key, Entry>,
    started: u64,
}

#[derive(Debug, Default)]
struct Entry {
    called: Option<Instant>,
    subscribed: Option<Instant>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    orders: watch::Sender<Order>,
}

/// The entry of a running subscription, which is removed with it.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) table: Arc<Mutex<Table>>,
    pub(crate) key: Key,
    pub(crate) id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.ended(&self.key, self.id);
    }
}

impl Table {
    /// Counts a call, and returns whether it may subscribe. Calls that come too soon do not count.
    pub(crate) fn admit(
        &mut self,
        key: &Key,
        rules: &SubscriptionRules,
        now: Instant,
    ) -> Result<(), Refusal> {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.called.is_some_and(|at| now.duration_since(at) < rules.call_every) {
            return Err(Refusal::TooSoon);
        }
        entry.called = Some(now);
        if entry.subscribed.is_some_and(|at| now.duration_since(at) < rules.taken_over_after) {
            return Err(Refusal::InUse);
        }
        Ok(())
    }

    /// Starts a subscription, and ends the one before it. Returns its id and its orders.
    pub(crate) fn start(&mut self, key: &Key, now: Instant) -> (u64, watch::Receiver<Order>) {
        self.started += 1;
        let id = self.started;
        let (orders, receiver) = watch::channel(Order::Run);
        let entry = self.entries.entry(key.clone()).or_default();
        entry.subscribed = Some(now);
        if let Some(before) = entry.running.replace(Running { id, orders }) {
            before.orders.send_replace(Order::TakenOver);
        }
        (id, receiver)
    }

    /// Forgets a subscription that has ended, unless another one has replaced it.
    fn ended(&mut self, key: &Key, id: u64) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.running.as_ref().is_some_and(|running| running.id == id)
        {
            entry.running = None;
        }
    }

    /// Ends the subscriptions of a consumer and forgets its calls.
    pub(crate) fn consumer_gone(&mut self, consumer: &str) {
        self.entries.retain(|key, entry| {
            if key.consumer != consumer {
                return true;
            }
            if let Some(running) = &entry.running {
                running.orders.send_replace(Order::ConsumerGone);
            }
            false
        });
    }

    /// Breaks the running subscriptions of a shard, or of all. Returns how many.
    pub(crate) fn strike(&self, shard: Option<&str>, fault: &Fault) -> usize {
        let mut struck = 0;
        for (key, entry) in &self.entries {
            if let Some(running) = &entry.running
                && shard.is_none_or(|wanted| wanted == key.shard)
            {
                running.orders.send_replace(Order::Break(fault.clone()));
                struck += 1;
            }
        }
        struck
    }

    /// Returns the consumer and shard of each running subscription, in order.
    pub(crate) fn running(&self) -> Vec<Key> {
        let running = self.entries.iter().filter(|(_, entry)| entry.running.is_some());
        running.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> Key {
        Key { consumer: "c".to_owned(), shard: "s".to_owned() }
    }

    #[test]
    fn calls_are_admitted_by_the_rules() {
        let (mut table, rules, start) =
            (Table::default(), SubscriptionRules::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(table.admit(&key(), &rules, at(0)), Ok(()));
        // Refused for another reason, which counts as a call and not as a subscription.
        assert_eq!(table.admit(&key(), &rules, at(999)), Err(Refusal::TooSoon));
        assert_eq!(table.admit(&key(), &rules, at(1000)), Ok(()));
        let (_, _orders) = table.start(&key(), at(1000));
        assert_eq!(table.admit(&key(), &rules, at(1500)), Err(Refusal::TooSoon));
        assert_eq!(table.admit(&key(), &rules, at(5999)), Err(Refusal::InUse));
        assert_eq!(table.admit(&key(), &rules, at(6500)), Err(Refusal::TooSoon));
        assert_eq!(table.admit(&key(), &rules, at(7000)), Ok(()));
        // Other shards have calls of their own.
        let other = Key { shard: "t".to_owned(), ..key() };
        assert_eq!(table.admit(&other, &rules, at(7000)), Ok(()));
    }

    #[test]
    fn a_subscription_replaces_the_one_before() {
        let (mut table, now) = (Table::default(), Instant::now());
        let (first, first_orders) = table.start(&key(), now);
        let (second, second_orders) = table.start(&key(), now);
        assert_eq!(*first_orders.borrow(), Order::TakenOver);
        // The end of the first says nothing about the second.
        table.ended(&key(), first);
        assert_eq!(table.running(), [key()]);
        assert_eq!(table.strike(Some("t"), &Fault::End), 0);
        assert_eq!(table.strike(Some("s"), &Fault::End), 1);
        assert_eq!(*second_orders.borrow(), Order::Break(Fault::End));
        table.consumer_gone("c");
        assert_eq!(*second_orders.borrow(), Order::ConsumerGone);
        table.ended(&key(), second);
        assert!(table.running().is_empty());
    }
}
