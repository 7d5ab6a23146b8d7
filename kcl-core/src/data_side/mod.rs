//! Reads and processes shards, on the application's runtime: one consumer for each lease held.

mod batch_in_hand;
mod call_outcome;
pub(crate) mod closed_shards;
mod consumer;
pub(crate) mod consumers;
mod deadline_guard;
mod deaggregate;
pub(crate) mod erased;
pub(crate) mod parts;
mod processor_call;
mod progress_reports;
mod read_attempt;
mod read_schedule;
mod reader;
mod retries;
mod shard_end;
#[cfg(test)]
mod tests;
