//! `ListShards`: `ShardFilter` and pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ferrokinesis::error::KinesisErrorResponse;
use ferrokinesis::sequence::parse_sequence;
use ferrokinesis::types::{Shard, Stream};
use ferrokinesis::util::current_time_ms;
use serde_json::{Map, Value, json};

use crate::repair::child_shards::parents;
use crate::topology::Topology;

/// Returns the answer of a call; `None` if its limits are invalid, for the embedded Kinesis to
/// refuse.
pub(crate) async fn answer(
    topology: &Topology,
    fields: &Map<String, Value>,
) -> Result<Option<Value>, KinesisErrorResponse> {
    let most = match fields.get("MaxResults").map(Value::as_u64) {
        None => SHARDS_PER_CALL_MAX,
        Some(Some(most @ 1..=10_000)) => {
            usize::try_from(most).unwrap_or(usize::MAX).min(SHARDS_PER_CALL_MAX)
        }
        Some(_) => return Ok(None),
    };
    let (query, stream) = if let Some(token) = text(fields, "NextToken") {
        if ["StreamName", "ExclusiveStartShardId", "ShardFilter"]
            .iter()
            .any(|name| fields.contains_key(*name))
        {
            return Err(invalid("NextToken cannot be provided together with what it continues."));
        }
        let query = Query::from_token(token)?;
        let stream = topology.current(&query.stream).await?;
        (query, stream)
    } else {
        let Some(name) = text(fields, "StreamName") else {
            return Err(invalid("Either NextToken or StreamName should be provided."));
        };
        let stream = topology.current(name).await?;
        (Query::new(&stream, fields)?, stream)
    };

    let mut shards = stream.shards.iter().filter(|shard| query.selects(shard, &stream));
    let page: Vec<&Shard> = shards.by_ref().take(most).collect();
    let next =
        page.last().filter(|_| shards.next().is_some()).map(|last| query.token(&last.shard_id));
    let mut answer = json!({ "Shards": page });
    if let (Some(next), Some(answer)) = (next, answer.as_object_mut()) {
        answer.insert("NextToken".to_owned(), Value::from(next));
    }
    Ok(Some(answer))
}

/// The most shards in one answer.
///
/// Source: Kinesis API reference, `ListShards`, parameter `MaxResults`.
const SHARDS_PER_CALL_MAX: usize = 1000;

/// How long a `NextToken` is valid, in milliseconds.
///
/// Source: Kinesis API reference, `ListShards`, parameter `NextToken`.
const TOKEN_MILLIS: u64 = 300_000;

/// The selection of a list, which all its pages share.
#[derive(Debug, PartialEq)]
struct Query {
    stream: String,
    after: String,
    filter: Filter,
}

/// `ShardFilter`, with times resolved to milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Filter {
    OpenNow,
    OpenAt(u64),
    OpenSince(u64),
    Any,
}

impl Query {
    fn new(stream: &Stream, fields: &Map<String, Value>) -> Result<Self, KinesisErrorResponse> {
        let mut after = text(fields, "ExclusiveStartShardId").unwrap_or_default().to_owned();
        let filter = match fields.get("ShardFilter").and_then(Value::as_object) {
            None => Filter::OpenSince(horizon(stream)),
            Some(filter) => {
                let since = || {
                    let seconds = filter.get("Timestamp").and_then(Value::as_f64);
                    let seconds = seconds
                        .ok_or_else(|| invalid("ShardFilter needs a Timestamp for its Type."))?;
                    Ok(millis(seconds).max(horizon(stream)))
                };
                match text(filter, "Type").unwrap_or_default() {
                    "AT_LATEST" => Filter::OpenNow,
                    "AT_TRIM_HORIZON" => Filter::OpenAt(horizon(stream)),
                    "FROM_TRIM_HORIZON" => Filter::OpenSince(horizon(stream)),
                    "AT_TIMESTAMP" => Filter::OpenAt(since()?),
                    "FROM_TIMESTAMP" => Filter::OpenSince(since()?),
                    "AFTER_SHARD_ID" => {
                        let id = text(filter, "ShardId");
                        let id =
                            id.ok_or_else(|| invalid("ShardFilter needs a ShardId for its Type."))?;
                        after = after.max(id.to_owned());
                        Filter::Any
                    }
                    other => return Err(invalid(&format!("ShardFilter has no Type {other:?}."))),
                }
            }
        };
        Ok(Self { stream: stream.stream_name.clone(), after, filter })
    }

    fn from_token(token: &str) -> Result<Self, KinesisErrorResponse> {
        let parse = || {
            let token: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
            let filter = match (token.get("filter")?.as_str()?, token.get("time")?.as_u64()?) {
                ("now", _) => Filter::OpenNow,
                ("at", time) => Filter::OpenAt(time),
                ("since", time) => Filter::OpenSince(time),
                ("any", _) => Filter::Any,
                _ => return None,
            };
            let query = Self {
                stream: token.get("stream")?.as_str()?.to_owned(),
                after: token.get("after")?.as_str()?.to_owned(),
                filter,
            };
            Some((query, token.get("until")?.as_u64()?))
        };
        let (query, until) =
            parse().ok_or_else(|| invalid("NextToken is not one of ListShards."))?;
        if until < current_time_ms() {
            let message = "NextToken has expired: list from the start.";
            return Err(KinesisErrorResponse::client_error(
                "ExpiredNextTokenException",
                Some(message),
            ));
        }
        Ok(query)
    }

    fn token(&self, after: &str) -> String {
        let (filter, time) = match self.filter {
            Filter::OpenNow => ("now", 0),
            Filter::OpenAt(time) => ("at", time),
            Filter::OpenSince(time) => ("since", time),
            Filter::Any => ("any", 0),
        };
        let until = current_time_ms() + TOKEN_MILLIS;
        let token = json!({
            "stream": self.stream, "after": after, "filter": filter, "time": time, "until": until,
        });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn selects(&self, shard: &Shard, stream: &Stream) -> bool {
        shard.shard_id.as_str() > self.after.as_str()
            && match self.filter {
                Filter::OpenNow => shard.sequence_number_range.ending_sequence_number.is_none(),
                Filter::OpenAt(time) => {
                    opened(shard) <= time
                        && closed(shard, stream).is_none_or(|closed| time < closed)
                }
                Filter::OpenSince(time) => {
                    closed(shard, stream).is_none_or(|closed| time <= closed)
                }
                Filter::Any => true,
            }
    }
}

/// Returns the oldest valid time: the end of retention, or the start of the stream.
fn horizon(stream: &Stream) -> u64 {
    let retention = u64::from(stream.retention_period_hours) * 3_600_000;
    let start = stream.shards.iter().map(opened).min().unwrap_or(0);
    current_time_ms().saturating_sub(retention).max(start)
}

/// Returns when a shard opened, in whole seconds as in its sequence numbers.
fn opened(shard: &Shard) -> u64 {
    parse_sequence(&shard.sequence_number_range.starting_sequence_number)
        .map_or(0, |first| first.shard_create_time)
}

/// Returns when a shard closed: the moment at which its children opened, so that at any time the
/// open shards cover all keys exactly once.
fn closed(shard: &Shard, stream: &Stream) -> Option<u64> {
    let ending = shard.sequence_number_range.ending_sequence_number.as_ref()?;
    let children =
        stream.shards.iter().filter(|child| parents(child).any(|parent| parent == shard.shard_id));
    let end = || parse_sequence(ending).ok().and_then(|last| last.seq_time).unwrap_or(0);
    Some(children.map(opened).min().unwrap_or_else(end))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and times are positive"
)]
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

fn invalid(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("InvalidArgumentException", Some(message))
}
