//! `GetRecords` in CBOR, through the SDK's own call: its credentials, endpoint, signature, retries
//! and timeouts, with the bodies replaced.

mod call;
mod cbor;
mod children;
mod error;
mod page;
#[cfg(test)]
mod page_tests;
mod request;
#[cfg(test)]
mod written;

pub(crate) use call::InCbor;
pub(crate) use page::Page;
pub(crate) use request::{RECORDS_PER_CALL_MAX, Request};
