//! The row of a stream's start ⇄ item: Java's row of the stream's id, with attributes of ours.

use aws_sdk_dynamodb::types::AttributeValue;
use kcl_core::model::{StartPosition, StreamArn, StreamName, StreamStart, Timestamp};

use crate::attributes::{Attributes, Problem, text};
use crate::bulletin;
use crate::item::{ENTITY_TYPE, LEASE_KEY, START_AT, START_POSITION, timestamp};

/// The `entityType` of a stream's row. Java: `StreamInfo`, since 3.5; off by default there.
pub(crate) const ENTITY_STREAM: &str = "STREAM";
/// Java: `StreamInfo.streamId`, the service's own id. Missing if the service sends none.
pub(crate) const STREAM_ID: &str = "streamId";
/// Ours: the stream's ARN.
pub(crate) const ARN: &str = "arn";
/// Ours: when the stream was created, epoch milliseconds.
pub(crate) const CREATED_AT: &str = "createdAt";
/// Ours: true once all first leases exist.
pub(crate) const BOOTSTRAPPED: &str = "bootstrapped";

const TRIM_HORIZON: &str = "TRIM_HORIZON";
const AT_TIMESTAMP: &str = "AT_TIMESTAMP";

/// Returns the attributes that store a start, except the stream's id, the bulletin and the key.
pub(crate) fn attributes(start: &StreamStart) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = vec![
        (ENTITY_TYPE, text(ENTITY_STREAM)),
        (ARN, text(start.arn.as_str())),
        (CREATED_AT, timestamp(start.created)),
    ];
    match start.position {
        StartPosition::TrimHorizon => attributes.push((START_POSITION, text(TRIM_HORIZON))),
        StartPosition::AtTimestamp(time) => {
            attributes.push((START_POSITION, text(AT_TIMESTAMP)));
            attributes.push((START_AT, timestamp(time)));
        }
    }
    if start.bootstrapped {
        attributes.push((BOOTSTRAPPED, AttributeValue::Bool(true)));
    }
    attributes
}

/// Reads a stream's row; `None` if Java wrote it and it has no start.
pub(crate) fn decode(row: Attributes<'_>) -> Result<Option<StreamStart>, Problem> {
    let Some(position) = row.text(START_POSITION)? else { return Ok(None) };
    let position = match position {
        TRIM_HORIZON => StartPosition::TrimHorizon,
        AT_TIMESTAMP => StartPosition::AtTimestamp(time(row, START_AT)?),
        other => return Err(Problem::value(START_POSITION, other, "a start position")),
    };
    let stream = StreamName::from(row.required_text(LEASE_KEY)?);
    let arn = StreamArn::from(row.required_text(ARN)?);
    let mut start = StreamStart::new(stream, arn, time(row, CREATED_AT)?, position);
    start.id = row.text(STREAM_ID)?.map(String::from);
    start.bootstrapped = row.flag(BOOTSTRAPPED)?;
    start.bulletin = bulletin::decode(row)?;
    Ok(Some(start))
}

fn time(row: Attributes<'_>, name: &str) -> Result<Timestamp, Problem> {
    Ok(Timestamp::from_epoch_millis(row.required_number(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Item;

    fn item(start: &StreamStart) -> Item {
        let mut item: Item =
            attributes(start).into_iter().map(|(name, it)| (name.to_owned(), it)).collect();
        item.insert(LEASE_KEY.to_owned(), text(start.stream.as_str()));
        if let Some(id) = &start.id {
            item.insert(STREAM_ID.to_owned(), text(id));
        }
        item
    }

    #[test]
    fn start_round_trips() {
        for position in [
            StartPosition::TrimHorizon,
            StartPosition::AtTimestamp(Timestamp::from_epoch_millis(1_767_225_630_000)),
        ] {
            let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".into();
            let created = Timestamp::from_epoch_millis(1_700_000_000_000);
            let mut start = StreamStart::new("orders".into(), arn, created, position);
            start.id = Some("abcd1234".to_owned());
            start.bootstrapped = true;
            assert_eq!(decode(Attributes(&item(&start))), Ok(Some(start)));
        }
    }

    #[test]
    fn row_without_position_is_javas() {
        let java = Item::from([
            (LEASE_KEY.to_owned(), text("orders")),
            (ENTITY_TYPE.to_owned(), text(ENTITY_STREAM)),
            (STREAM_ID.to_owned(), text("abcd1234")),
        ]);
        assert_eq!(decode(Attributes(&java)), Ok(None));
    }
}
