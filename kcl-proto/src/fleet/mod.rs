//! All leases and all workers: which worker takes which lease, which workers are present, and how
//! often to scan.

pub mod assignments;
pub mod audit;
pub mod balance;
pub mod batch_size;
pub mod bulletin_copy;
pub mod candidate;
pub mod cooldown;
mod goals;
pub mod housekeeping_turn;
pub mod java_fleet;
pub mod lookout;
pub mod news;
pub mod presence;
pub mod publisher;
pub mod scan_interval;
pub mod session_polls;
pub mod sessions;
pub mod workers;
