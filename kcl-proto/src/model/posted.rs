//! What a worker posts about itself, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{LeaseKey, ShardId};

/// How many characters of an error are posted.
const TEXT_MAX: usize = 60;

/// The most bytes of a posting, so that the row of a worker with few leases costs one write unit.
const BYTES_MAX: usize = 400;

/// What a worker posts in its own row about what holds it up. People read it, no worker does.
///
/// Its text is one attribute: entries `shard:kind number text`, separated by `;`, where the shard is
/// a number, a lease's key, or `*` for the lease table. Readers ignore entries that they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Posted {
    /// What holds shards up.
    pub shards: BTreeMap<LeaseKey, HoldUp>,
    /// What the lease table refuses, or `None` if nothing.
    pub table: Option<HoldUp>,
}

/// What holds a shard up, or all shards of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HoldUp {
    /// What it is.
    pub kind: HoldUpKind,
    /// For a call the whole seconds that it had run when this was written, otherwise how many
    /// attempts have failed in a row.
    pub number: u64,
    /// The call's name or the last error, of at most 60 characters.
    pub text: String,
}

/// What holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldUpKind {
    /// A call of the processor has not returned.
    Call,
    /// The processor fails, and the same records are delivered again.
    Failing,
    /// Reads of the shard fail.
    Reads,
    /// Calls to the lease table fail.
    Table,
}

impl HoldUpKind {
    const ALL: [Self; 4] = [Self::Call, Self::Failing, Self::Reads, Self::Table];

    const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Failing => "failing",
            Self::Reads => "reads",
            Self::Table => "table",
        }
    }
}

impl HoldUp {
    /// Creates a hold-up. The text is cut to 60 characters, without semicolons and control
    /// characters.
    #[must_use]
    pub fn new(kind: HoldUpKind, number: u64, text: &str) -> Self {
        let plain = |it: char| if it.is_control() || it == ';' { ' ' } else { it };
        let text: String = text.chars().map(plain).take(TEXT_MAX).collect();
        Self { kind, number, text: text.trim().to_owned() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let name = words.next()?;
        let kind = HoldUpKind::ALL.into_iter().find(|kind| kind.name() == name)?;
        let number = words.next()?.parse().ok()?;
        Some(Self::new(kind, number, words.next().unwrap_or_default()))
    }
}

impl Posted {
    /// Whether nothing is posted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.table.is_none()
    }

    /// Returns the text of the row's attribute, of at most 400 bytes: entries that do not fit are
    /// left out. Empty if nothing is posted.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let table = self.table.iter().map(|it| ("*".to_owned(), it));
        for (key, hold_up) in table.chain(self.shards.iter().map(|(key, it)| (short(key), it))) {
            let mut entry = String::new();
            let HoldUp { kind, number, text: words } = hold_up;
            // Writing to a string never fails.
            let _ok = write!(entry, "{key}:{} {number} {words};", kind.name()).is_ok();
            if text.len() + entry.len() <= BYTES_MAX {
                text.push_str(&entry);
            }
        }
        text
    }

    /// Reads the text of the row's attribute. Ignores entries that it does not know.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut posted = Self::default();
        for entry in text.split(';') {
            let Some((key, rest)) = entry.split_once(':') else { continue };
            let Some(hold_up) = HoldUp::parse(rest) else { continue };
            if key == "*" {
                posted.table = Some(hold_up);
            } else {
                posted.shards.insert(long(key), hold_up);
            }
        }
        posted
    }
}

fn short(key: &LeaseKey) -> String {
    key.shard().number().map_or_else(|| key.to_string(), |number| number.to_string())
}

fn long(key: &str) -> LeaseKey {
    let shard = key.parse().ok().and_then(ShardId::of_number);
    shard.map_or_else(|| LeaseKey::from(key), |shard| LeaseKey::from(&shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted() -> Posted {
        let call = HoldUp::new(HoldUpKind::Call, 41, "process_records");
        let failing = HoldUp::new(HoldUpKind::Failing, 7, "no such\ncustomer; at all: 3");
        let shards = [("shardId-000000000002", call), ("other", failing)];
        let shards = shards.map(|(key, it)| (LeaseKey::from(key), it)).into();
        Posted { shards, table: Some(HoldUp::new(HoldUpKind::Table, 3, "throttled")) }
    }

    /// Workers of other versions read this text: it never changes.
    #[test]
    fn text_is_pinned() {
        let text = "*:table 3 throttled;other:failing 7 no such customer  at all: 3;\
                    2:call 41 process_records;";
        assert_eq!(posted().to_text(), text);
        assert_eq!(Posted::parse(text), posted());
        assert_eq!(Posted::default().to_text(), "");
        assert_eq!(Posted::parse(""), Posted::default());
    }

    #[test]
    fn what_is_unknown_is_ignored() {
        let text = "2:call 41 process_records;3:rate 17;:;x;4:call;5:call nine x";
        let known = Posted::parse(text);
        assert_eq!(known.shards.len(), 1);
        assert_eq!(Posted::parse(&known.to_text()), known);
    }

    #[test]
    fn text_fits_into_a_row() {
        let hold_up = HoldUp::new(HoldUpKind::Failing, u64::MAX, &"ü".repeat(300));
        assert_eq!(hold_up.text.chars().count(), 60);
        let shards = (0..1_000).filter_map(ShardId::of_number);
        let shards = shards.map(|shard| (LeaseKey::from(&shard), hold_up.clone())).collect();
        let text = Posted { shards, table: None }.to_text();
        assert!(text.len() <= 400 && text.len() > 150, "{}", text.len());
    }
}
