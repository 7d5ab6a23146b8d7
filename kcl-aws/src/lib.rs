//! What the AWS clients of the Kinesis consumer framework share: credentials that are loaded ahead
//! of time, the meaning of error codes, and retries that leave throttling to the engine.
//!
//! `kcl-dynamo` and `kcl-kinesis` use it. Applications do not need it.

mod attempts;
mod code;
mod credentials;
mod keeper;
mod loaded;

pub use crate::attempts::{Attempts, LeaveThrottled};
pub use crate::code::{CodeKind, CredentialsFault};
pub use crate::credentials::FreshCredentials;
