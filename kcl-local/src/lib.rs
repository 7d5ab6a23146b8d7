//! .

pub mod leases;
