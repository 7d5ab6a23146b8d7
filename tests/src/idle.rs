//! A processor for tests that look only at leases.

use kcl_core::{BoxError, RecordBatch, RecordProcessor, ShardContext};

/// Ignores its records.
#[derive(Clone, Copy, Debug)]
pub struct Idle;

impl RecordProcessor for Idle {
    async fn process_records(&mut self, _: RecordBatch, _: &ShardContext) -> Result<(), BoxError> {
        Ok(())
    }
}
