//! Checks for your own backends.

pub mod record_source;
