//! Tests that cross rooms: every interleaving of two workers and one lease, histories of resharding.

mod histories;
mod interleavings;
