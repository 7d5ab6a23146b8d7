//! What the tests of this package share: servers, fleets of real processes, and the audit of what
//! they delivered, and the files of the workspace.

pub mod audit;
pub mod dynamodb;
pub mod errors;
pub mod fleet;
pub mod fuzz;
pub mod producer;
pub mod slow_credentials;
pub mod thin_line;
pub mod workspace;
