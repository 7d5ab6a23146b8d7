//! Draws a screen as an SVG image.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Width and height of a character in the image.
const CELL: (usize, usize) = (10, 22);

/// Where a row's letters stand, from its top.
const BASELINE: usize = 16;

/// The blanks between the columns of a table.
const GAP: &str = "  ";

/// Space around the screen.
const MARGIN: usize = 10;

/// Returns the image of `screen`.
pub(crate) fn svg(screen: &Buffer) -> String {
    let columns = usize::from(screen.area.width).max(1);
    let rows = screen.content().chunks(columns);
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, rows.len() * CELL.1 + 2 * MARGIN);
    let mut image = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<rect width="100%" height="100%" rx="12" fill="#16181d"/>
<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="16.6">
"##
    );
    for (row, cells) in rows.enumerate() {
        let mut column = 0;
        for run in cells.chunk_by(|one, other| one.style() == other.style()) {
            image.push_str(&texts(run, column, row));
            column += run.len();
        }
    }
    image.push_str("</g>\n</svg>\n");
    image
}

/// Returns the elements for cells of one style, one for each column of the screen's tables.
fn texts(run: &[Cell], column: usize, row: usize) -> String {
    let Some(style) = run.first() else { return String::new() };
    let fill = colour(style.fg);
    let has = |modifier, attribute| if style.modifier.contains(modifier) { attribute } else { "" };
    let bold = has(Modifier::BOLD, r#" font-weight="bold""#);
    let dim = has(Modifier::DIM, r#" fill-opacity="0.6""#);
    let y = MARGIN + row * CELL.1 + BASELINE;
    let line: String = run.iter().map(Cell::symbol).collect();
    let (mut texts, mut start) = (Vec::new(), column);
    for part in line.split(GAP) {
        let words = part.trim();
        let indent = part.chars().take_while(|letter| letter.is_whitespace()).count();
        let (x, length) = (MARGIN + (start + indent) * CELL.0, words.chars().count() * CELL.0);
        start += part.chars().count() + GAP.len();
        if !words.is_empty() {
            let words = escaped(words);
            texts.push(format!(
                "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" fill=\"{fill}\"{bold}{dim}>{words}</text>\n"
            ));
        }
    }
    texts.concat()
}

/// Returns a terminal's colour for a dark background; the default colour for those never drawn.
const fn colour(of: Color) -> &'static str {
    match of {
        Color::Cyan => "#56c8d8",
        Color::Yellow => "#e5c07b",
        Color::Green => "#7ec16e",
        Color::Magenta => "#c678dd",
        Color::Red => "#ef6b73",
        Color::LightBlue => "#7aa2f7",
        Color::LightRed => "#ff8f80",
        Color::LightGreen => "#a6e3a1",
        Color::LightMagenta => "#f5a9e1",
        Color::Reset
        | Color::Black
        | Color::Blue
        | Color::Gray
        | Color::DarkGray
        | Color::LightYellow
        | Color::LightCyan
        | Color::White
        | Color::Rgb(..)
        | Color::Indexed(_) => "#d7dae0",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn runs_of_one_style_are_split_at_gaps() {
        let mut screen = Buffer::empty(Rect::new(0, 0, 12, 2));
        screen.set_string(1, 0, "plain", Style::new());
        screen.set_string(7, 0, "a<b", Style::new().red().bold());
        screen.set_string(0, 1, "dim    7", Style::new().dim());
        let image = svg(&screen);
        let texts: Vec<_> = image.lines().filter(|line| line.starts_with("<text")).collect();
        assert_eq!(
            texts,
            [
                r##"<text x="20" y="26" textLength="50" fill="#d7dae0">plain</text>"##,
                r##"<text x="80" y="26" textLength="30" fill="#ef6b73" font-weight="bold">a&lt;b</text>"##,
                r##"<text x="10" y="48" textLength="30" fill="#d7dae0" fill-opacity="0.6">dim</text>"##,
                r##"<text x="80" y="48" textLength="10" fill="#d7dae0" fill-opacity="0.6">7</text>"##,
            ]
        );
    }
}
