//! The unreadable rows that a worker has reported.

use std::collections::BTreeMap;

use kcl_proto::model::UnreadableRow;
use tokio::sync::watch;

/// How many rows are remembered. Others are not reported.
const ROWS_MAX: usize = 1_000;

/// The rows that were reported, each with its last problem.
#[derive(Debug, Default)]
pub(crate) struct ReportedRows(watch::Sender<BTreeMap<String, String>>);

impl ReportedRows {
    /// Notes a row. Returns whether its problem is to be reported.
    pub(super) fn is_new(&self, row: &UnreadableRow) -> bool {
        self.0.send_if_modified(|known| {
            let has_room = known.len() < ROWS_MAX || known.contains_key(&row.key);
            let problem = || row.problem.clone();
            has_room && known.insert(row.key.clone(), problem()) != Some(problem())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, problem: &str) -> UnreadableRow {
        UnreadableRow::new(key.to_owned(), problem.to_owned(), String::new())
    }

    #[test]
    fn problem_is_reported_once_while_it_lasts() {
        let rows = ReportedRows::default();
        let reported = ["counter", "counter", "owner", "counter"];
        let reported = reported.map(|problem| rows.is_new(&row("shard-1", problem)));
        assert_eq!(reported, [true, false, true, true]);
    }

    #[test]
    fn memory_is_bounded() {
        let rows = ReportedRows::default();
        for number in 0..10 * ROWS_MAX {
            rows.is_new(&row(&format!("shard-{number}"), "counter"));
            rows.is_new(&row("shard-0", &format!("problem {number}")));
        }
        assert_eq!(rows.0.borrow().len(), ROWS_MAX);
    }
}
