//! All leases and all workers: who takes what, who is there, and how often to look.

pub mod balance;
pub mod cooldown;
pub mod housekeeping_turn;
pub mod java_fleet;
pub mod presence;
pub mod scan_interval;
