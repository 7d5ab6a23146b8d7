//! The simulator's own processors, and the wrapper that watches every processor of a world.

mod acks;
mod batches;
mod behavior;
mod dead_letter;
mod equipment;
mod handlers;
mod two_phase;
mod watched;

pub(crate) use acks::Acks;
pub(crate) use batches::Batches;
pub(crate) use behavior::{Behavior, FailureRates, POISON, ProcessorKind};
pub(crate) use equipment::Equipment;
pub(crate) use handlers::Handlers;
pub(crate) use two_phase::TwoPhase;
pub(crate) use watched::WatchedFactory;
