//! Tests that cross folders: interleavings of two workers and one lease, and histories of
//! resharding.

mod histories;
mod interleavings;
