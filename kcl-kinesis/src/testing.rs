//! Replies without a call, for fuzzing.

use bytes::Bytes;
use kcl_core::BoxError;
use kcl_core::model::Record;

use crate::wire::Page;

/// Reads a reply of `GetRecords` in CBOR, and returns its records, which are parts of it.
///
/// # Errors
/// If the reply cannot be read.
pub fn read_cbor(reply: &Bytes) -> Result<Vec<Record>, BoxError> {
    Ok(Page::read(reply)?.records)
}
