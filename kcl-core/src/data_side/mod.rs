//! Reads and processes shards, on the application's runtime: one consumer for each lease held.

mod attend;
mod batch_in_hand;
pub(crate) mod consumer;
pub(crate) mod consumers;
mod deadline_guard;
mod deaggregate;
pub(crate) mod erased;
pub(crate) mod processor_call;
mod reader;
mod shard_end;
#[cfg(test)]
mod tests;
