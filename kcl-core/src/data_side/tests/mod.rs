//! A consumer against a scripted holder, stream, and application.

mod acks;
mod application;
mod call_failures;
mod clock;
mod deadline;
mod delivery;
mod drain_and_loss;
mod dropped;
mod expansion;
mod held_memory;
mod histories;
mod holder;
mod pushes;
mod reading;
mod record_failures;
mod retention;
mod shard_end;
mod size;
mod stream;
mod world;
