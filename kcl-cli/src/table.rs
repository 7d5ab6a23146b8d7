//! Tables without borders, that leave columns out where a terminal is narrow.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) is_number: bool,
    /// Columns with greater numbers are left out first; 0 never is.
    pub(crate) rank: u8,
}

/// A column of text.
pub(crate) const fn text(title: &'static str, rank: u8) -> Column {
    Column { title, is_number: false, rank }
}

/// A column of numbers.
pub(crate) const fn number(title: &'static str, rank: u8) -> Column {
    Column { title, is_number: true, rank }
}

/// The space between two columns.
const GAP: usize = 2;

/// Returns the lines of a table of at most `width` columns of text, if it can be made that narrow.
pub(crate) fn lines(
    columns: &[Column],
    mut rows: Vec<Vec<String>>,
    width: Option<usize>,
) -> Vec<String> {
    let mut columns = columns.to_vec();
    if let Some(width) = width {
        fit(&mut columns, &mut rows, width);
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.title));
    table.add_rows(rows);
    for (column, described) in table.column_iter_mut().zip(&columns) {
        column.set_padding((0, u16::try_from(GAP).unwrap_or(1)));
        if described.is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Leaves columns out until the rest fits, or only the important ones are left.
fn fit(columns: &mut Vec<Column>, rows: &mut [Vec<String>], width: usize) {
    loop {
        let needed: usize = (0..columns.len()).map(|it| needed(columns, rows, it)).sum();
        let least = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
        let Some((index, column)) = least else { return };
        if needed <= width + GAP || column.rank == 0 {
            return;
        }
        columns.remove(index);
        rows.iter_mut().filter(|row| index < row.len()).for_each(|row| drop(row.remove(index)));
    }
}

fn needed(columns: &[Column], rows: &[Vec<String>], index: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
    let title = columns.get(index).map_or(0, |column| column.title.chars().count());
    cells.chain([title]).max().unwrap_or_default() + GAP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> Vec<String> {
        let columns = [text("SHARD", 0), number("LAG", 0), text("OWNER", 2), text("NOTE", 1)];
        let row = |cells: [&str; 4]| cells.map(String::from).to_vec();
        lines(&columns, vec![row(["0", "1.5 s", "a", ""]), row(["12", "40 s", "b", "slow"])], width)
    }

    #[test]
    fn numbers_are_aligned_on_the_right() {
        let expected =
            ["SHARD    LAG  OWNER  NOTE", "0      1.5 s  a", "12      40 s  b      slow"];
        assert_eq!(table(None), expected);
    }

    #[test]
    fn narrow_terminal_gets_the_important_columns() {
        assert_eq!(table(Some(25)), table(None));
        assert_eq!(table(Some(20))[0], "SHARD    LAG  NOTE");
        assert_eq!(table(Some(12))[0], "SHARD    LAG");
        assert_eq!(table(Some(3))[0], "SHARD    LAG");
    }
}
