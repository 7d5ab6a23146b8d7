//! Rows without a table, for programs that check tables and for fuzzing.

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::Page;
use kcl_core::model::Lease;

use crate::attributes::Item;
use crate::{item, page};

/// Reads attributes as a scan does: returns a page with one row, of any kind or unreadable.
#[must_use]
pub fn read(attributes: impl IntoIterator<Item = (String, AttributeValue)>) -> Page {
    page::sort([&Item::from_iter(attributes)])
}

/// Returns the attributes of a new row for this lease.
pub fn write(lease: &Lease) -> impl Iterator<Item = (String, AttributeValue)> {
    item::encode(lease).into_iter()
}
