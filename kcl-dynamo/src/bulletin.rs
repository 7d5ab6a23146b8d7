//! The bulletin in a stream's row ⇄ its attributes. Publications and news → updates.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{Bulletin, Publication};
use kcl_core::model::{LeaseKey, WorkerId};

use crate::attributes::{Attributes, Problem, number};
use crate::expression::Expression;
use crate::item::{self, START_POSITION};

/// Ours: the number of the bulletin. Rows whose bulletin was never published have none.
pub(crate) const BULLETIN: &str = "bulletin";
/// Ours: who published the bulletin.
pub(crate) const BULLETIN_BY: &str = "bulletinBy";
/// Ours: who is to look beside that worker. Missing if there is no worker.
pub(crate) const BULLETIN_SECOND: &str = "bulletinSecond";
/// Ours: which worker is to take each lease, packed. Missing if there are none.
pub(crate) const MOVES: &str = "moves";
/// Ours: true if every worker is to scan, else missing.
pub(crate) const SCAN: &str = "scan";
/// Ours: the keys of rows that have changed, a set of strings.
pub(crate) const NEWS: &str = "news";

/// Reads the bulletin in a stream's row.
pub(crate) fn decode(row: Attributes<'_>) -> Result<Bulletin, Problem> {
    let mut bulletin = Bulletin::EMPTY;
    bulletin.number = row.number(BULLETIN)?.unwrap_or(0);
    bulletin.by = row.text(BULLETIN_BY)?.map(WorkerId::from);
    bulletin.second = row.text(BULLETIN_SECOND)?.map(WorkerId::from);
    if let Some(bytes) = row.bytes(MOVES)? {
        bulletin.moves = Bulletin::decode_moves(bytes.as_ref())
            .map_err(|error| Problem::value(MOVES, &error.to_string(), "moves"))?;
    }
    bulletin.scan = row.flag(SCAN)?;
    bulletin.news = row.texts(NEWS)?.iter().cloned().collect();
    Ok(bulletin)
}

/// Returns the update that publishes a bulletin, if the stream has a row and its bulletin has the
/// number that the publication requires.
pub(crate) fn publish(publication: &Publication) -> Expression {
    let mut expression = Expression::default();
    expression.must_exist(START_POSITION);
    match publication.number {
        0 => expression.must_be_absent(BULLETIN),
        before => expression.must_be(BULLETIN, number(before)),
    }
    expression.set(BULLETIN, number(publication.number.saturating_add(1)));
    expression.set(BULLETIN_BY, item::worker(&publication.by));
    expression.set_or_remove(BULLETIN_SECOND, publication.second.as_ref().map(item::worker));
    expression.set_or_remove(MOVES, moves(&publication.moves));
    expression.set_or_remove(SCAN, publication.scan.then_some(AttributeValue::Bool(true)));
    if !publication.heard.is_empty() {
        expression.delete(NEWS, texts(&publication.heard));
    }
    expression
}

/// Returns the update that adds news, of which there is at least one, if the stream has a row.
pub(crate) fn ring(news: &BTreeSet<String>) -> Expression {
    let mut expression = Expression::default();
    expression.must_exist(START_POSITION);
    expression.add(NEWS, texts(news));
    expression
}

/// Returns the moves; `None` if there are none, because DynamoDB bills each byte.
fn moves(moves: &BTreeMap<LeaseKey, WorkerId>) -> Option<AttributeValue> {
    let bytes = Bulletin::encode_moves(moves);
    (!bytes.is_empty()).then(|| AttributeValue::B(Blob::new(bytes)))
}

fn texts(texts: &BTreeSet<String>) -> AttributeValue {
    AttributeValue::Ss(texts.iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Item, text};

    fn set<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
        texts.map(String::from).into()
    }

    fn publication(number: u64, moves: &[(&str, &str)], heard: BTreeSet<String>) -> Publication {
        let moves = moves.iter().map(|(key, to)| (LeaseKey::from(*key), WorkerId::from(*to)));
        let scan = number == 7;
        let (by, second) = ("me:1".into(), scan.then(|| "second:1".into()));
        Publication { number, by, second, moves: moves.collect(), scan, heard }
    }

    #[track_caller]
    fn check(expression: &Expression, condition: &str, update: &str) {
        assert_eq!(expression.condition(), condition);
        assert_eq!(expression.update(), update);
        // DynamoDB refuses a placeholder that is defined and not used.
        let text = format!("{condition} {update}");
        for placeholder in expression.names.keys().chain(expression.values.keys()) {
            assert!(text.contains(placeholder.as_str()), "{placeholder} is not used");
        }
    }

    #[test]
    fn publications_become_conditions_and_updates() {
        let first = publish(&publication(0, &[], set([])));
        check(
            &first,
            "attribute_exists(#startPosition) AND attribute_not_exists(#bulletin)",
            "SET #bulletin = :bulletin, #bulletinBy = :bulletinBy \
             REMOVE #bulletinSecond, #moves, #scan",
        );
        assert_eq!(first.values[":bulletin"], number(1));
        let next = publish(&publication(7, &[("1", "you:1")], set(["a"])));
        check(
            &next,
            "attribute_exists(#startPosition) AND #bulletin = :is_bulletin",
            "SET #bulletin = :bulletin, #bulletinBy = :bulletinBy, \
             #bulletinSecond = :bulletinSecond, #moves = :moves, #scan = :scan DELETE #news :news",
        );
        assert_eq!(next.values[":is_bulletin"], number(7));
        assert_eq!(next.values[":bulletin"], number(8));
        check(&ring(&set(["a"])), "attribute_exists(#startPosition)", "ADD #news :news");
    }

    #[test]
    fn bulletin_is_read_as_it_was_written() {
        let publication = publication(7, &[("1", "you:1"), ("2", "me:1")], set([]));
        let (published, news) = (publish(&publication), ring(&set(["b", "a"])));
        let values = [BULLETIN, BULLETIN_BY, BULLETIN_SECOND, MOVES, SCAN, NEWS].map(|name| {
            let mut values = published.values.iter().chain(&news.values);
            let (_, value) = values.find(|(placeholder, _)| placeholder[1..] == *name).unwrap();
            (name.to_owned(), value.clone())
        });
        let mut before = Bulletin::EMPTY;
        (before.number, before.news) = (7, set(["a", "b"]));
        assert_eq!(
            decode(Attributes(&Item::from(values))),
            Ok(publication.apply(&before).unwrap())
        );
        assert_eq!(decode(Attributes(&Item::new())), Ok(Bulletin::EMPTY));
    }

    #[test]
    fn problem_names_the_mistyped_attribute() {
        for (name, value, problem) in [
            (BULLETIN, text("1"), "attribute \"bulletin\" is a string, not a number"),
            (BULLETIN_BY, number(1), "attribute \"bulletinBy\" is a number, not a string"),
            (BULLETIN_SECOND, number(1), "attribute \"bulletinSecond\" is a number, not a string"),
            (MOVES, text("1"), "attribute \"moves\" is a string, not bytes"),
            (SCAN, number(1), "attribute \"scan\" is a number, not a boolean"),
            (NEWS, text("1"), "attribute \"news\" is a string, not a set of strings"),
        ] {
            let row = Item::from([(name.to_owned(), value)]);
            let found = decode(Attributes(&row)).unwrap_err().to_string();
            assert_eq!(found, problem);
        }
    }
}
