//! A worker's row ⇄ item: Java's row of worker metrics, with our heartbeat.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::model::{Presence, Timestamp, WorkerId};

use crate::attributes::{Attributes, Item, Problem, number, text};
use crate::item::{ENTITY_TYPE, EXPIRY_MILLIS, LEASE_KEY, millis};

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

/// Returns the attributes of the row, except its key.
pub(crate) fn attributes(presence: &Presence) -> [(&'static str, AttributeValue); 7] {
    [
        (ENTITY_TYPE, text(ENTITY_WORKER)),
        (LAST_UPDATE, number(presence.last_update.epoch_seconds())),
        (METRIC_STATS, AttributeValue::M(Item::new())),
        (OPERATING_RANGE, AttributeValue::M(Item::new())),
        (BEAT, number(presence.beat)),
        (EXPIRY_MILLIS, millis(presence.expiry)),
        (LEAVING, AttributeValue::Bool(presence.is_leaving)),
    ]
}

/// Reads a worker's row; `None` if it is a Java worker's.
pub(crate) fn decode(row: Attributes<'_>) -> Result<Option<Presence>, Problem> {
    let Some(beat) = row.number(BEAT)? else { return Ok(None) };
    let seconds: i64 = row.required_number(LAST_UPDATE)?;
    let worker = WorkerId::from(row.required_text(LEASE_KEY)?);
    let expiry = Duration::from_millis(row.number(EXPIRY_MILLIS)?.unwrap_or(0));
    let last_update = Timestamp::from_epoch_millis(seconds.saturating_mul(1_000));
    let mut presence = Presence::new(worker, beat, expiry, last_update);
    presence.is_leaving = row.flag(LEAVING)?;
    Ok(Some(presence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_has_javas_shape_and_a_heartbeat() {
        let worker = WorkerId::from("host-a:00000000000000ff");
        let last_update = Timestamp::from_epoch_millis(1_767_225_630_000);
        let presence = Presence::new(worker, 7, Duration::from_secs(10), last_update);
        let mut item = Item::from(attributes(&presence).map(|(name, it)| (name.to_owned(), it)));
        item.insert(LEASE_KEY.to_owned(), text("host-a:00000000000000ff"));
        assert_eq!(item.get("lut"), Some(&number("1767225630")));
        assert_eq!(item.get("sts"), Some(&AttributeValue::M(Item::new())));
        assert_eq!(item.get("opr"), Some(&AttributeValue::M(Item::new())));
        assert_eq!(decode(Attributes(&item)), Ok(Some(presence)));
        item.remove(BEAT);
        assert_eq!(decode(Attributes(&item)), Ok(None));
    }
}
