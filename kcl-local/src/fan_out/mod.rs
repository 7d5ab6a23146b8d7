//! Enhanced fan-out: registered consumers and their subscriptions, by the service's rules, and
//! faults on demand.
//!
//! The embedded Kinesis has neither the rules nor the faults, so the gateway answers these calls
//! itself, out of the embedded store.
//!
//! | File | |
//! |---|---|
//! | [`rules`] | the times and limits |
//! | [`consumers`] | registration: states, limits, rates |
//! | [`table`] | which calls may subscribe, and whose subscriptions they end (pure) |
//! | [`service`] | calls of `SubscribeToShard` |
//! | [`stock`] | what subscriptions read from |
//! | [`subscription`] | the events of one subscription |
//! | [`frame`] | events as bytes |
//! | [`strike`] | faults and what they strike |
//! | [`damage`] | what a fault does to the bytes of a subscription (pure) |

pub(crate) mod consumers;
pub(crate) mod damage;
pub(crate) mod frame;
pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod service;
pub(crate) mod stock;
pub(crate) mod strike;
pub(crate) mod subscription;
pub(crate) mod table;
