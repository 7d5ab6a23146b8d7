//! .

pub mod dynamodb;
