//! What the tests of this package share: servers, fleets of real processes and the audit of what
//! they delivered, a clock, a processor, and the files of the workspace.

pub mod altered_table;
pub mod audit;
pub mod dynamodb;
pub mod errors;
pub mod fleet;
pub mod fuzz;
pub mod idle;
pub mod metrics_page;
pub mod paused_clock;
pub mod producer;
pub mod slow_credentials;
pub mod thin_line;
pub mod tls;
pub mod tls_front;
pub mod workspace;
