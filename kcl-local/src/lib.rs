//! .

pub mod kinesis;
