//! .

pub mod dynamodb;
pub mod errors;
