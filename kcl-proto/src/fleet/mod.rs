//! All leases and all workers: which worker takes which lease, which workers are present, and how
//! often to scan.

pub mod balance;
pub mod candidate;
pub mod cooldown;
mod goals;
pub mod housekeeping_turn;
pub mod java_fleet;
pub mod presence;
pub mod scan_interval;
pub mod sessions;
pub mod workers;
