//! One lease: its writes, the machine of its holder, the request for it, and its expiry.

pub mod adoption;
pub mod expiry;
pub mod holding;
pub mod request;
pub mod session_write;
pub mod write;
pub mod write_numbers;
