//! How many rows to read at once.

/// The fewest rows of a batch.
const ROWS_MIN: usize = 4;

/// How many rows to read at once: half as many after a failure, since a table that throttles may
/// have the capacity for a few, and twice as many after a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    rows: usize,
    max: usize,
}

impl BatchSize {
    /// Creates the size of batches of at most `max` rows, as large as it may be.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        Self { rows: max, max }
    }

    /// Returns how many rows to read.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.rows
    }

    /// Records whether a batch was read.
    pub fn ended(&mut self, is_read: bool) {
        let rows = if is_read { self.rows.saturating_mul(2) } else { self.rows / 2 };
        self.rows = rows.clamp(ROWS_MIN.min(self.max), self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_shrinks_by_failures_and_grows_again() {
        let mut size = BatchSize::new(100);
        let mut after = |is_read| {
            size.ended(is_read);
            size.rows()
        };
        assert_eq!(
            [false, false, false, false, false, false].map(&mut after),
            [50, 25, 12, 6, 4, 4]
        );
        assert_eq!([true, true, true, true, true, true].map(&mut after), [8, 16, 32, 64, 100, 100]);
    }
}
