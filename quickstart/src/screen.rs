//! Draws the fleet on a terminal, or prints a line for each event elsewhere.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use kcl_core::model::ShardId;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};
use ratatui::{DefaultTerminal, Frame, Terminal};

use crate::board::{Board, Phase, ShardRow, WorkerRow, label};
use crate::fleet::WorkerState;
use crate::picture::svg;

/// The colours of the workers, in the order of their start.
const COLOURS: [Color; 8] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::Magenta,
    Color::LightBlue,
    Color::LightRed,
    Color::LightGreen,
    Color::LightMagenta,
];

/// The width limit: longer lines are hard to read.
const WIDTH_MAX: u16 = 96;

/// The height from which the legend fits.
const HEIGHT_FOR_LEGEND: u16 = 30;

/// The height of a picture.
const PICTURE_HEIGHT: u16 = 40;

/// The text around the board.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Where the stream is.
    pub(crate) place: &'static str,
    /// The action of this chapter.
    pub(crate) title: String,
    /// What to watch.
    pub(crate) hint: String,
    /// The events so far.
    pub(crate) news: Vec<News>,
    /// The time since the start.
    pub(crate) elapsed: Duration,
    /// The number of puts.
    pub(crate) put: usize,
}

/// An event of the story.
#[derive(Clone, Debug)]
pub(crate) struct News {
    /// The time since the start.
    pub(crate) at: Duration,
    /// The description.
    pub(crate) text: String,
    /// Its kind.
    pub(crate) kind: NewsKind,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewsKind {
    /// An action of the story.
    Action,
    /// A reaction of the fleet.
    Event,
    /// The result of a chapter.
    Outcome,
}

impl Scene {
    /// Creates the scene before the first chapter.
    pub(crate) const fn of(place: &'static str) -> Self {
        Self {
            place,
            title: String::new(),
            hint: String::new(),
            news: Vec::new(),
            elapsed: Duration::ZERO,
            put: 0,
        }
    }
}

/// The output. Dropping it restores the terminal.
#[derive(Debug)]
pub(crate) enum Screen {
    /// A redrawn screen.
    Terminal(Box<DefaultTerminal>),
    /// A line for each event.
    Plain,
}

/// Ctrl-C was pressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped on request")
    }
}

impl std::error::Error for Interrupted {}

impl Screen {
    /// Opens the terminal, or plain output if there is none.
    pub(crate) fn open() -> anyhow::Result<Self> {
        if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
            Ok(Self::Terminal(Box::new(ratatui::try_init()?)))
        } else {
            Ok(Self::Plain)
        }
    }

    /// Prints an event. A terminal draws it with the scene.
    pub(crate) fn print(&self, news: &News) {
        if matches!(self, Self::Plain) {
            let mark = if news.kind == NewsKind::Action { '*' } else { ' ' };
            println!("{:>6.1} s {mark} {}", news.at.as_secs_f64(), news.text);
        }
    }

    /// Draws the scene and the board.
    pub(crate) fn draw(&mut self, scene: &Scene, board: &Board) -> anyhow::Result<()> {
        let Self::Terminal(terminal) = self else { return Ok(()) };
        terminal.draw(|frame| draw(frame, scene, board))?;
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            if key.code == KeyCode::Char('q') || (control && key.code == KeyCode::Char('c')) {
                return Err(Interrupted.into());
            }
        }
        Ok(())
    }
}

/// Returns the screen as an SVG image.
pub(crate) fn picture(scene: &Scene, board: &Board) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(WIDTH_MAX + 4, PICTURE_HEIGHT))?;
    terminal.draw(|frame| draw(frame, scene, board))?;
    Ok(svg(terminal.backend().buffer()))
}

impl Drop for Screen {
    fn drop(&mut self) {
        if matches!(self, Self::Terminal(_)) {
            ratatui::restore();
        }
    }
}

fn draw(frame: &mut Frame<'_>, scene: &Scene, board: &Board) {
    let area = frame.area();
    let area = Rect {
        x: area.x + 2.min(area.width),
        width: area.width.saturating_sub(4).min(WIDTH_MAX),
        ..area
    };
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(2);
    let [_, title, chapter, hint, shards, workers, news, legend] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(rows(board.shards.len())),
        Constraint::Length(rows(board.workers.len())),
        Constraint::Min(2),
        Constraint::Length(if area.height < HEIGHT_FOR_LEGEND { 0 } else { 3 }),
    ])
    .areas(area);
    draw_title(frame, title, scene);
    frame.render_widget(Paragraph::new(scene.title.as_str().bold()), chapter);
    frame.render_widget(Paragraph::new(scene.hint.as_str()).wrap(Wrap { trim: true }), hint);
    frame.render_widget(shard_table(board), shards);
    frame.render_widget(worker_table(board), workers);
    draw_news(frame, news, scene);
    let text = "Heartbeat: grows while the worker is alive. Delivered: records that a worker \
                received. Checkpointed: records stored as processed; if the worker crashes, its \
                successor continues from there. Ctrl-C stops everything.";
    frame.render_widget(Paragraph::new(text.dim()).wrap(Wrap { trim: true }), legend);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let seconds = scene.elapsed.as_secs();
    let clock = format!("{}:{:02}", seconds / 60, seconds % 60);
    let name = Line::from(vec![
        "A fleet shares a Kinesis stream".bold(),
        format!("   on {}, {} records so far", scene.place, grouped(scene.put)).dim(),
    ]);
    frame.render_widget(Paragraph::new(name), area);
    frame.render_widget(Paragraph::new(Line::from(clock).right_aligned()), area);
}

fn header<const N: usize>(titles: [&'static str; N]) -> Row<'static> {
    // The first two columns are left-aligned words, the others numbers.
    let cells = titles.into_iter().enumerate().map(|(column, title)| {
        let line = Line::from(title);
        Cell::from(if column < 2 { line } else { line.right_aligned() })
    });
    Row::new(cells).style(Style::new().dim())
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn shard_table(board: &Board) -> Table<'static> {
    let rows = board.shards.iter().map(|row| {
        let lag = match row.phase {
            Phase::Open => format!("{:.1} s", row.lag.as_secs_f64()),
            Phase::Waiting | Phase::Ended => String::new(),
        };
        let cells = [
            Cell::from(shard_name(row)),
            Cell::from(Line::from(holder(row, board))),
            number(grouped(usize::try_from(row.counter).unwrap_or(usize::MAX))),
            number(grouped(row.delivered)),
            number(grouped(row.checkpointed)),
            number(lag),
        ];
        let dim = row.phase != Phase::Open;
        Row::new(cells).style(if dim { Style::new().dim() } else { Style::new() })
    });
    let widths = [
        Constraint::Length(20),
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(7),
    ];
    let titles = ["Shard", "Processed by", "Heartbeat", "Delivered", "Checkpointed", "Lag"];
    Table::new(rows, widths).header(header(titles)).column_spacing(2)
}

fn shard_name(row: &ShardRow) -> String {
    let parents: Vec<&str> = row.parents.iter().map(label).collect();
    match parents.as_slice() {
        [] => label(&row.id).to_owned(),
        parents => format!("{}, after {}", label(&row.id), parents.join(" and ")),
    }
}

fn holder(row: &ShardRow, board: &Board) -> Vec<Span<'static>> {
    match (row.phase, &row.holder) {
        (Phase::Ended, _) => vec!["finished".into()],
        (Phase::Waiting, _) => vec!["waits for its parents".into()],
        (Phase::Open, None) => vec!["no owner".red()],
        (Phase::Open, Some(holder)) => {
            let mut spans = vec![coloured(holder, board)];
            let state = board.workers.iter().find(|worker| worker.name == holder.as_str());
            match state.map(|worker| worker.state) {
                Some(WorkerState::Killed) => spans.push(" (dead, not yet detected)".red()),
                Some(WorkerState::Stopping) => spans.push(" (draining)".dim()),
                Some(WorkerState::Running | WorkerState::Stopped) | None => {}
            }
            if let Some(next) = &row.next {
                spans.push(" hands over to ".dim());
                spans.push(coloured(next, board));
            }
            spans
        }
    }
}

fn coloured(name: &str, board: &Board) -> Span<'static> {
    let place = board.workers.iter().position(|worker| worker.name == name);
    let colour = place.and_then(|place| COLOURS.get(place)).copied().unwrap_or(Color::Reset);
    Span::styled(name.to_owned(), Style::new().fg(colour).bold())
}

fn worker_table(board: &Board) -> Table<'static> {
    let rows = board.workers.iter().map(|row| {
        let cells = [
            Cell::from(Line::from(coloured(row.name, board))),
            Cell::from(Line::from(state(row))),
            number(row.shards.to_string()),
            number(grouped(row.delivered)),
        ];
        Row::new(cells)
    });
    let widths =
        [Constraint::Length(20), Constraint::Fill(1), Constraint::Length(9), Constraint::Length(9)];
    let titles = ["Worker", "", "Shards", "Delivered"];
    Table::new(rows, widths).header(header(titles)).column_spacing(2)
}

fn state(row: &WorkerRow) -> Span<'static> {
    match row.state {
        WorkerState::Running => "running".into(),
        WorkerState::Stopping => "draining".into(),
        WorkerState::Stopped => "stopped".dim(),
        WorkerState::Killed => "killed".red(),
    }
}

fn draw_news(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let room = usize::from(area.height.saturating_sub(2));
    let skip = scene.news.len().saturating_sub(room);
    let mut lines = vec![Line::from("What happened".dim())];
    lines.extend(scene.news.iter().skip(skip).map(|news| {
        let text = news.text.clone();
        let text = match news.kind {
            NewsKind::Action => text.bold(),
            NewsKind::Event => text.into(),
            NewsKind::Outcome => text.green(),
        };
        Line::from(vec![format!("{:>6.1} s  ", news.at.as_secs_f64()).dim(), text])
    }));
    frame.render_widget(Paragraph::new(lines), area);
}

/// Formats a number with commas.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The most shards that a list names.
const NAMED_MAX: usize = 4;

/// Formats a list of shards: `shard 1`, `shards 1 and 2`, `shards 1, 2 and 3`, `8 shards`.
pub(crate) fn shard_list(ids: &[ShardId]) -> String {
    let labels: Vec<_> = ids.iter().map(label).collect();
    match labels.as_slice() {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        many if many.len() > NAMED_MAX => format!("{} shards", many.len()),
        [first @ .., last] => format!("shards {} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
