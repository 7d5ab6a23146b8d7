//! One lease: its writes, the machine of its holder, the request for it, and its expiry.

pub mod adoption;
pub mod expiry;
pub mod holding;
mod in_flight;
pub mod notices;
pub mod precondition;
pub mod request;
pub mod session;
pub mod session_write;
pub mod settle;
pub mod write;
pub mod write_numbers;
