//! One lease: every write to it, the machine that holds it, the request for it, and its expiry.

pub mod expiry;
pub mod holding;
pub mod request;
pub mod write;
pub mod write_numbers;
