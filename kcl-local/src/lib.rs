//! .

pub mod kinesis;
pub mod leases;
