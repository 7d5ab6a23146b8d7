//! Calls that name their stream by `StreamARN` only.

use ferrokinesis::error::KinesisErrorResponse;
use serde_json::{Map, Value};

/// Returns whether the embedded Kinesis accepts only `StreamName` for an operation.
pub(crate) fn needs_name(operation: &str) -> bool {
    matches!(
        operation,
        "AddTagsToStream"
            | "DecreaseStreamRetentionPeriod"
            | "DeleteStream"
            | "DescribeStream"
            | "DescribeStreamSummary"
            | "DisableEnhancedMonitoring"
            | "EnableEnhancedMonitoring"
            | "GetShardIterator"
            | "IncreaseStreamRetentionPeriod"
            | "ListShards"
            | "ListTagsForStream"
            | "MergeShards"
            | "RemoveTagsFromStream"
            | "SplitShard"
            | "StartStreamEncryption"
            | "StopStreamEncryption"
    )
}

/// Replaces the stream's ARN by its name. Returns whether there was an ARN.
pub(crate) fn resolve(fields: &mut Map<String, Value>) -> Result<bool, KinesisErrorResponse> {
    let Some(arn) = fields.remove("StreamARN") else {
        return Ok(false);
    };
    let arn = arn.as_str().unwrap_or_default();
    let name =
        name_in(arn).ok_or_else(|| invalid(&format!("{arn:?} is not the ARN of a stream")))?;
    match fields.get("StreamName").and_then(Value::as_str) {
        Some(other) if other != name => {
            Err(invalid(&format!("StreamName {other} and StreamARN {arn} differ")))
        }
        Some(_) => Ok(true),
        None => {
            fields.insert("StreamName".to_owned(), Value::from(name));
            Ok(true)
        }
    }
}

/// Returns the stream's name from its ARN or from the ARN of one of its consumers.
pub(crate) fn name_in(arn: &str) -> Option<&str> {
    let resource =
        arn.strip_prefix("arn:")?.rsplit_once(":stream/").map(|(_, resource)| resource)?;
    resource.split('/').next().filter(|name| !name.is_empty())
}

fn invalid(message: &str) -> KinesisErrorResponse {
    KinesisErrorResponse::client_error("InvalidArgumentException", Some(message))
}
