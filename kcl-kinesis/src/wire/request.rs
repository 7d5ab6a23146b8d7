//! The request of `GetRecords` in CBOR.

/// The most records that one call returns.
///
/// Source: Kinesis API reference, `GetRecords`, parameter `Limit`.
pub(crate) const RECORDS_PER_CALL_MAX: usize = 10_000;

/// What a call of `GetRecords` asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) iterator: &'a str,
    /// The most records of the reply.
    pub(crate) limit: u16,
    /// The stream's ARN, which also selects the endpoint of its account.
    pub(crate) stream: Option<&'a str>,
}

impl Request<'_> {
    /// Encodes the request.
    pub(crate) fn encode(self) -> Vec<u8> {
        let members = if self.stream.is_some() { 3 } else { 2 };
        let mut message = vec![0xa0 | members];
        text(&mut message, "ShardIterator");
        text(&mut message, self.iterator);
        text(&mut message, "Limit");
        message.push(0x19);
        message.extend(self.limit.to_be_bytes());
        if let Some(stream) = self.stream {
            text(&mut message, "StreamARN");
            text(&mut message, stream);
        }
        message
    }
}

/// Appends a text. Its length takes one, two, or nine bytes.
fn text(message: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..24) => message.push(0x60 | length),
        Ok(length) => message.extend([0x78, length]),
        Err(_) => {
            message.push(0x7b);
            message.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    message.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned() {
        let request = Request { iterator: "AAE", limit: 10_000, stream: None };
        assert_eq!(request.encode(), b"\xa2\x6dShardIterator\x63AAE\x65Limit\x19\x27\x10");
        let long = "x".repeat(300);
        for iterator in ["", &"x".repeat(23), &"x".repeat(24), &"x".repeat(255), &long] {
            let message = Request { iterator, limit: 1, stream: Some("arn") }.encode();
            let read: serde_json::Value = ciborium::from_reader(&*message).unwrap();
            let expected = serde_json::json!({
                "ShardIterator": iterator, "Limit": 1, "StreamARN": "arn",
            });
            assert_eq!(read, expected);
        }
    }
}
