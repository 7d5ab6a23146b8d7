//! A worker's row ⇄ item: Java's row of worker metrics, with our heartbeat and the rest of a session.
//! Writes of sessions → calls.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::backend::{SessionEffect, SessionPrecondition, SessionUpdate, SessionWrite};
use kcl_core::model::{
    LeaseKey, Presence, Session, SessionKind, SessionProgress, Timestamp, WorkerId,
};

use crate::attributes::{Attributes, Item, Problem, number, text};
use crate::expression::{Expression, Request};
use crate::item::{self, ENTITY_TYPE, EXPIRY_MILLIS, LEASE_KEY, millis};

/// The `entityType` of a worker's row. Java: `WorkerMetricStats`, since 3.5 in the lease table.
pub(crate) const ENTITY_WORKER: &str = "WORKER_METRIC_STATS";
/// Java: `WorkerMetricStats.lastUpdateTime`, epoch seconds. Java deletes rows by it.
pub(crate) const LAST_UPDATE: &str = "lut";
/// Java: `WorkerMetricStats.metricStats`: always an empty map.
pub(crate) const METRIC_STATS: &str = "sts";
/// Java: `WorkerMetricStats.operatingRange`: always an empty map.
pub(crate) const OPERATING_RANGE: &str = "opr";
/// Ours: the heartbeat, which grows while the worker runs. Rows of Java workers have none.
pub(crate) const BEAT: &str = "beat";
/// Ours: whether the worker is stopping.
pub(crate) const LEAVING: &str = "leaving";
/// Ours: 1 if the row is a session, 0 if its worker obeys sessions. Rows of earlier versions have
/// none.
pub(crate) const SESSION: &str = "session";
/// Ours: the worker's own number of the write that set the heartbeat.
pub(crate) const BEAT_WRITE: &str = "beatWrite";
/// Ours: the progress of the worker's leases.
pub(crate) const PROGRESS: &str = "progress";
/// Ours: the leases that the worker is asked for, a set of strings.
pub(crate) const ASKED: &str = "asked";
/// Ours: who condemned the worker.
pub(crate) const DEAD: &str = "dead";

/// Returns the attributes of the row of a worker whose leases live by their counters, except its
/// key.
pub(crate) fn presence(presence: &Presence) -> [(&'static str, AttributeValue); 8] {
    [
        (ENTITY_TYPE, text(ENTITY_WORKER)),
        (LAST_UPDATE, number(presence.last_update.epoch_seconds())),
        (METRIC_STATS, AttributeValue::M(Item::new())),
        (OPERATING_RANGE, AttributeValue::M(Item::new())),
        (BEAT, number(presence.beat)),
        (EXPIRY_MILLIS, millis(presence.expiry)),
        (LEAVING, AttributeValue::Bool(presence.is_leaving)),
        (SESSION, number(0)),
    ]
}

/// Returns the item of a session that is neither stopping nor dead.
fn encode(session: &Session) -> Item {
    let mut item: Item = presence(&session.presence())
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    item.insert(LEASE_KEY.to_owned(), item::worker(&session.worker));
    item.insert(SESSION.to_owned(), number(1));
    let write = session.write.map(|write| (BEAT_WRITE.to_owned(), number(write)));
    let progress = progress(&session.progress).map(|bytes| (PROGRESS.to_owned(), bytes));
    item.extend(write.into_iter().chain(progress));
    item
}

/// Returns the progress; `None` if there is none, because DynamoDB bills each byte.
fn progress(progress: &SessionProgress) -> Option<AttributeValue> {
    let bytes = progress.encode();
    (!bytes.is_empty()).then(|| AttributeValue::B(Blob::new(bytes)))
}

/// Reads a worker's row; `None` if it is a Java worker's.
pub(crate) fn decode(row: Attributes<'_>) -> Result<Option<Session>, Problem> {
    let Some(beat) = row.number(BEAT)? else { return Ok(None) };
    let seconds: i64 = row.required_number(LAST_UPDATE)?;
    let worker = WorkerId::from(row.required_text(LEASE_KEY)?);
    let expiry = Duration::from_millis(row.number(EXPIRY_MILLIS)?.unwrap_or(0));
    let last_update = Timestamp::from_epoch_millis(seconds.saturating_mul(1_000));
    let kind = match row.number::<u8>(SESSION)? {
        Some(1) => SessionKind::Session,
        Some(0) => SessionKind::Aware,
        Some(other) => return Err(Problem::value(SESSION, &other.to_string(), "0 or 1")),
        None => SessionKind::Unaware,
    };
    let mut session = Session::new(worker, kind, expiry, last_update);
    session.beat = beat;
    session.write = row.number(BEAT_WRITE)?;
    session.asked = row.texts(ASKED)?.iter().map(|key| LeaseKey::from(&**key)).collect();
    session.is_leaving = row.flag(LEAVING)?;
    session.dead = row.text(DEAD)?.map(WorkerId::from);
    if let Some(bytes) = row.bytes(PROGRESS)? {
        session.progress = SessionProgress::decode(bytes.as_ref())
            .map_err(|error| Problem::value(PROGRESS, &error.to_string(), "progress"))?;
    }
    Ok(Some(session))
}

/// Returns the request that makes `write` if its precondition holds.
pub(crate) fn request(write: &SessionWrite) -> Request {
    let mut expression = Expression::default();
    match write.precondition() {
        SessionPrecondition::NoRow => expression.must_be_absent(LEASE_KEY),
        SessionPrecondition::Live { beat } => {
            expression.must_be(SESSION, number(1));
            if let Some(beat) = beat {
                expression.must_be(BEAT, number(beat));
            }
            expression.must_be_absent(DEAD);
        }
        SessionPrecondition::Dead => {
            expression.must_be(ENTITY_TYPE, text(ENTITY_WORKER));
            expression.must_exist(DEAD);
        }
    }
    match write.effect() {
        SessionEffect::Put(session) => Request::Put(encode(&session), expression),
        SessionEffect::Update(update) => {
            change(&mut expression, &update);
            Request::Update(expression)
        }
        SessionEffect::Delete => Request::Delete(expression),
    }
}

fn change(expression: &mut Expression, update: &SessionUpdate) {
    if let Some((beat, write)) = update.beat {
        expression.set(BEAT, number(beat));
        expression.set(BEAT_WRITE, number(write));
    }
    if let Some(of_leases) = &update.progress {
        expression.set_or_remove(PROGRESS, progress(of_leases));
    }
    if !update.asked.is_empty() {
        expression.add(ASKED, keys(&update.asked));
    }
    if !update.heard.is_empty() {
        expression.delete(ASKED, keys(&update.heard));
    }
    if let Some(is_leaving) = update.is_leaving {
        expression.set(LEAVING, AttributeValue::Bool(is_leaving));
    }
    if let Some(dead) = &update.dead {
        expression.set(DEAD, item::worker(dead));
    }
    if let Some(last_update) = update.last_update {
        expression.set(LAST_UPDATE, number(last_update.epoch_seconds()));
    }
}

fn keys(of_leases: &BTreeSet<LeaseKey>) -> AttributeValue {
    AttributeValue::Ss(of_leases.iter().map(LeaseKey::to_string).collect())
}

#[cfg(test)]
mod tests {
    use kcl_core::backend::SessionWriteKind;

    use super::*;

    fn last_update() -> Timestamp {
        Timestamp::from_epoch_millis(1_767_225_630_000)
    }

    #[test]
    fn row_has_javas_shape_and_a_heartbeat() {
        let worker = WorkerId::from("host-a:00000000000000ff");
        let written = Presence::new(worker, 7, Duration::from_secs(10), last_update());
        let mut item = Item::from(presence(&written).map(|(name, it)| (name.to_owned(), it)));
        item.insert(LEASE_KEY.to_owned(), text("host-a:00000000000000ff"));
        assert_eq!(item.get("lut"), Some(&number("1767225630")));
        assert_eq!(item.get("sts"), Some(&AttributeValue::M(Item::new())));
        assert_eq!(item.get("opr"), Some(&AttributeValue::M(Item::new())));
        assert_eq!(decode(Attributes(&item)), Ok(Some(Session::from(written))));
        item.remove(SESSION);
        let row = decode(Attributes(&item)).unwrap().unwrap();
        assert_eq!(row.kind, SessionKind::Unaware, "as an earlier version writes it");
        item.remove(BEAT);
        assert_eq!(decode(Attributes(&item)), Ok(None));
    }

    #[test]
    fn opened_session_is_read_as_the_model_says() {
        let (expiry, last_update) = (Duration::from_secs(10), last_update());
        let kind = SessionWriteKind::Open { number: 3, expiry, last_update };
        let write = SessionWrite { session: WorkerId::from("host-a:00"), kind };
        let Request::Put(item, condition) = request(&write) else { panic!("a row is put") };
        assert_eq!(condition.condition(), "attribute_not_exists(#leaseKey)");
        let read = decode(Attributes(&item)).unwrap();
        assert_eq!(Some(read), write.apply(None));
    }

    #[test]
    fn unreadable_session_names_the_attribute() {
        let worker = WorkerId::from("host-a:00");
        let row = presence(&Presence::new(worker, 7, Duration::from_secs(10), last_update()));
        let mut item = Item::from(row.map(|(name, it)| (name.to_owned(), it)));
        item.insert(LEASE_KEY.to_owned(), text("host-a:00"));
        for (name, value, problem) in [
            ("session", number(2), "attribute \"session\" is \"2\", not 0 or 1"),
            ("dead", number(2), "attribute \"dead\" is a number, not a string"),
            ("progress", text("x"), "attribute \"progress\" is a string, not bytes"),
        ] {
            let mut item = item.clone();
            item.insert(name.to_owned(), value);
            let found = decode(Attributes(&item)).unwrap_err();
            assert_eq!(found.to_string(), problem);
        }
        item.insert("progress".to_owned(), AttributeValue::B(Blob::new([99])));
        let found = decode(Attributes(&item)).unwrap_err().to_string();
        assert!(found.starts_with("attribute \"progress\" is "), "{found}");
    }
}
